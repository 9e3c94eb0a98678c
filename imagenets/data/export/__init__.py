"""What takes a data set to other formats: one file each."""
