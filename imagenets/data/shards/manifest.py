"""The manifest of a folder of shards: written last, so that its presence means a whole set."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from imagenets.core.files import write_json
from imagenets.data.shards.format import (
    FORMAT_VERSION,
    MANIFEST,
    MANIFEST_FORMAT,
    REMEDY,
    check_version,
)
from imagenets.errors import CorruptError, MissingError


@dataclass(frozen=True, slots=True)
class ShardInfo:
    """One shard in a manifest: its file name, group, number of samples, size and SHA-256."""

    file: str
    group: str
    samples: int
    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class SplitInfo:
    """One split in a manifest: the groups it is made of, samples in all, whether it has masks."""

    groups: list[str]
    samples: int
    masks: bool


@dataclass
class Manifest:
    """What a folder of shards holds; written last, so that its presence means a whole set.

    Attributes:
        tier: Name of the tier.
        classes: WordNet ids; class id = 1 + rank.
        source_classes: WordNet ids that `ilsvrc` counts.
        splits: The splits, by name.
        shards: The files, in the order of the samples within each group.
        options: How the images were stored.
        lists: SHA-256 of each list used, by its path below the index folder.
        archive: Name, bytes and md5 of the mask archive; None without one.
    """

    tier: str
    classes: list[str]
    source_classes: list[str]
    splits: dict[str, SplitInfo]
    shards: list[ShardInfo]
    options: dict[str, Any] = field(default_factory=dict)
    lists: dict[str, str] = field(default_factory=dict)
    archive: dict[str, Any] | None = None

    @classmethod
    def load(cls, folder: Path) -> Manifest:
        """Reads `<folder>/manifest.json`.

        Raises:
            MissingError: There is none: the folder holds no finished set.
            CorruptError: It is cut off, of another version, or not a manifest.
        """
        path = folder / MANIFEST
        try:
            content = json.loads(path.read_bytes())
        except (FileNotFoundError, NotADirectoryError):
            raise MissingError(
                f"{path}: not found, so this folder holds no finished set. "
                "Run imagenets-prepare (again) to finish it."
            ) from None
        except ValueError as error:
            raise CorruptError(f"{path}: not valid JSON ({error}). {REMEDY}") from None
        try:
            check_version(path, content.pop("format"), content.pop("version"), MANIFEST_FORMAT)
            splits = {name: SplitInfo(**split) for name, split in content.pop("splits").items()}
            shards = [ShardInfo(**shard) for shard in content.pop("shards")]
            manifest = cls(splits=splits, shards=shards, **content)
            manifest._check()
        except CorruptError:
            raise
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise CorruptError(f"{path}: not a complete manifest ({error}). {REMEDY}") from None
        return manifest

    def save(self, folder: Path) -> None:
        """Writes `<folder>/manifest.json` in one step; equal manifests give equal bytes."""
        content = {"format": MANIFEST_FORMAT, "version": FORMAT_VERSION, **asdict(self)}
        write_json(folder / MANIFEST, content, sort_keys=True)

    def of_split(self, split: str) -> list[ShardInfo]:
        """The shards of a split, group by group.

        Raises:
            KeyError: The set has no such split.
        """
        groups = self.splits[split].groups
        return [shard for group in groups for shard in self.shards if shard.group == group]

    def _check(self) -> None:
        for shard in self.shards:
            if Path(shard.file).name != shard.file:
                raise ValueError(f"{shard.file!r} is not a plain file name")
        for name, split in self.splits.items():
            found = sum(shard.samples for shard in self.of_split(name))
            if found != split.samples:
                raise ValueError(
                    f"split {name} has {split.samples} samples, its shards have {found}"
                )
