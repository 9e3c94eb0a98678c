"""What the user is told when something is wrong: each message says what, where, and what to do.

Each error is also the builtin that fits, for those who catch that.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple


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
    """Training cannot go on: its loss is no longer a number, or memory does not suffice."""


class WorkerError(ImageNetSError, RuntimeError):
    """A worker process has died: killed for memory, or by a fault of a library."""


class RankError(ImageNetSError, RuntimeError):
    """Of several ranks, one has failed or does not answer.

    Args:
        message: What failed, and what to do.
        exit_code: What the command line returns: 1 for a failure, 2 for a usage error.
        silent: Whether another rank says what is wrong, so that this one need not.

    Attributes:
        exit_code: As given.
        silent: As given.
    """

    def __init__(self, message: str, *, exit_code: int = 1, silent: bool = False) -> None:
        super().__init__(message)
        self.exit_code = exit_code
        self.silent = silent


class Fault(NamedTuple):
    """One of many faults.

    Attributes:
        kind: A word that groups faults with one remedy, such as "missing".
        text: Which file or image it is, and what is wrong with it.
    """

    kind: str
    text: str


SHOWN_FAULTS = 10
"""Faults of each kind that a message shows."""


class FaultsError(CorruptError):
    """Many faults at once: the message shows some of each kind and how many there are.

    Attributes:
        faults: All of them.
        every: The message with all of them, as long as it may be.
    """

    def __init__(
        self, title: str, faults: Sequence[Fault], remedies: Mapping[str, str], found: str = ""
    ) -> None:
        """Words both messages.

        Args:
            title: The first line.
            faults: At least one.
            remedies: What to do, by kind.
            found: What was found instead.
        """
        self.faults = list(faults)
        groups: dict[str, list[str]] = {}
        for kind, text in faults:
            groups.setdefault(kind, []).append(text)
        parts: tuple[list[str], list[str]] = [title], [title]
        for lines, shown in zip(parts, (SHOWN_FAULTS, len(self.faults)), strict=True):
            for kind, texts in groups.items():
                lines += [f"  {kind}: {text}" for text in texts[:shown]]
                if len(texts) > shown:
                    lines.append(f"  ... and {len(texts) - shown:,} more (--all lists them)")
            lines += [found] if found else []
            lines += [
                f"{kind} ({len(texts):,}): {remedies[kind]}" for kind, texts in groups.items()
            ]
        self.every = "\n".join(parts[1])
        super().__init__("\n".join(parts[0]))
