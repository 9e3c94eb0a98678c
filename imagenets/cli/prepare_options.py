"""The options of `imagenets-prepare`, and the request that they make."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

from imagenets import paths
from imagenets.cli import add_root
from imagenets.errors import UsageError
from imagenets.tiers import SPLITS, TIERS

if TYPE_CHECKING:
    from imagenets.core.pool import Pool
    from imagenets.data.lists import Origin
    from imagenets.data.prepare.pack_shard import Options
    from imagenets.data.prepare.run import Request

_QUALITY = 90

_WHERE = """\
Where to get it: https://image-net.org/download (ILSVRC2012_img_train.tar, ILSVRC2012_img_val.tar),
or https://www.kaggle.com/c/imagenet-object-localization-challenge."""

_EPILOG = """\
examples:
  imagenets-prepare --sample --root try          a small generated set, to see how it goes
  imagenets-prepare --split 50 --imagenet /data/imagenet --root /data/imagenet-s
  imagenets-prepare --split 919 --imagenet ILSVRC2012_img_val.tar --subsets validation
  imagenets-prepare --split 919 --imagenet /data/imagenet --dry-run
Run it again after an interruption: it continues, and the result is the same."""


def parser() -> argparse.ArgumentParser:
    """The parser of the command line."""
    made = argparse.ArgumentParser(
        prog="imagenets-prepare",
        description="Makes ImageNet-S from raw ImageNet: fetches lists and masks, checks them, "
        "finds the images, and packs shards or lays out the published folders.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument(
        "--split",
        metavar="TIER",
        help="50, 300, 919, all, or the name of a custom tier whose lists --index holds",
    )
    add_root(made)
    _add_inputs(made)
    _add_outputs(made)
    _add_work(made)
    _add_instead(made)
    made.add_argument("--json", action="store_true", help="print the result as JSON")
    return made


def _add_inputs(made: argparse.ArgumentParser) -> None:
    group = made.add_argument_group("what goes in")
    group.add_argument(
        "--imagenet",
        type=Path,
        action="append",
        metavar="PATH",
        help="raw ImageNet: folder or archive, in any usual form; may be repeated "
        "(default: $IMAGENET_DIR)",
    )
    group.add_argument(
        "--source-kind", metavar="KIND", help="take only this raw form (default: tell by looking)"
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
        "--mirror", metavar="URL", help="fetch lists and archives from URL/<list path>, URL/<name>"
    )
    group.add_argument(
        "--offline", action="store_true", help="fetch nothing: use what is given or there already"
    )
    group.add_argument(
        "--allow-missing", action="store_true", help="go on without images that are not found"
    )


def _add_outputs(made: argparse.ArgumentParser) -> None:
    group = made.add_argument_group("what comes out")
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
        "--link",
        choices=("symlink", "hardlink", "copy"),
        default="symlink",
        help="how a tree gets image files (default: symlink); those in archives are written out",
    )
    group.add_argument(
        "--resize",
        type=int,
        metavar="N",
        help="shards: re-encode images with a short side above N pixels (default: keep the bytes)",
    )
    group.add_argument(
        "--restart",
        action="store_true",
        help="shards: put restart markers into JPEGs, without any loss, so that training decodes "
        "no more than its crops; about 3 %% larger (--resize does it, too)",
    )
    group.add_argument(
        "--quality", type=int, metavar="Q", help=f"JPEG quality of --resize (default: {_QUALITY})"
    )


def _add_work(made: argparse.ArgumentParser) -> None:
    group = made.add_argument_group("how it works")
    group.add_argument(
        "--workers", type=int, metavar="N", help="processes (default: one a processor)"
    )
    group.add_argument(
        "--backend",
        choices=("loky", "dask"),
        default="loky",
        help="processes of this machine (default), or a Dask cluster that sees the same folders",
    )
    group.add_argument("--scheduler", metavar="ADDRESS", help="of the Dask cluster")
    group.add_argument(
        "--no-decode",
        action="store_true",
        help="do not decode each image once to prove that it can be",
    )


