"""The on-disk format of a set, declared once for reader, writer and docs/format.md.

A shard is one HDF5 file. It holds three one-dimensional uint8 datasets, `images` and `masks`
(encoded files laid end to end) and `segments` (for images with restart markers, the bytes between
them), and a table `samples` that says where each one lies. They are contiguous, that is one byte
range of the file each, so that a reader can map the file and needs HDF5 only to find the ranges.
A manifest lists the shards; it is written last, so that its presence means a whole set.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from imagenets.errors import CorruptError

FORMAT_VERSION = 1
"""Version of shards and manifests; other versions are refused."""

SHARD_FORMAT = "imagenets-shard"
"""Attribute `format` of a shard; `version` stands beside it."""

HDF5_VERSION = ("v108", "v108")
"""`libver` of h5py: HDF5's own structures as of 1.8, which carry checksums, so that a flipped bit
in them is noticed."""

TABLE = "samples"
"""The dataset of the table; its attribute `CHECKSUM` is the CRC-32 of its bytes, uint32."""

CHECKSUM = "crc32"

SAMPLE_DTYPE = np.dtype(
    [
        ("name", "S32"),  # file stem, such as n04493381_27386
        ("wnid", "S9"),  # class folder
        ("class_id", "<i2"),  # 1 + rank of the class in the tier, 0 outside it
        ("ilsvrc", "<i2"),  # rank of the image's own ILSVRC class in `source_classes`
        ("width", "<u4"),
        ("height", "<u4"),
        ("image_offset", "<u8"),  # first byte within `images`
        ("image_size", "<u4"),
        ("image_crc32", "<u4"),
        ("mask_offset", "<u8"),  # first byte within `masks`
        ("mask_size", "<u4"),  # 0: this sample has no mask
        ("mask_crc32", "<u4"),
        ("segment_offset", "<u8"),  # first byte within `segments`
        ("segment_size", "<u4"),  # 0: this image has no index of its restart segments
        ("segment_crc32", "<u4"),
    ]
)
"""One row of the table: 101 bytes, little-endian, no padding."""

STREAMS = ("image", "mask", "segment")
"""What a sample has in the shard: the first part of its columns' names."""

SEGMENT_DTYPE = np.dtype("<u2")
"""Of the index of restart segments: the bytes of each."""

MANIFEST = "manifest.json"
MANIFEST_FORMAT = "imagenets-shards"
"""Key `format` of a manifest; `version` stands beside it."""

REMEDY = "Delete this file and run imagenets-prepare again."


def dataset_of(stream: str) -> str:
    """The dataset that holds one of `STREAMS` of all samples."""
    return f"{stream}s"


def check_version(path: Path, form: object, version: object, wanted: str) -> None:
    """Refuses a file of another format or version.

    Raises:
        CorruptError: It is one.
    """
    if form != wanted:
        raise CorruptError(f"{path}: its format is {form!r}, not {wanted!r}. {REMEDY}")
    if version != FORMAT_VERSION:
        raise CorruptError(
            f"{path}: format version {version}, this release reads version {FORMAT_VERSION}. "
            "Install the release that wrote it, or prepare the set again."
        )
