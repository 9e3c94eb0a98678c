"""Stages of a method: each reads the files of those before it, and is done when its key says so."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, TypeVar

import torch

from imagenets.core import lock
from imagenets.core.distributed import on_first
from imagenets.core.files import write_json
from imagenets.errors import CorruptError, MissingError, TrainingError, UsageError
from imagenets.training.ledger import Entry, Key, Ledger, changes
from imagenets.training.machine import note_machine
from imagenets.training.run import Run
from imagenets.training.saving import heed_warnings

log = logging.getLogger(__name__)

T = TypeVar("T")

REPLACED = "replaced"
"""Folder in a run for what stages left that were made anew."""

CONFIG = "config.json"
"""The settings of a run."""

Registry = Mapping[str, str]
"""Stage name -> `module:STAGE`, in their order; imported when its turn comes."""


@dataclass(frozen=True)
class Stage:
    """One stage of a method.

    Attributes:
        name: Its name, and that of its folder in the run.
        needs: Stages whose results it reads, for given settings.
        settings: Names of the settings that decide its numbers; `to_json` may leave some out.
        splits: The splits that it reads.
        version: Of its code: raised when the same input gives another result.
        run: Does the work, or what is left of it; returns the numbers to report.
        result: Digest of what it left in its folder; None when something of it is missing.
        files: Digests, by name, of what it reads that is neither a split nor of the run.
    """

    name: str
    needs: Callable[[Any], tuple[str, ...]]
    settings: tuple[str, ...]
    splits: Callable[[Any], tuple[str, ...]]
    version: int
    run: Callable[[Run[Any]], Mapping[str, float]]
    result: Callable[[Path], str | None]
    files: Callable[[Run[Any]], Mapping[str, str]] = lambda run: {}


class Stages:
    """The stages of one run, with the ledger of what is done.

    Args:
        registry: The stages of the method.
        run: The run.
    """

    def __init__(self, registry: Registry, run: Run[Any]) -> None:
        self._registry = registry
        self._run = run
        self._ledger = Ledger(run.out)
        self._data: dict[str, str] = {}
        self._results: dict[str, str | None] = {}

    def run(self, names: Sequence[str]) -> None:
        """Runs stages, in the order of the registry; those that are done say so.

        Several ranks call it together; they share the folder of the run and the prepared set.

        Args:
            names: The stages to run, by their names in the registry, in any order.

        Raises:
            UsageError: There is no such stage, or the run was made with other settings.
            BusyError: Another run is at work in this folder.
            MissingError: A stage that one of them reads is not done, or a split is not prepared.
            CorruptError: The ledger of the run cannot be read.
            TrainingError: The memory of the device does not suffice, or training cannot go on.
        """
        unknown = [name for name in names if name not in self._registry]
        if unknown:
            known = ", ".join(self._registry)
            raise UsageError(f"no step {', '.join(unknown)}: choose among {known}.")
        with ExitStack() as stack:
            hold = lock.hold(self._run.out / ".lock", self._run.out)
            on_first(lambda: stack.enter_context(hold))
            stack.enter_context(heed_warnings())
            on_first(self._open)
            for name in self._registry:
                if name in names:
                    self._run_one(self._stage(name))

    def _open(self) -> None:
        self._ledger = Ledger(self._run.out)
        self._settle()

    def is_done(self, name: str) -> bool:
        """Tells whether a stage is done with the data and settings of this run.

        Args:
            name: Its name in the registry.

        Returns:
            True where it left a whole result which was made from what the run has now, and so did
            the stages that it reads.
        """
        try:
            self._done(name)
        except MissingError:
            return False
        return True

    def _run_one(self, stage: Stage) -> None:
        """Runs a stage that is not done; what is done, the first rank knows and writes down."""
        if on_first(lambda: self._is_ready(stage)):
            reports = self._work(stage)
            on_first(lambda: self._end(stage, reports))

    def _is_ready(self, stage: Stage) -> bool:
        """Whether a stage has work left; makes a clean place for it if what is there is no use."""
        key, entry = self._key(stage), self._ledger[stage.name]
        found = self._result(stage) if entry and entry.result else None
        if entry is None or entry.key != key:
            self._begin(stage, key, entry)
        elif found is not None and found == entry.result:
            log.info("%s: done", stage.name)
            return False
        elif found is not None:  # whole, but not what this stage left
            self._begin(stage, key, entry)
        self._results.pop(stage.name, None)
        return True

    def _end(self, stage: Stage, reports: dict[str, float]) -> None:
        entry, result = self._ledger[stage.name], self._result(stage)
        assert entry is not None
        if result is None:
            folder = self._run.out / stage.name
            raise MissingError(f"{folder}: something that {stage.name!r} wrote is gone. Run again.")
        note_machine(self._run.out, stage.name, self._run.device)
        self._ledger.put(stage.name, Entry(entry.key, result, reports))

    def _work(self, stage: Stage) -> dict[str, float]:
        try:
            return dict(stage.run(self._run))
        except torch.OutOfMemoryError as error:
            raise TrainingError(
                f"{stage.name}: the memory of {self._run.device} does not suffice for batches of "
                f"{self._run.config.batch} images ({str(error).splitlines()[0]}). Give a smaller "
                "--batch-size and another --out, since it is a setting of the run; or free memory "
                "on the device and run the same command again."
            ) from error

    def _begin(self, stage: Stage, key: Key, entry: Entry | None) -> None:
        """Makes a clean place: nothing that was made from something else is mixed in."""
        folder = self._run.out / stage.name
        if folder.is_dir() and any(folder.iterdir()):
            differs = changes(entry.key, key) if entry else ["nothing is known of its making"]
            why = ", ".join(differs or ["its files were changed"])
            aside = _free(self._run.out / REPLACED, stage.name)
            aside.parent.mkdir(exist_ok=True)
            folder.rename(aside)
            log.warning(
                "%s: made anew, since other than before: %s. What it left lies in %s; delete it "
                "if you do not need it.",
                stage.name,
                why,
                aside,
            )
        self._ledger.put(stage.name, Entry(key))

    def _key(self, stage: Stage) -> Key:
        settings = self._run.config.to_json()
        files = dict(stage.files(self._run))
        key = {
            "code": stage.version,
            "settings": _plain({k: settings[k] for k in stage.settings if k in settings}),
            "data": {split: self._digest(split) for split in stage.splits(self._run.config)},
            "reads": {name: self._done(name) for name in stage.needs(self._run.config)},
        }
        return key | ({"files": files} if files else {})

    def _digest(self, split: str) -> str:
        if split not in self._data:
            self._data[split] = self._run.dataset(split, masks=True).digest
        return self._data[split]

    def _result(self, stage: Stage) -> str | None:
        """What a stage left; looked at once, since that can mean reading a large file."""
        if stage.name not in self._results:
            folder, entry = self._run.out / stage.name, self._ledger[stage.name]
            found = stage.result(folder)
            if found is None and entry is not None and entry.cleaned and folder.is_dir():
                found = entry.result
            self._results[stage.name] = found
        return self._results[stage.name]

    def _done(self, name: str) -> str:
        """The digest of what a finished stage left, made from what is there now."""
        stage, entry = self._stage(name), self._ledger[name]
        folder = self._run.out / name
        again = f"Run the step {name!r} first (--stages)."
        if entry is None or entry.result is None:
            raise MissingError(f"{folder}: {name}: not finished. {again}")
        key = self._key(stage)
        if key != entry.key:
            other = ", ".join(changes(entry.key, key))
            raise MissingError(f"{folder}: {name} was made with another {other}. {again}")
        if self._result(stage) != entry.result:
            raise MissingError(f"{folder}: {name}: its files are missing or changed. {again}")
        return entry.result

    def _settle(self) -> None:
        """Keeps the settings of a run; refuses others once something was made with the first.

        Those that the settings call `changeable` may be others: the stages that read them are
        made anew.
        """
        path = self._run.out / CONFIG
        now = {"tier": self._run.tier} | _plain(self._run.config.to_json())
        if path.is_file() and self._holds_something():
            then = json.loads(path.read_text("utf-8"))
            free = getattr(self._run.config, "changeable", ())
            differ = [name for name in changes(then, now) if name.partition(".")[0] not in free]
            if other := [_told(name, then, now) for name in differ]:
                raise UsageError(
                    f"{self._run.out}: this run was made with other settings ({', '.join(other)}). "
                    "Give the same ones to continue it, or another --out for a new run."
                )
        write_json(path, now)

    def _holds_something(self) -> bool:
        folders = (self._run.out / name for name in self._registry)
        return any(path.is_file() for folder in folders for path in folder.rglob("*"))

    def _stage(self, name: str) -> Stage:
        module, _, what = self._registry[name].partition(":")
        stage: Stage = getattr(import_module(module), what)
        return stage


def _plain(value: Any) -> Any:
    """What it would be after a round through JSON: tuples as lists."""
    return json.loads(json.dumps(value))


def _told(name: str, then: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """The name of a setting, with its texts before and now where it has two."""
    texts: list[Any] = [then, now]
    for part in name.split("."):
        texts = [held.get(part) if isinstance(held, Mapping) else None for held in texts]
    if not all(isinstance(text, str) and text for text in texts):
        return name
    before, after = (text if len(text) < 64 else f"{text[:12]}..." for text in texts)
    return f"{name}: {before}, now {after}"


def _free(folder: Path, name: str) -> Path:
    number = 1
    while (folder / f"{name}-{number}").exists():
        number += 1
    return folder / f"{name}-{number}"


def read_settings(out: Path, parse: Callable[[Mapping[str, Any]], T], verb: str) -> tuple[str, T]:
    """Reads the tier and the settings of a run that was begun, from its folder.

    Args:
        out: The folder of the run.
        parse: Makes settings of what their `to_json` gave.
        verb: Of the command that begins such a run, for messages.

    Returns:
        Name of the tier, and what `parse` made.

    Raises:
        MissingError: There is no run.
        CorruptError: Its settings cannot be read.
    """
    path = out / CONFIG
    if not path.is_file():
        raise MissingError(
            f"{path}: not there, so no run of training was begun in {out}. Name the folder of a "
            f"run (--run), or train one: imagenets {verb}"
        )
    try:
        content = json.loads(path.read_bytes())
        return str(content.pop("tier")), parse(content)
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise CorruptError(
            f"{path}: these are no settings of a run of `imagenets {verb}` that this release knows "
            f"({error}). Give the run the release that made it, or train again with another --out."
        ) from error
