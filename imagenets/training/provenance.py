"""Where a run's numbers come from: its seed, settings, data and code, and what it ran on."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from imagenets.core.files import write_json
from imagenets.errors import CorruptError
from imagenets.protocols import Pretraining
from imagenets.training.ledger import Entry, Ledger
from imagenets.training.machine import MADE_ON, read_object, versions
from imagenets.training.stage import CONFIG

PRETRAINING = "pretraining.json"
"""What the weights at the start were pretrained with, as someone said."""


def declare(out: Path, pretraining: Pretraining) -> None:
    """Keeps what is said of the weights that a result starts from, in place of what was before."""
    write_json(out / PRETRAINING, asdict(pretraining))


def declared(out: Path) -> Pretraining:
    """What was said of the weights that a result starts from; nothing where nobody did.

    Raises:
        CorruptError: The file cannot be read.
    """
    path = out / PRETRAINING
    try:
        found = Pretraining(**read_object(path))
    except TypeError as error:
        raise CorruptError(
            f"{path}: says no `data` and `supervision` ({error}). Delete it, and say it anew with "
            "--pretrained-on and --supervision."
        ) from error
    if not (isinstance(found.data, str) and isinstance(found.supervision, str)):
        raise CorruptError(f"{path}: `data` and `supervision` are no texts. Delete it.")
    return found


def provenance(out: Path, stage: str) -> dict[str, Any]:
    """What a stage of a run, and all that it reads, were made from, as the run's files say.

    Args:
        out: The folder of the run.
        stage: The stage whose masks are scored.

    Returns:
        `seed` and `settings`; `data`, split -> SHA-256; `code`, stage -> version of its code;
        `results`, stage -> digest of what it left; `made_on`, stage -> device, ranks and versions
        (without the stages that an earlier release ran); `scored_with`, versions of now.

    Raises:
        CorruptError: One of the files cannot be read.
    """
    settings = read_object(out / CONFIG)
    entries = _read_by(Ledger(out), stage)
    machines = read_object(out / MADE_ON)
    data = [pair for entry in entries.values() for pair in entry.key["data"].items()]
    return {
        "seed": settings.get("seed"),
        "settings": settings,
        "data": dict(data),
        "code": {name: entry.key["code"] for name, entry in entries.items()},
        "results": {name: entry.result for name, entry in entries.items()},
        "made_on": {name: machines[name] for name in entries if name in machines},
        "scored_with": versions(),
    }


def _read_by(ledger: Ledger, stage: str) -> dict[str, Entry]:
    """A stage and the stages that it was made from, in the order of the ledger."""
    wanted, left = set[str](), [stage]
    while left:
        name = left.pop()
        entry = ledger[name]
        if entry is not None and name not in wanted:
            wanted.add(name)
            left += entry.key["reads"]
    return {name: entry for name in ledger if name in wanted and (entry := ledger[name])}
