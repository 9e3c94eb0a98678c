"""What the page of a run is made from: the files in its folder, and the validation split."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from imagenets.data.dataset.imagenets import ImageNetS
from imagenets.errors import MissingError


@dataclass(frozen=True)
class RunFiles:
    """A scored run.

    Attributes:
        out: Its folder.
        data: The validation split.
    """

    out: Path
    data: ImageNetS

    @cached_property
    def scores(self) -> dict[str, Any]:
        """Every metric by its published name.

        Raises:
            MissingError: The run is not scored yet.
        """
        path = self.out / "scores.json"
        if not path.is_file():
            raise MissingError(
                f"{path}: not there. Run `imagenets-baseline score` on this run first."
            )
        found: dict[str, Any] = json.loads(path.read_text("utf-8"))
        return found

    def log(self, stage: str) -> list[dict[str, Any]]:
        """What a trained stage logged, one row an epoch; nothing if it was not run here."""
        path = self.out / stage / "log.jsonl"
        rows = path.read_text("utf-8").splitlines() if path.is_file() else []
        return [json.loads(row) for row in rows]
