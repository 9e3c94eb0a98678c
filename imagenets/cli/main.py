"""`imagenets VERB ...`: the verbs by name; a new one is a file and a line here."""

from __future__ import annotations

import argparse
import difflib
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from types import MappingProxyType

from imagenets.cli.command import Verb, add_version, execute, parse, set_up
from imagenets.cli.completion import add_completion

VERBS: Mapping[str, str] = MappingProxyType(
    {
        "prepare": "imagenets.cli.prepare:VERB",
        "verify": "imagenets.cli.verify:VERB",
        "repair": "imagenets.cli.repair:VERB",
        "sample": "imagenets.cli.sample:VERB",
        "train": "imagenets.cli.train:VERB",
        "config": "imagenets.cli.config:VERB",
        "semi": "imagenets.cli.semi:VERB",
        "predict": "imagenets.cli.predict:VERB",
        "export": "imagenets.cli.export:VERB",
        "distance": "imagenets.cli.distance:VERB",
        "probe": "imagenets.cli.probe:VERB",
        "score": "imagenets.cli.score:VERB",
        "report": "imagenets.cli.report:VERB",
        "browse": "imagenets.cli.browse:VERB",
        "clean": "imagenets.cli.clean:VERB",
        "evaluate": "imagenets.cli.evaluate:VERB",
        "compare": "imagenets.cli.compare:VERB",
        "submit": "imagenets.cli.submit:VERB",
        "heatmaps": "imagenets.cli.heatmaps:VERB",
        "heatmaps-compare": "imagenets.cli.heatmaps_compare:VERB",
        "info": "imagenets.cli.info:VERB",
    }
)
"""Name -> `module:VERB`, in the order of the help."""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command line and returns its exit code; argparse itself exits with 2."""
    words = sys.argv[1:] if argv is None else list(argv)
    inner = words[:1] == ["evaluate"] and words[1:2] in (["compare"], ["submit"], ["heatmaps"])
    if inner or words[:1] == ["baseline"]:  # as the doors spell it
        words = words[1:]
    if words[:2] == ["heatmaps", "compare"]:
        words = ["heatmaps-compare", *words[2:]]
    return run_verbs("imagenets", "ImageNet-S: prepare, load, train, score.", tuple(VERBS), words)


def run_verbs(program: str, description: str, names: Sequence[str], words: Sequence[str]) -> int:
    """Parses and runs a command line of a program with verbs; suggests the nearest verb."""
    first = words[0] if words else ""
    parser = tree(program, description, (first,) if first in names else names)
    if first and not first.startswith("-") and first not in names:
        near = difflib.get_close_matches(first, names, 1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        parser.error(f"there is no verb {first!r}.{hint} Choose among {', '.join(names)}.")
    arguments = parse(parser, words)
    if not hasattr(arguments, "run"):
        parser.error(f"name a verb: {', '.join(names)}.")
    return execute(arguments)


def tree(program: str, description: str, names: Sequence[str]) -> argparse.ArgumentParser:
    """The parser of a program with some verbs; for one verb alone it is made ten times as fast."""
    parser = argparse.ArgumentParser(program, description=description)
    add_version(parser)
    add_completion(parser)
    parser.epilog = f"{program} VERB --help shows the options and examples of a verb."
    verbs = parser.add_subparsers(metavar="VERB", title="verbs")
    for name in names:
        verb = load(name)
        set_up(verbs.add_parser(name, help=verb.summary), verb)
    return parser


def load(name: str) -> Verb:
    """Imports a verb."""
    module, _, what = VERBS[name].partition(":")
    verb: Verb = getattr(import_module(module), what)
    return verb
