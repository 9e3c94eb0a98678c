"""PASS, the baseline of the benchmark: one stage a file, each reads the files of the one before."""
