"""`imagenets-prepare`: raw ImageNet in, a checked ImageNet-S out."""

from __future__ import annotations

import argparse
import json
import os
import shlex
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

from imagenets.cli import add_root, run
from imagenets.cli.tables import report_table, verdict_lines
from imagenets.errors import CorruptError, UsageError
from imagenets.tiers import SPLITS, TIERS

if TYPE_CHECKING:
    from imagenets.data.prepare import Request
    from imagenets.data.workers import Pool

_WHERE = """\
Where to get it: https://image-net.org/download (ILSVRC2012_img_train.tar, ILSVRC2012_img_val.tar),
or https://www.kaggle.com/c/imagenet-object-localization-challenge."""

_EPILOG = """\
examples:
  imagenets-prepare --sample --root try          a small generated set, to see how it goes
  imagenets-prepare --split 50 --imagenet /data/imagenet --root /data/imagenet-s
  imagenets-prepare --split 919 --imagenet ILSVRC2012_img_val.tar --subsets validation
Run it again after an interruption: it continues, and the result is the same."""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns the exit code (argparse exits by itself with 2)."""
    arguments = _parser().parse_args(argv)
    return run(lambda: _command(arguments))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="imagenets-prepare",
        description="Makes ImageNet-S from raw ImageNet: fetches lists and masks, checks them, "
        "finds the images, and packs shards or lays out the published folders.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--split",
        metavar="TIER",
        help="50, 300, 919, all, or the name of a custom tier whose lists --index holds",
    )
    add_root(parser)
    _add_inputs(parser)
    _add_outputs(parser)
    parser.add_argument(
        "--sample",
        action="store_true",
        help="generate a small set, serve it from the loopback, and prepare it like a real one",
    )
    parser.add_argument(
        "--verify",
        action="store_true",
        help="check what is packed in --root (all tiers, or that of --split) and do nothing else",
    )
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    return parser


def _add_inputs(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("what goes in")
    group.add_argument(
        "--imagenet",
        type=Path,
        action="append",
        metavar="PATH",
        help="raw ImageNet: folder or archive, in any usual form; may be repeated "
        "(default: $IMAGENET_DIR)",
    )
    group.add_argument(
        "--index",
        type=Path,
        metavar="DIR",
        help="folder with the lists (categories/, mapping/, names/); default: download them",
    )
    group.add_argument(
        "--annotations",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help="mask archive (ImageNetS50-....zip); may be repeated; default: download it",
    )
    group.add_argument(
        "--allow-missing", action="store_true", help="go on without images that are not found"
    )


def _add_outputs(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("what comes out")
    group.add_argument(
        "--layout",
        choices=("shards", "tree", "both"),
        default="shards",
        help="shards to train from (default), the published folders, or both",
    )
    group.add_argument(
        "--subsets",
        nargs="+",
        choices=SPLITS,
        metavar="SPLIT",
        help=f"splits out of {', '.join(SPLITS)}; default: all that the sources can serve, but "
        "train-full, which stores the remaining ILSVRC classes, too",
    )
    group.add_argument(
        "--no-decode",
        action="store_true",
        help="do not decode each image once to prove that it can be",
    )
    group.add_argument(
        "--workers", type=int, metavar="N", help="processes (default: one a processor)"
    )


def _command(arguments: argparse.Namespace) -> None:
    from imagenets.data.lists import check_name
    from imagenets.data.state import hold

    root = _absolute(arguments.root)
    if arguments.sample:
        with hold(root):
            _sample(root, arguments)
        return
    if arguments.verify:
        _verify(root, arguments)
        return
    names = _tiers(arguments.split)
    for name in names:
        check_name(name, arguments.index, root / "downloads")
    request = _request(root, arguments)
    with hold(root):
        _prepare(names, request, arguments.json)


def _prepare(names: Sequence[str], request: Request, as_json: bool) -> None:
    from imagenets.data.prepare import Sources, prepare_tier

    sources = Sources(request)
    reports = [prepare_tier(name, request, sources) for name in names]
    if as_json:
        print(json.dumps({"tiers": [asdict(report) for report in reports]}, indent=1))
    else:
        for report in reports:
            print(report_table(report))


def _sample(root: Path, arguments: argparse.Namespace) -> None:
    """Prepares the generated set by the very same way, downloads from the loopback included."""
    from imagenets.data.lists import Origin
    from imagenets.data.sample import generate, serve

    sample = generate(root / "sample-source")
    arguments.imagenet = [sample.raw]
    request = _request(root, arguments)
    with serve(root / "sample-source") as url:
        origin = Origin(mirror=url, archive=sample.archive.name)
        _prepare([sample.name], replace(request, origin=origin), arguments.json)
    where, out = shlex.quote(str(root)), shlex.quote(str(root / "run"))
    print(
        f"\nThe sample is tier {sample.name}. Next:\n"
        f"  imagenets-baseline train --root {where} --split {sample.name} --preset sample "
        f"--out {out}\n"
        f"  imagenets-baseline score --root {where} --out {out}",
        file=sys.stderr if arguments.json else sys.stdout,
    )


def _verify(root: Path, arguments: argparse.Namespace) -> None:
    from imagenets.data.verify import prepared_sets, verify

    folders = prepared_sets(root)
    if arguments.split not in (None, "all"):
        folders = [root / f"ImageNetS{arguments.split}.shards"]
    verdicts = [verify(folder, _pool(arguments)) for folder in folders]
    if arguments.json:
        sets = [{**asdict(verdict), "folder": str(verdict.folder)} for verdict in verdicts]
        print(json.dumps({"sets": sets}, indent=1))
    else:
        print("\n".join(verdict_lines(verdict) for verdict in verdicts))
    faults = sum(len(verdict.faults) for verdict in verdicts)
    if faults:
        raise CorruptError(f"{root}: {faults:,} faults. Mend them with --repair.")


def _tiers(split: str | None) -> list[str]:
    if split is None:
        raise UsageError("--split is missing: choose 50, 300, 919, all or a custom tier.")
    return list(TIERS) if split == "all" else [split]


def _request(root: Path, arguments: argparse.Namespace) -> Request:
    from imagenets.data.lists import Origin
    from imagenets.data.pack import Options
    from imagenets.data.prepare import Request

    return Request(
        root=root,
        imagenet=_imagenet(arguments.imagenet),
        origin=Origin(
            index=arguments.index and _absolute(arguments.index),
            annotations=tuple(_absolute(path) for path in arguments.annotations),
        ),
        layout=arguments.layout,
        subsets=tuple(arguments.subsets) if arguments.subsets else None,
        options=Options(decode=not arguments.no_decode),
        pool=_pool(arguments),
        allow_missing=arguments.allow_missing,
    )


def _pool(arguments: argparse.Namespace) -> Pool:
    from imagenets.data.workers import Pool, default_workers

    if arguments.workers is not None and arguments.workers < 1:
        raise UsageError(f"--workers {arguments.workers}: at least 1 is needed.")
    return Pool(arguments.workers or default_workers())


def _imagenet(paths: list[Path] | None) -> tuple[Path, ...]:
    from_environment = os.environ.get("IMAGENET_DIR")
    if not paths and from_environment:
        paths = [Path(from_environment)]
    if not paths:
        from imagenets.data.sources import FORMS

        raise UsageError(
            "no raw ImageNet is given: name it with --imagenet PATH (as often as needed) or in "
            f"the environment variable IMAGENET_DIR. These forms are taken:\n{FORMS}\n{_WHERE}"
        )
    return tuple(_absolute(path) for path in paths)


def _absolute(path: Path) -> Path:
    return Path(os.path.abspath(path.expanduser()))  # noqa: PTH100 - keeps links as they are


if __name__ == "__main__":
    sys.exit(main())
