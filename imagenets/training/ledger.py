"""What each stage of a run was made from, and whether that is still so: `ledger.json`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from imagenets.core.files import write_json
from imagenets.errors import CorruptError

NAME = "ledger.json"

Key = dict[str, Any]
"""What decides the result of a stage: `code` (a version), `settings`, `data` (split -> digest),
`reads` (earlier stage -> digest of what it left) and, where there are any, `files` (name -> digest
of what comes from elsewhere). No clock, no path, no device."""


@dataclass
class Entry:
    """One stage.

    Attributes:
        key: What its files were made from.
        result: Digest of what it left; None while it is at work.
        reports: Numbers that it reported at its end.
        cleaned: Whether files of it were removed since no other stage needs them any more; it
            counts as done while its folder is there.
    """

    key: Key
    result: str | None = None
    reports: dict[str, float] = field(default_factory=dict)
    cleaned: bool = False


class Ledger:
    """The entries of a run, kept in its folder.

    Args:
        out: The folder of the run.

    Raises:
        CorruptError: The file cannot be read.
    """

    def __init__(self, out: Path) -> None:
        self._path = out / NAME
        self._entries: dict[str, Entry] = {}
        if not self._path.is_file():
            return
        try:
            content = json.loads(self._path.read_bytes())
            self._entries = {name: Entry(**entry) for name, entry in content.items()}
        except (ValueError, TypeError, AttributeError) as error:
            raise CorruptError(
                f"{self._path}: not readable ({error}). Delete it: what the run holds is then set "
                "aside, and every step starts anew."
            ) from error

    def __getitem__(self, stage: str) -> Entry | None:
        return self._entries.get(stage)

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def put(self, stage: str, entry: Entry) -> None:
        """Writes down what a stage is made from, or what it left."""
        self._entries[stage] = entry
        write_json(self._path, {name: asdict(entry) for name, entry in self._entries.items()})


def changes(before: Key, now: Key, path: str = "") -> list[str]:
    """Names what differs between two keys, such as `settings.batch` or `data.train`."""
    found = []
    for name in sorted(before.keys() | now.keys()):
        old, new = before.get(name), now.get(name)
        if old == new:
            continue
        where = f"{path}{name}"
        if isinstance(old, dict) and isinstance(new, dict):
            found += changes(old, new, f"{where}.")
        else:
            found.append(where)
    return found
