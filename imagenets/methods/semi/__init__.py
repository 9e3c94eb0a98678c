"""The semi-supervised protocol: fine-tune a pretrained backbone on the 1 % of images with labels.

Gao et al., "Large-scale Unsupervised Semantic Segmentation", arXiv:2106.03149, section 5.
"""
