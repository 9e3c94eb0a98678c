"""Files that are whole or not there: a temporary name beside the target, then a rename."""

from __future__ import annotations

import errno
import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

PART = ".part"
"""What a file that is not whole yet ends in."""


def part_of(path: Path) -> Path:
    """The temporary name of a file: `<name>.part`, beside it."""
    return path.with_name(path.name + PART)


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
        except BaseException:
            with suppress(OSError):
                part.unlink()
            raise
        publish(part, path, durable=durable)


def publish(part: Path, path: Path, *, durable: bool = True) -> None:
    """Gives a finished file its name, in one step that survives a power cut when `durable`."""
    part.replace(path)
    if durable:
        sync(path.parent)


def sync(path: Path) -> None:
    """Brings a file or folder to the disk; file systems that cannot are left alone."""
    with suppress(OSError):
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def write_file(path: Path, data: bytes | str, *, durable: bool = True) -> None:
    """Writes a file in one step; see `atomic`."""
    with atomic(path, durable=durable) as part:
        part.write_bytes(data.encode() if isinstance(data, str) else data)


def write_json(path: Path, value: Any, *, durable: bool = True) -> None:
    """Writes JSON in one step; equal values give equal bytes."""
    write_file(path, json.dumps(value, indent=1) + "\n", durable=durable)


def sha256(path: Path) -> str:
    """SHA-256 of a file, as hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


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
