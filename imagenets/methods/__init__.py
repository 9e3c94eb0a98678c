"""What is trained on ImageNet-S: each method a file or a folder."""
