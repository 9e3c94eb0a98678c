"""Takes a split to another format: in pieces, in parallel, resumable, the same bytes each time.

A piece is some samples in one file, or in some files. It is written under a temporary name, read
back, renamed; then its record in `OUT/.export` says which files it has. A second run does what has
no record, or of which a file is gone or changed.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from imagenets import paths
from imagenets.core.files import is_part, sha256, write_json
from imagenets.core.lock import hold, wait_for_workers
from imagenets.core.pool import Pool, worker_count
from imagenets.data.dataset.split import Split
from imagenets.data.export.pieces import Format, Piece
from imagenets.errors import CorruptError, UsageError

_FACTS = "facts.json"
_VERSION = 1  # changes with what the files of a format hold
_SPLIT = "split-"


@dataclass(frozen=True, slots=True)
class Exported:
    """What an export has done.

    Attributes:
        samples: Images of the split.
        files: Files that it has in the export.
        size: Their bytes.
        pieces: Pieces that it has.
        made: Those of them that were written now; the others were there.
    """

    samples: int
    files: int
    size: int
    pieces: int
    made: int


def export(
    data: Split, form: Format, folder: str | Path, *, workers: int | None = None
) -> Exported:
    """Writes a split in another format; what was stopped goes on, what is done stays.

    Args:
        data: The split, or a view of it.
        form: The format; see `formats.make`.
        folder: Where to; several splits of a tier may share it.
        workers: Processes; one for each CPU if None.

    Returns:
        What is there, and what of it was written now.

    Raises:
        UsageError: The folder holds something else, or the format cannot hold this split.
        MissingError: A list that tells the labels is not at hand.
        CorruptError: A sample is damaged; names it. Pieces that are done stay.
        DependencyError: The format needs a library that is not there.
        BusyError: Another export is at work in the folder.
    """
    folder = Path(folder).expanduser()
    form.check(data)
    facts = {"version": _VERSION, "format": form.name, "tier": data.tier}
    facts["options"] = form.options()
    _check(folder, facts)
    with hold(paths.export_state(folder), folder):
        _claim(folder, facts)
        wait_for_workers(_workers(folder))
        pieces = _pieces(len(data), form.samples(data))
        _declare(paths.export_state(folder), data, len(pieces))
        _remove_parts(folder)
        records = [_record(folder, data.split, piece) for piece in pieces]
        known = data.other_masks != ""
        there = [known and _is_done(folder, record) for record in records]
        todo = [piece for piece, done in zip(pieces, there, strict=True) if not done]
        _write_all(data, form, folder, todo, workers)
        form.finish(data, folder, _finished(folder))
    sizes = [one["size"] for record in records for one in _load(record)["files"]]
    return Exported(len(data), len(sizes), sum(sizes), len(pieces), len(todo))


def _pieces(samples: int, size: int) -> list[Piece]:
    count = -(-samples // size)
    return [Piece(i, count, i * size, min(samples, (i + 1) * size)) for i in range(count)]


def _write_all(
    data: Split, form: Format, folder: Path, pieces: list[Piece], workers: int | None
) -> None:
    write = partial(_write, data, form, folder)
    weights = [piece.stop - piece.start for piece in pieces]
    pool = Pool(worker_count(workers), lock=_workers(folder))
    for _ in pool.map(write, pieces, f"{form.name} {data.split}", weights):
        pass


def _workers(folder: Path) -> Path:
    """What workers hold while they write: those of a run that was killed may not be gone yet."""
    return paths.export_state(folder) / "workers"


def _write(data: Split, form: Format, folder: Path, piece: Piece) -> None:
    """Writes one piece and its record; in a worker."""
    files = [_entry(folder, path) for path in form.write(data, piece, folder)]
    write_json(_record(folder, data.split, piece), {"files": files})


def _entry(folder: Path, path: Path) -> dict[str, Any]:
    found = path.stat()
    name = path.relative_to(folder).as_posix()
    return {
        "name": name,
        "size": found.st_size,
        "time": found.st_mtime_ns,
        "sha256": sha256(path),
    }


def _record(folder: Path, split: str, piece: Piece) -> Path:
    return paths.export_state(folder) / _name(split, piece.number)


def _name(split: str, number: int) -> str:
    """Of the record of a piece."""
    return f"{split}-{number:06d}.json"


def _is_done(folder: Path, record: Path) -> bool:
    """Whether a piece is there as it was written; files of another time are read for it."""
    try:
        files = json.loads(record.read_text())["files"]
        for one in files:
            path = folder / one["name"]
            found = path.stat()
            if found.st_size != one["size"]:
                return False
            if found.st_mtime_ns != one["time"] and sha256(path) != one["sha256"]:
                return False
    except (FileNotFoundError, NotADirectoryError, ValueError, KeyError, TypeError):
        return False
    return True


def _check(folder: Path, facts: dict[str, Any]) -> None:
    """Makes sure that the folder is empty, or holds an export of this kind."""
    path = paths.export_state(folder) / _FACTS
    if path.is_file():
        _same(folder, _load(path), facts)
        return
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder}: is a file. Give the folder for the export.")
    if folder.is_dir() and any(one != paths.export_state(folder) for one in folder.iterdir()):
        raise UsageError(
            f"{folder}: holds files that are no export of this program. Choose another folder."
        )


def _claim(folder: Path, facts: dict[str, Any]) -> None:
    """Says of what kind the export is; another run may have said so since it was checked."""
    _check(folder, facts)
    path = paths.export_state(folder) / _FACTS
    if not path.is_file():
        write_json(path, facts)


def _declare(state: Path, data: Split, pieces: int) -> None:
    """Says which samples a split has, or makes sure that it has these."""
    own = {"digest": data.digest, "samples": len(data), "masks": data.has_masks}
    own |= {"target": data.target, "pieces": pieces, "other_masks": data.other_masks}
    path = state / f"{_SPLIT}{data.split}.json"
    if path.is_file():
        _same(state.parent, _load(path), own)
    else:
        write_json(path, own)


def _finished(folder: Path) -> dict[str, dict[str, Any]]:
    """The splits whose pieces are all there: one that was stopped is none of them yet."""
    found, state = {}, paths.export_state(folder)
    for path in sorted(state.glob(f"{_SPLIT}*.json")):
        split, one = path.stem.removeprefix(_SPLIT), _load(path)
        if not {"samples", "masks", "pieces"} <= one.keys():
            raise CorruptError(f"{path}: is damaged. Delete it and run the command again.")
        records = [state / _name(split, number) for number in range(one["pieces"])]
        if all(_is_done(folder, record) for record in records):
            found[split] = one
    return found


def _same(folder: Path, there: dict[str, Any], wanted: dict[str, Any]) -> None:
    other = [name for name in wanted if there.get(name) != wanted[name]]
    if other:
        shown = ", ".join(f"{name} {there.get(name)}, not {wanted[name]}" for name in other)
        raise UsageError(
            f"{folder}: holds an export of something else ({shown}). Choose another folder, or "
            "delete this one."
        )


def _load(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text())
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise CorruptError(f"{path}: is damaged. Delete it and run the command again.")
    return found


def _remove_parts(folder: Path) -> None:
    """Removes what a killed run has left unfinished."""
    for path in folder.rglob("*"):
        if is_part(path.name):
            path.unlink()
