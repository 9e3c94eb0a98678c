"""The page over a prepared set, in parts."""
