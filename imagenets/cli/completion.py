"""`--print-completion SHELL`: what makes a shell complete the verbs and options of a program."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

SHELLS = ("bash", "zsh", "tcsh")


def add_completion(parser: argparse.ArgumentParser) -> None:
    """Adds `--print-completion` to the parser of a whole program."""
    parser.add_argument(
        "--print-completion",
        action=_Completion,
        choices=SHELLS,
        default=argparse.SUPPRESS,
        help="print what a shell is to run so that it completes verbs and options, and exit; "
        "needs shtab",
    )


class _Completion(argparse.Action):
    """Prints the script of a shell for the parser that it belongs to."""

    def __call__(
        self, parser: argparse.ArgumentParser, _space: object, shell: Any, _option: object = None
    ) -> None:
        try:
            import shtab
        except ImportError:
            parser.exit(
                1,
                "error: --print-completion needs shtab: pip install 'imagenets[completion]'.\n",
            )
        for option in _options(parser):
            if option.type is Path:
                option.complete = shtab.FILE  # type: ignore[attr-defined]  # where shtab looks
        print(shtab.complete(parser, shell))
        parser.exit()


def _options(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    """All options of a parser and of its verbs."""
    for action in parser._actions:
        yield action
        if isinstance(action, argparse._SubParsersAction):
            for verb in action.choices.values():
                yield from _options(verb)
