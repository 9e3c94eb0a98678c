"""The sections of the page of two runs, a file each."""
