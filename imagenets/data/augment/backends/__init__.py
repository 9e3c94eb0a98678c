"""What applies drawn parameters: compiled loops, Triton kernels, plain torch."""
