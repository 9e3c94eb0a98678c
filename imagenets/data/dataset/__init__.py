"""`ImageNetS`, one sample at a time."""
