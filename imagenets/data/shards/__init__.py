"""The on-disk format, declared once: a shard is one HDF5 file, a manifest lists the shards.

A shard holds three one-dimensional uint8 datasets, `images` and `masks` (encoded files laid end to
end) and `segments` (for images with restart markers, the bytes between them), and a table
`samples` that says where each one lies. They are contiguous, that is one byte range of the file
each, so that a reader can map the file and needs HDF5 only to find the ranges.
docs/format.md describes the format for readers in other languages.
"""

from imagenets.data.shards.format import SAMPLE_DTYPE
from imagenets.data.shards.manifest import FORMAT_VERSION, MANIFEST, Manifest, ShardInfo, SplitInfo
from imagenets.data.shards.reader import ShardReader
from imagenets.data.shards.writer import ShardDraft, ShardSample, ShardWriter, write_shard

__all__ = [
    "FORMAT_VERSION",
    "MANIFEST",
    "SAMPLE_DTYPE",
    "Manifest",
    "ShardDraft",
    "ShardInfo",
    "ShardReader",
    "ShardSample",
    "ShardWriter",
    "SplitInfo",
    "write_shard",
]