def _add_instead(made: argparse.ArgumentParser) -> None:
    group = made.add_argument_group("do this instead").add_mutually_exclusive_group()
    group.add_argument(
        "--dry-run",
        action="store_true",
        help="say what is there, what is missing, and what it would take",
    )
    group.add_argument(
        "--download-only",
        action="store_true",
        help="only fetch and check lists and masks, into <root>/downloads",
    )
    group.add_argument(
        "--verify",
        action="store_true",
        help="check what is packed in --root (all tiers, or that of --split)",
    )
    group.add_argument(
        "--repair", action="store_true", help="like --verify, then pack bad shards anew"
    )
    group.add_argument(
        "--sample",
        action="store_true",
        help="generate a small set, serve it from the loopback, and prepare it like a real one",
    )


def tiers(split: str | None) -> list[str]:
    """The tiers that `--split` names.

    Raises:
        UsageError: It is missing.
    """
    if split is None:
        raise UsageError("--split is missing: choose 50, 300, 919, all or a custom tier.")
    return list(TIERS) if split == "all" else [split]


def request(arguments: argparse.Namespace, *, images: bool = True) -> Request:
    """What is asked for.

    Args:
        arguments: The command line.
        images: Whether raw images are needed.

    Raises:
        UsageError: A number out of range, or no raw ImageNet.
    """
    from imagenets.data.prepare.run import Request

    return Request(
        root=absolute(arguments.root),
        imagenet=_imagenet(arguments.imagenet) if images else (),
        origin=_origin(arguments),
        kind=arguments.source_kind,
        layout=arguments.layout,
        subsets=tuple(arguments.subsets) if arguments.subsets else None,
        link=arguments.link,
        options=_options(arguments),
        pool=pool(arguments),
        allow_missing=arguments.allow_missing,
    )


def pool(arguments: argparse.Namespace) -> Pool:
    """Where the work is done.

    Raises:
        UsageError: Fewer than one worker, or Dask without a scheduler.
    """
    from imagenets.core.pool import Pool, worker_count
    from imagenets.data.prepare.state import WORKERS

    workers = worker_count(arguments.workers)
    if (arguments.backend == "dask") != (arguments.scheduler is not None):
        raise UsageError("--backend dask and --scheduler ADDRESS go together.")
    lock = None if arguments.verify else paths.state(absolute(arguments.root)) / WORKERS
    return Pool(workers, arguments.backend, arguments.scheduler, lock)


def absolute(path: Path) -> Path:
    """A path that stays right in other processes; links are kept as they are."""
    return Path(os.path.abspath(path.expanduser()))  # noqa: PTH100


def _origin(arguments: argparse.Namespace) -> Origin:
    from imagenets.data.lists import Origin

    return Origin(
        index=arguments.index and absolute(arguments.index),
        annotations=tuple(absolute(path) for path in arguments.annotations),
        mirror=arguments.mirror,
        offline=arguments.offline,
    )


def _options(arguments: argparse.Namespace) -> Options:
    from imagenets.data.prepare.pack_shard import Options

    resize, quality = arguments.resize, arguments.quality
    if resize is None:
        if quality is not None:
            raise UsageError("--quality is for --resize: without it the bytes are kept.")
        return Options(restart=arguments.restart, decode=not arguments.no_decode)
    if resize < 1:
        raise UsageError(f"--resize {resize}: at least 1 pixel is needed.")
    if not 1 <= (quality := _QUALITY if quality is None else quality) <= 100:
        raise UsageError(f"--quality {quality}: choose from 1 to 100.")
    return Options(resize, quality, restart=True)


def _imagenet(paths: list[Path] | None) -> tuple[Path, ...]:
    from_environment = os.environ.get("IMAGENET_DIR")
    if not paths and from_environment:
        paths = [Path(from_environment)]
    if not paths:
        from imagenets.data.raw import FORMS

        raise UsageError(
            "no raw ImageNet is given: name it with --imagenet PATH (as often as needed) or in "
            f"the environment variable IMAGENET_DIR. These forms are taken:\n{FORMS}\n{_WHERE}"
        )
    return tuple(absolute(path) for path in paths)
