"""What other libraries expect of a data set and of metrics: one file for each of them."""
