"""The two protocols with labels on ETH-80: a backbone pretrained by PASS, and random weights.

    python benchmarks/eth80_labels.py --root ROOT --runs FOLDER [--seeds 0 1 2] --work FOLDER

`--runs` holds PASS runs of the preset `sample`, `plain-<seed>` each, as left by
benchmarks/ablation.py. For every seed: distance matching, and fine-tuning on the 80 labelled images
with the preset `few` at the crops of `sample`. Random weights are drawn with the same seed. An
interrupted table continues.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from statistics import mean, stdev

from ablation import imagenets

MODEL = "resnet18w05"
COLUMNS = ("Acc", "mIoU", "mBIoU", "FMeasure")


def scores(arguments: argparse.Namespace, protocol: str, start: str, seed: int) -> dict[str, float]:
    """What one protocol scores with one start and seed."""
    out = arguments.work / f"{protocol}-{start}-{seed}"
    file = out / "scores.json"
    if not file.is_file():
        checkpoint = arguments.runs / f"plain-{seed}" / "pretrain" / "checkpoint.pt"
        given = ["--weights", checkpoint] if start == "PASS" else ["--random-weights"]
        place = ["--root", arguments.root, "--split", 8, "--out", out, "--seed", seed]
        if protocol == "distance":
            imagenets("distance", "--backbone", MODEL, *given, *place, "--workers", 1)
        else:
            few = ["--preset", "few", "--model", MODEL, "--crop", 96, "--side", 128]
            imagenets("semi", *few, *given, *place, "--workers", 1)
    found: dict[str, float] = json.loads(file.read_bytes())
    return found


def row(name: str, found: Sequence[dict[str, float]]) -> str:
    columns = [[one[column] for one in found] for column in COLUMNS]
    spread = [f" ± {stdev(values):.1f}" if len(values) > 1 else "" for values in columns]
    cells = [f"{mean(c):.1f}{s}" for c, s in zip(columns, spread, strict=True)]
    return f"| {name} | {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--runs", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    print(f"| | {' | '.join(COLUMNS)} |\n|---{'|---' * len(COLUMNS)}|")
    for protocol in ("distance", "semi"):
        for start in ("PASS", "random"):
            found = [scores(arguments, protocol, start, seed) for seed in arguments.seeds]
            print(row(f"{protocol}, {start}", found), flush=True)


if __name__ == "__main__":
    main()
