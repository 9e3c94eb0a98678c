"""Bytes to pixels and back: images, masks, crops of JPEGs, resampling."""
