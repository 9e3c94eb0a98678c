"""Several runs that differ in their seed alone: what they score, and how far they lie apart.

Two different things are told. The spread over seeds says how much another run would score; the
interval over images of each run says how much other images would. Neither holds the other.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from imagenets.core.files import write_json
from imagenets.errors import MissingError
from imagenets.evaluation.metrics import SCALARS
from imagenets.evaluation.results import explained
from imagenets.methods.pass_.score import SCORES

SEEDS = "seeds.json"
"""Beside the runs: the scores of all, their mean and their spread."""


def folder_of(out: Path, seed: int) -> Path:
    """The folder of the run with a seed."""
    return out / f"seed-{seed}"


def tabulate(out: Path, seeds: Sequence[int]) -> dict[str, Any]:
    """Collects the scores of runs into `seeds.json`.

    Args:
        out: The folder that holds the runs.
        seeds: Of the runs.

    Returns:
        `seeds`, and `results`: one row for each kind of masks and protocol that all runs have, with
        `values`, `mean` and `spread_over_seeds` (standard deviation, n - 1; None of one seed) of
        each metric in percent, and `intervals_over_images` of the mIoU, one for each seed.

    Raises:
        MissingError: A run is not scored.
    """
    runs = [_rows(folder_of(out, seed) / SCORES) for seed in seeds]
    shared = [name for name in runs[0] if all(name in run for run in runs)]
    results = [_together([run[name] for run in runs]) for name in shared]
    document = {"seeds": list(seeds), "results": results}
    write_json(out / SEEDS, document)
    return document


def seeds_text(document: Mapping[str, Any]) -> str:
    """What `tabulate` gives as an aligned table of mIoU, in percent."""
    seeds = document["seeds"]
    columns = "".join(f"{f'seed {seed}':>10}" for seed in seeds)
    lines = [f"{'mIoU':<7}{'protocol':<18}{columns}{'mean':>8}{'spread over seeds':>20}"]
    for row in document["results"]:
        found = row["mIoU"]
        spread = "-" if found["spread_over_seeds"] is None else f"{found['spread_over_seeds']:.2f}"
        values = "".join(f"{value:10.2f}" for value in found["values"])
        lines.append(
            f"{row['masks']:<7}{row['protocol']:<18}{values}{found['mean']:8.2f}{spread:>20}"
        )
        if row["intervals_over_images"]:
            ends = ", ".join(
                f"{low:.2f} to {high:.2f}" for low, high in row["intervals_over_images"]
            )
            lines.append(f"{'':<7}each over images (95 %): {ends}")
    lines += [
        "",
        "spread: standard deviation over seeds. An interval over images is of one run.",
    ]
    return "\n".join([*lines, *(explained(row) for row in document["results"])])


def _rows(path: Path) -> dict[tuple[str, str], dict[str, Any]]:
    """The results of a run by kind of masks and protocol."""
    if not path.is_file():
        raise MissingError(f"{path}: not there. Run `imagenets score` on this run first.")
    found = json.loads(path.read_bytes()).get("results", [])
    if not found:
        raise MissingError(f"{path}: of an earlier release. Run `imagenets score` on it again.")
    return {(row["masks"], row["protocol"]): row for row in found}


def _together(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """One row of several runs."""
    names = ("masks", "protocol", "threshold_from", "match_from")
    found: dict[str, Any] = {name: rows[0][name] for name in names}
    for metric in SCALARS:
        values = [float(row[metric]) for row in rows]
        spread = float(np.std(values, ddof=1)) if len(values) > 1 else None
        mean = float(np.mean(values))
        found[metric] = {"values": values, "mean": mean, "spread_over_seeds": spread}
    intervals = [row["interval"]["mIoU"] for row in rows if "interval" in row]
    return found | {"intervals_over_images": intervals}
