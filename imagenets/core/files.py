"""Files that are whole or not there, and errors that name them."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def write_file(path: Path, data: bytes | str) -> None:
    """Writes a file under a temporary name (`.<name>.part`) and renames it.

    Raises:
        OSError: It cannot be written; `filename` is always set.
    """
    part = path.with_name(f".{path.name}.part")
    with naming(path):
        part.write_bytes(data.encode() if isinstance(data, str) else data)
        part.replace(path)


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
