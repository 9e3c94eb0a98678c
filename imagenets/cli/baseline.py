"""`imagenets-baseline`: trains, scores and shows the LUSS baseline."""

from __future__ import annotations

import argparse
import json
import shlex
from collections.abc import Sequence
from pathlib import Path

from imagenets import paths
from imagenets.cli import add_root, run
from imagenets.core.pool import available_cpus
from imagenets.errors import MissingError, UsageError


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    args = _parser().parse_args(argv)
    return run(lambda: args.command(args))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="imagenets-baseline",
        description="PASS, the baseline of ImageNet-S, on a prepared set.",
    )
    commands = parser.add_subparsers(required=True, metavar="{train,score,report}")

    train = commands.add_parser("train", help="run the six steps, or continue them")
    _add_place(train)
    train.add_argument(
        "--preset", metavar="NAME", help="sample, pass50, pass300 or pass919 (default: by tier)"
    )
    train.add_argument(
        "--stages", metavar="A,B", help="only these steps, by name (default: all six, in order)"
    )
    train.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    train.add_argument(
        "--epochs",
        metavar="N | STEP=N,...",
        help="epochs of every trained step, or of those named: pretrain, attention, finetune",
    )
    train.add_argument("--batch-size", type=int, metavar="N", help="images a step")
    train.add_argument("--seed", type=int, metavar="N", help="of everything random")
    train.add_argument("--workers", type=int, metavar="N", help="processes that decode images")
    train.set_defaults(command=_train)

    score = commands.add_parser("score", help="match and score the validation masks of a run")
    _add_place(score)
    score.add_argument("--json", action="store_true", help="print the figures as JSON")
    score.set_defaults(command=_score)

    report = commands.add_parser("report", help="write an HTML page with pictures of a run")
    _add_place(report)
    report.set_defaults(command=_report)
    return parser


def _add_place(parser: argparse.ArgumentParser) -> None:
    add_root(parser)
    parser.add_argument(
        "--split", metavar="N", help="tier: 50, 300, 919 or custom (default: the one prepared)"
    )
    parser.add_argument(
        "--out", type=Path, metavar="RUN", help="folder of the run (default: ROOT/runs/TIER)"
    )


def _train(args: argparse.Namespace) -> None:
    from imagenets.methods.pass_ import STAGES
    from imagenets.methods.pass_.presets import Changes, make_config, preset_for
    from imagenets.training.run import Run, pick_device
    from imagenets.training.stage import Stages

    tier, out = _place(args)
    changes = Changes(_epochs(args.epochs), args.batch_size, args.seed)
    config = make_config(args.preset or preset_for(tier), changes)
    names = args.stages.split(",") if args.stages else list(STAGES)
    job = Run(args.root, tier, out, config, pick_device(args.device), _workers(args.workers))
    Stages(STAGES, job).run(names)
    print(f"done: {', '.join(names)}. Everything lies in {out}")
    place = shlex.join(["--root", str(args.root), "--split", tier, "--out", str(out)])
    print(f"next: imagenets-baseline score {place}")


def _score(args: argparse.Namespace) -> None:
    from imagenets.data.dataset.imagenets import ImageNetS
    from imagenets.evaluation.tables import figures_text
    from imagenets.methods.pass_.score import score

    tier, out = _place(args)
    data = ImageNetS(args.root, "validation", tier)
    figures = score(data, out)
    text = json.dumps(figures, indent=1) if args.json else None
    print(text or figures_text(figures, len(data)))


def _report(args: argparse.Namespace) -> None:
    from imagenets.pages.report import write_report

    tier, out = _place(args)
    print(write_report(args.root, tier, out))


def _place(args: argparse.Namespace) -> tuple[str, Path]:
    """The tier and the folder of the run."""
    tier = args.split or _only_tier(args.root)
    return tier, args.out or paths.run(args.root, tier)


def _only_tier(root: Path) -> str:
    tiers = list(paths.prepared(root))
    if len(tiers) == 1:
        return tiers[0]
    if tiers:
        raise UsageError(f"{root}: holds several tiers; choose one with --split {tiers[0]}.")
    raise MissingError(
        f"{root}: no prepared set there. Run `imagenets-prepare --split 50 --imagenet PATH "
        f"--root {root}`, or `imagenets-prepare --sample --root {root}` to try with made-up images."
    )


def _epochs(text: str | None) -> dict[str, int]:
    from imagenets.methods.pass_.presets import TRAINED

    if not text:
        return {}
    try:
        if "=" not in text:
            return dict.fromkeys(TRAINED, int(text))
        pairs = (pair.split("=") for pair in text.split(","))
        return {stage: int(number) for stage, number in pairs}
    except ValueError:
        raise UsageError(f"--epochs {text}: give a number, or pretrain=N,finetune=N.") from None


def _workers(asked: int | None) -> int:
    """One process for every core but the one that trains, at most 16."""
    if asked is not None:
        return max(0, asked)
    return min(16, available_cpus() - 1)
