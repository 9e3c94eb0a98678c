"""JPEG files with restart markers, from which a crop is cut without decoding the rest.

`transcode` makes them when a set is packed; `decode_crop` is what reads an image, of any kind.
"""

from imagenets.pixels.jpeg.crop import EXACT_MARGIN, Box, Bytes, Scratch, cut, cut_rows, decode_crop
from imagenets.pixels.jpeg.header import OTHER, PROGRESSIVE, SEQUENTIAL, Layout, layout
from imagenets.pixels.jpeg.restart import Restarted, choose_interval, transcode

__all__ = [
    "EXACT_MARGIN",
    "OTHER",
    "PROGRESSIVE",
    "SEQUENTIAL",
    "Box",
    "Bytes",
    "Layout",
    "Restarted",
    "Scratch",
    "choose_interval",
    "cut",
    "cut_rows",
    "decode_crop",
    "layout",
    "transcode",
]
