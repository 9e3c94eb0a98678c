"""What the user is told when something is wrong: each message says what, where, and what to do.

Each error is also the builtin that fits, for those who catch that.
"""

from __future__ import annotations


class ImageNetSError(Exception):
    """Base of every error that a user can cause or mend; the command line prints it and exits.

    Attributes:
        exit_code: What the command line returns: 1 for a failure, 2 for a usage error.
    """

    exit_code = 1


class UsageError(ImageNetSError, ValueError):
    """The call itself is off: an unknown tier, a missing option, a value out of range."""

    exit_code = 2


class MissingError(ImageNetSError, FileNotFoundError):
    """Something that is needed is not there: a file, images of a class, a prepared set."""


class CorruptError(ImageNetSError, ValueError):
    """Something is there but is not what it should be: wrong digest, broken image, bad mask."""


class DownloadError(ImageNetSError, ConnectionError):
    """A file could not be fetched."""


class BusyError(ImageNetSError, RuntimeError):
    """Another run holds what this one needs."""


class DependencyError(ImageNetSError, ImportError):
    """An optional package is needed for what was asked; the message names the extra."""


class TrainingError(ImageNetSError, RuntimeError):
    """Training cannot go on: its loss is no longer a number."""


class WorkerError(ImageNetSError, RuntimeError):
    """A worker process has died: killed for memory, or by a fault of a library."""
