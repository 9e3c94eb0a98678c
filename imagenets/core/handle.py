"""A descriptor of a file that must still be the one that was listed."""

from __future__ import annotations

import os

from imagenets.errors import CorruptError, MissingError

Stamp = tuple[int, int]
"""Bytes and time of change (ns) of an archive: with others it is another one."""


def stamp_of(status: os.stat_result) -> Stamp:
    """What an archive is known by."""
    return status.st_size, status.st_mtime_ns


class Handle:
    """A file descriptor that closes with its last reference.

    Threads may share it (`pread` has no position), and so may a forked child.

    Raises:
        MissingError: The file cannot be opened.
        CorruptError: It is not the one that `stamp` was taken of.
    """

    def __init__(self, path: str, stamp: Stamp) -> None:
        self.fd = -1  # stands even when `open` raises, for `__del__`
        try:
            self.fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise MissingError(
                f"{path}: cannot be opened ({error.strerror}). Check the path and its permissions."
            ) from error
        now = stamp_of(os.fstat(self.fd))
        if now != stamp:  # positions would mean other images
            raise CorruptError(
                f"{path}: has changed since its images were listed ({stamp[0]:,} bytes then, "
                f"{now[0]:,} now). Run the command again."
            )

    def __del__(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)
