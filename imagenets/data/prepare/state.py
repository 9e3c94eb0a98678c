"""What `imagenets-prepare` remembers in `<root>/.prepare`: who is at work, and what is finished."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from imagenets import paths
from imagenets.classes import is_wnid
from imagenets.core import lock
from imagenets.core.files import pass_over, write_json

WORKERS = "workers"
"""File in it that workers hold a shared lock on."""

_DEPTH = 5  # of folders looked at for changes: the Kaggle layout needs four


@contextmanager
def hold(root: Path) -> Iterator[None]:
    """Makes this the only run on a root, once workers of a killed one are gone.

    Raises:
        BusyError: Another run is at work; says which.
    """
    folder = paths.state(root)
    with lock.hold(folder, root):
        lock.wait_for_workers(folder / WORKERS)
        yield


@dataclass
class Finished:
    """A finished run on a tier, so that the same command has nothing to do.

    Attributes:
        request: What was asked for, and the signature of all that went in.
        shards: Bytes of each file of shards.
        folders: Time of change (ns) of each class folder of the tree.
        report: What was said at the end.
    """

    request: dict[str, Any]
    shards: dict[str, int] = field(default_factory=dict)
    folders: dict[str, int] = field(default_factory=dict)
    report: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def load(cls, path: Path) -> Finished | None:
        """Reads the note; None when there is no sound one."""
        try:
            return cls(**json.loads(path.read_bytes()))
        except (FileNotFoundError, ValueError, TypeError):
            return None

    def save(self, path: Path) -> None:
        """Writes the note in one step."""
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, asdict(self))

    def holds(self, root: Path, request: dict[str, Any]) -> bool:
        """Whether this very thing was done, and its files are still there."""
        if self.request != json.loads(json.dumps(request)):
            return False
        try:
            sizes = {name: (root / name).stat().st_size for name in self.shards}
            return sizes == self.shards and folder_times(root, self.folders) == self.folders
        except FileNotFoundError:
            return False


def folder_times(root: Path, folders: Iterable[str]) -> dict[str, int]:
    """Time of change (ns) of folders, given below the root."""
    return {name: os.stat(f"{root}/{name}").st_mtime_ns for name in folders}  # noqa: PTH116 - speed


def signature(paths: Sequence[Path]) -> str:
    """A digest of what lies at some paths, by names and times; class folders are not entered.

    Files that come or go change the time of their folder, so a changed source is noticed without
    a look at a million names.
    """
    digest = hashlib.sha256()
    for path in paths:
        for line in _changes(os.fspath(path), 0):
            digest.update(os.fsencode(line) + b"\n")
    return digest.hexdigest()


def _changes(path: str, depth: int) -> Iterator[str]:
    try:
        status = os.stat(path)  # noqa: PTH116 - strings throughout
    except OSError:  # a link to nowhere
        yield path
        return
    folder = os.path.isdir(path)  # noqa: PTH112
    yield f"{path} {status.st_mtime_ns} {0 if folder else status.st_size}"
    if not folder or depth == _DEPTH or is_wnid(os.path.basename(path)):  # noqa: PTH119
        return
    try:
        with os.scandir(path) as entries:
            found = sorted(entries, key=lambda entry: entry.name)
    except PermissionError as error:
        pass_over(path, error)
        return
    for entry in found:
        if entry.is_dir() or not entry.name.lower().endswith((".jpeg", ".jpg", ".png")):
            yield from _changes(entry.path, depth + 1)
