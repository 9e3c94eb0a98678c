"""Trains and scores the baseline on ETH-80: trained, untrained backbone, and all pixels other.

ETH-80 (Leibe and Schiele, CVPR 2003): 8 classes of photographs with true masks, laid out as raw
ImageNet (official tars), a mask archive and lists of a tier "8".

    python benchmarks/eth80.py --eth80 FOLDER --work FOLDER [--seeds 0 1 2]

Everything goes through the command line, as a user's run would. An interrupted run continues.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
from pathlib import Path
from statistics import mean, stdev

import numpy as np
import torch

from imagenets import ImageNetS
from imagenets.evaluation.metrics import SCALARS, Evaluator

EPOCHS = "pretrain={},attention=5,finetune=2"
ARMS = {"trained": EPOCHS.format(5), "untrained backbone": EPOCHS.format(0)}


def command(*words: object) -> str:
    """Runs one of the commands; its log goes to stderr."""
    call = [sys.executable, "-m", "imagenets", *map(str, words)]
    return subprocess.run(call, check=True, stdout=subprocess.PIPE, text=True).stdout


def prepare(eth80: Path, root: Path) -> None:
    (archive,) = eth80.glob("ImageNetS8-*.zip")
    words = ["--split", 8, "--imagenet", eth80, "--index", eth80 / "index", "--root", root]
    command("prepare", *words, "--annotations", archive)


def train_and_score(root: Path, out: Path, seed: int, epochs: str) -> dict[str, float]:
    """Trains one run, or what is left of it; returns its figures."""
    place = ["--root", root, "--split", 8, "--out", out]
    command("baseline", "train", *place, "--preset", "sample", "--seed", seed, "--epochs", epochs)
    figures: dict[str, float] = json.loads(command("baseline", "score", *place, "--json"))
    clusters = json.loads((out / "cluster" / "clusters.json").read_text("utf-8"))
    return figures | {"NMI": clusters["NMI"]}


def all_other(root: Path) -> dict[str, float]:
    data = ImageNetS(root, "validation", "8")
    evaluator = Evaluator(len(data.classes))
    for index in range(len(data)):
        truth = data[index]["mask"].numpy()
        evaluator.update(np.zeros_like(truth), truth)
    return dict(evaluator.compute())


def row(name: str, results: list[dict[str, float]], columns: tuple[str, ...]) -> str:
    cells = []
    for column in columns:
        values = [result[column] for result in results if column in result]
        spread = f" ± {stdev(values):.1f}" if len(values) > 1 else ""
        cells.append(f"{mean(values):.1f}{spread}" if values else "")
    return f"| {name} | " + " | ".join(cells) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--eth80", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    args = parser.parse_args()
    root = args.work / "root"
    prepare(args.eth80, root)
    columns = (*SCALARS, "NMI")
    print(f"torch {torch.__version__}, Python {platform.python_version()}, ", end="")
    print(f"{os.cpu_count()} cores, {platform.machine()}; seeds {args.seeds}\n")
    print("| | " + " | ".join(columns) + " |\n|---|" + "---|" * len(columns))
    for arm, epochs in ARMS.items():
        results = []
        for seed in args.seeds:
            out = args.work / f"{arm.replace(' ', '-')}-{seed}"
            results.append(train_and_score(root, out, seed, epochs))
            print(row(f"{arm}, seed {seed}", results[-1:], columns), flush=True)
        print(row(f"**{arm}**", results, columns), flush=True)
    print(row("**all other**", [all_other(root)], columns))


if __name__ == "__main__":
    main()
