"""What every room stands on, written once: files, processes, compiled loops."""
