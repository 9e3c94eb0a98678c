"""`imagenets-prepare`: raw ImageNet in, a checked ImageNet-S out."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imagenets import paths
from imagenets.cli import prepare_options as options
from imagenets.cli import prepare_tables as tables
from imagenets.cli import run
from imagenets.errors import CorruptError

if TYPE_CHECKING:
    from imagenets.data.prepare.run import Request
    from imagenets.data.prepare.verify import Verdict


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns the exit code (argparse exits by itself with 2)."""
    arguments = options.parser().parse_args(argv)
    return run(lambda: _command(arguments))


def _command(arguments: argparse.Namespace) -> None:
    from imagenets.data.lists import check_name
    from imagenets.data.prepare.state import hold

    root = options.absolute(arguments.root)
    if arguments.verify:
        _verify(root, arguments)
        return
    if not (arguments.sample or arguments.repair):
        for name in options.tiers(arguments.split):
            if arguments.mirror is None:
                check_name(name, arguments.index, paths.downloads(root))
    action = next((name for name in _ACTIONS if getattr(arguments, name)), None)
    if action is None:
        request = options.request(arguments)
        with hold(root):
            _prepare(options.tiers(arguments.split), request, arguments.json)
    else:
        _ACTIONS[action](root, arguments)


def _prepare(names: Sequence[str], request: Request, as_json: bool) -> None:
    from imagenets.data.prepare.run import Sources, prepare_tier

    sources = Sources(request)
    reports = [prepare_tier(name, request, sources) for name in names]
    tiers = [asdict(report) for report in reports]
    _show({"tiers": tiers}, map(tables.report_table, reports), as_json)


def _sample(root: Path, arguments: argparse.Namespace) -> None:
    """Prepares the generated set by the very same way, downloads from the loopback included."""
    from imagenets.data.lists import Origin
    from imagenets.data.prepare.state import hold
    from imagenets.data.raw.synthetic import generate, serve

    with hold(root):
        sample = generate(paths.synthetic(root))
        arguments.imagenet = [sample.raw]
        request = options.request(arguments)
        with serve(paths.synthetic(root)) as url:
            origin = Origin(mirror=url, archive=sample.archive.name)
            _prepare([sample.name], replace(request, origin=origin), arguments.json)
    where = f"--root {shlex.quote(str(root))} --split {sample.name}"
    print(
        f"\nThe sample is tier {sample.name}. Next:\n"
        f"  imagenets-baseline train {where}\n"
        f"  imagenets-baseline score {where}\n"
        f"  imagenets-baseline report {where}",
        file=sys.stderr if arguments.json else sys.stdout,
    )


def _dry_run(root: Path, arguments: argparse.Namespace) -> None:
    from imagenets.data.prepare.run import Sources, survey_tier
    from imagenets.data.prepare.state import hold

    request = options.request(arguments)
    sources = Sources(request)
    with hold(root):
        surveys = [survey_tier(name, request, sources) for name in options.tiers(arguments.split)]
    tiers = [asdict(survey) for survey in surveys]
    _show({"tiers": tiers}, map(tables.survey_table, surveys), arguments.json)


def _download_only(root: Path, arguments: argparse.Namespace) -> None:
    from imagenets.data.prepare.run import download_tier
    from imagenets.data.prepare.state import hold

    request = options.request(arguments, images=False)
    with hold(root):
        files = [
            str(path)
            for name in options.tiers(arguments.split)
            for path in download_tier(name, request)
        ]
    _show({"files": files}, files, arguments.json)


def _verdicts(root: Path, arguments: argparse.Namespace) -> list[Verdict]:
    from imagenets.data.prepare.verify import prepared_sets, verify

    folders = prepared_sets(root)
    if arguments.split not in (None, "all"):
        folders = [paths.shards(root, arguments.split)]
    return [verify(folder, options.pool(arguments)) for folder in folders]


def _verify(root: Path, arguments: argparse.Namespace) -> None:
    verdicts = _verdicts(root, arguments)
    sets = [{**asdict(verdict), "folder": str(verdict.folder)} for verdict in verdicts]
    _show({"sets": sets}, map(tables.verdict_lines, verdicts), arguments.json)
    faults = sum(len(verdict.faults) for verdict in verdicts)
    if faults:
        raise CorruptError(f"{root}: {faults:,} faults. Mend them with --repair.")


def _repair(root: Path, arguments: argparse.Namespace) -> None:
    from imagenets.data.prepare.run import Sources, repair_tier
    from imagenets.data.prepare.state import hold

    request = options.request(arguments)
    sources = Sources(request)
    with hold(root):
        verdicts = _verdicts(root, arguments)
        for line in map(tables.verdict_lines, verdicts):
            print(line, file=sys.stderr)
        reports = [repair_tier(v, request, sources) for v in verdicts if v.faults]
    tiers = [asdict(report) for report in reports]
    tables_of = [tables.report_table(report) for report in reports] or ["nothing to repair"]
    _show({"tiers": tiers}, tables_of, arguments.json)


def _show(content: dict[str, Any], text: Iterable[str], as_json: bool) -> None:
    if as_json:
        print(json.dumps(content, indent=1))
    else:
        print("\n".join(text))


_ACTIONS: dict[str, Callable[[Path, argparse.Namespace], None]] = {
    "sample": _sample,
    "dry_run": _dry_run,
    "download_only": _download_only,
    "repair": _repair,
}


if __name__ == "__main__":
    sys.exit(main())
