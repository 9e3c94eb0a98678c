"""Files that are whole or not there: a temporary name beside the target, then a rename."""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

from imagenets.errors import MissingError

log = logging.getLogger(__name__)

PART = ".part"
"""What a file that is not whole yet ends in."""


_NO_SYNC = frozenset({errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP})
"""What file systems answer that cannot bring a file or folder to the disk."""


def as_folders(frozen: object, *fields: str) -> None:
    """Makes paths of the fields of a frozen dataclass that were given as text, `~` expanded."""
    for name in fields:
        object.__setattr__(frozen, name, Path(getattr(frozen, name)).expanduser())


def part_of(path: Path) -> Path:
    """The temporary name of a file: `<name>.part`, beside it."""
    return path.with_name(path.name + PART)


def is_part(name: str) -> bool:
    """Whether a file of this name is one that was never finished."""
    return name.endswith(PART)


_LITTER = frozenset(
    {
        *("__MACOSX", ".DS_Store", ".AppleDouble", ".Spotlight-V100", ".Trashes", ".fseventsd"),
        *("Thumbs.db", "ehthumbs.db", "desktop.ini", "$RECYCLE.BIN", "System Volume Information"),
    }
)


def is_litter(path: str) -> bool:
    """Whether a file is one that macOS or Windows leaves by itself, or lies in such a folder."""
    return any(name in _LITTER or name.startswith("._") for name in path.split("/"))


def pass_over(folder: str, error: OSError) -> None:
    """Warns, once, of a folder that cannot be listed and in which nothing is expected.

    Such is the `lost+found` at the top of a file system.
    """
    _tell(folder, error.strerror or str(error))


@cache
def _tell(folder: str, why: str) -> None:
    log.warning("%s: cannot be listed (%s) and is passed over", folder, why)


def listing(folder: bytes, *, needed: bool = True) -> list[bytes]:
    """The sorted names in a folder, as bytes: they need not be UTF-8.

    Args:
        folder: Which one.
        needed: Whether something is expected in it; else one that is closed to us is passed over.

    Raises:
        MissingError: It cannot be listed.
    """
    try:
        return sorted(os.listdir(folder))  # noqa: PTH208 - bytes, for a million names
    except OSError as error:
        if not needed and isinstance(error, PermissionError):
            pass_over(os.fsdecode(folder), error)
            return []
        raise MissingError(
            f"{os.fsdecode(folder)}: cannot be listed ({error.strerror}). "
            "Check the path and its permissions."
        ) from error


def remove_parts(folder: Path) -> None:
    """Removes what a killed run has left unfinished in a folder."""
    for path in folder.iterdir():
        if is_part(path.name):
            path.unlink()


@contextmanager
def atomic(path: Path, *, durable: bool = True) -> Iterator[Path]:
    """Lets a block write a temporary file, which then gets its name in one step.

    The one way in which this library makes files. A block that fails leaves nothing behind.

    Args:
        path: The file to make; an older one is replaced.
        durable: Whether the bytes and the name must survive a power cut before this returns.
            False is for files made in great numbers whose loss a later run notices and mends.

    Yields:
        The temporary path to write to.

    Raises:
        OSError: It cannot be written; `filename` is always set.
    """
    part = part_of(path)
    with naming(path):
        try:
            yield part
            if durable:
                sync(part)
        except BaseException as error:
            with suppress(OSError):
                part.unlink()
            if isinstance(error, OSError) and str(error.filename) == str(part):
                error.filename = str(path)  # the name that the user knows
            raise
        publish(part, path, durable=durable)


def publish(part: Path, path: Path, *, durable: bool = True) -> None:
    """Gives a finished file its name, in one step that survives a power cut when `durable`."""
    part.replace(path)
    if durable:
        sync(path.parent)


def sync(path: Path) -> None:
    """Brings a file or folder to the disk; file systems that cannot are left alone.

    Raises:
        OSError: The disk is full or broken.
    """
    try:
        handle = os.open(path, os.O_RDONLY)
    except PermissionError:  # a folder that may be written to, not listed
        return
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in _NO_SYNC:
            raise
    finally:
        os.close(handle)


def sync_all() -> None:
    """Brings all that was written to the disk: one call for files made with `durable=False`."""
    os.sync()


def write_file(path: Path, data: bytes | str, *, durable: bool = True) -> None:
    """Writes a file in one step; see `atomic`."""
    with atomic(path, durable=durable) as part:
        part.write_bytes(data.encode() if isinstance(data, str) else data)


def write_json(path: Path, value: Any, *, sort_keys: bool = False, durable: bool = True) -> None:
    """Writes JSON in one step; equal values give equal bytes, with `sort_keys` in any order."""
    text = json.dumps(value, indent=1, sort_keys=sort_keys)
    write_file(path, text + "\n", durable=durable)


def digest(path: Path, algorithm: str = "sha256") -> str:
    """Digest of a file, as hex digits; `algorithm` as `hashlib` names it."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()


def sha256(path: Path) -> str:
    """SHA-256 of a file, as hex digits."""
    return digest(path)


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Gives an OSError of the block the name of the file it is about, if it has none.

    A full disk is reported by `write`, which knows no name; HDF5 reports it in words alone.
    """
    try:
        yield
    except OSError as error:
        if error.filename is not None:
            raise
        number = error.errno
        if number is None and os.strerror(errno.ENOSPC) in str(error):
            number = errno.ENOSPC
        if number is None:
            raise
        raise OSError(number, os.strerror(number), str(path)) from error
