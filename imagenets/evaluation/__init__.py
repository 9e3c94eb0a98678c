"""The metrics of the benchmark: they take arrays or folders of masks, never a Dataset."""
