"""What people call from Python: whole jobs, for notebooks; the command line runs the same."""
