"""The on-disk format: a shard is one HDF5 file, a manifest lists the shards (see `format`)."""

from imagenets.data.shards.format import FORMAT_VERSION, MANIFEST, SAMPLE_DTYPE
from imagenets.data.shards.manifest import Manifest, ShardInfo, SplitInfo
from imagenets.data.shards.reader import ShardReader
from imagenets.data.shards.writer import ShardSample, ShardWriter, shard_draft, write_shard

__all__ = [
    "FORMAT_VERSION",
    "MANIFEST",
    "SAMPLE_DTYPE",
    "Manifest",
    "ShardInfo",
    "ShardReader",
    "ShardSample",
    "ShardWriter",
    "SplitInfo",
    "shard_draft",
    "write_shard",
]
