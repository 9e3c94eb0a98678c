"""What every verb shares: how it is declared, its common options, errors as exit codes."""

from __future__ import annotations

import argparse
import difflib
import errno
import logging
import os
import re
import signal
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from imagenets.cli.completion import add_completion
from imagenets.errors import FaultsError, ImageNetSError, MissingError, RankError


@dataclass(frozen=True)
class Verb:
    """One verb of the command line.

    Attributes:
        name: What is typed.
        summary: One line, for the list of verbs.
        description: What it does, for its own help.
        examples: Command lines after the name of the program, with what they do.
        add_arguments: Adds its options to a parser.
        run: Does it; prints results to stdout.
    """

    name: str
    summary: str
    description: str
    examples: Sequence[tuple[str, str]]
    add_arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], None]


class _Help(argparse.RawDescriptionHelpFormatter):
    """Shows the default of every option that has one and does not say so itself."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        text = action.help
        shown = action.default not in (None, False, argparse.SUPPRESS) and action.default != []
        if text and shown and action.option_strings and "default" not in text:
            return f"{text} (default: %(default)s)"
        return text


def set_up(parser: argparse.ArgumentParser, verb: Verb) -> None:
    """Makes a parser that of a verb: description, examples, its options and those of all."""
    lines = [f"  {parser.prog} {words}\n      {what}" for words, what in verb.examples]
    parser.description = textwrap.fill(verb.description, 79)
    parser.epilog = "examples:\n" + "\n".join(lines)
    parser.formatter_class = _Help
    verb.add_arguments(parser)
    add_common(parser)
    parser.set_defaults(run=verb.run, parser=parser)


def parse(parser: argparse.ArgumentParser, words: Sequence[str] | None) -> argparse.Namespace:
    """Parses a command line; an option that a verb has not is told with the usage of the verb.

    argparse itself exits with 2, and names the verb's options only where the verb is the program.
    """
    arguments, unknown = parser.parse_known_args(words)
    if unknown:
        own: argparse.ArgumentParser = getattr(arguments, "parser", parser)
        options = re.findall(r"--[\w-]+", own.format_usage())
        near = difflib.get_close_matches(unknown[0], options, 1)
        hint = f" (did you mean {near[0]}?)" if near else ""
        own.error(f"unrecognized arguments: {' '.join(unknown)}{hint}")
    return arguments


def add_common(parser: argparse.ArgumentParser) -> None:
    """Adds the options that every verb and door has."""
    group = parser.add_argument_group("messages")
    add_version(group)
    group.add_argument("--quiet", action="store_true", help="show warnings and errors alone")
    group.add_argument("--verbose", action="store_true", help="show more of what is done")
    group.add_argument(
        "--log-file", type=Path, metavar="FILE", help="append everything that is logged to FILE"
    )


def add_version(parser: argparse._ActionsContainer) -> None:
    """Adds `--version`."""
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version and exit")


class _Version(argparse.Action):
    """Prints the version; it is looked up only then, which takes a while."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from importlib.metadata import version

        print(f"imagenets {version('imagenets')}")
        parser.exit()


def execute(arguments: argparse.Namespace) -> int:
    """Runs a parsed command line; the one place where an error becomes an exit code.

    Args:
        arguments: Of a parser of `set_up`.

    Returns:
        0, or the error's own code (2 usage, 1 failure), or 130 after Ctrl-C, 143 after SIGTERM.
    """
    from imagenets.core.launch import speaker
    from imagenets.core.pool import dismiss

    try:
        with _terminable():
            _set_up_log(arguments)
            try:
                arguments.run(arguments)
            finally:
                dismiss()
    except ImageNetSError as error:
        if isinstance(error, RankError) and error.silent:  # another rank says it
            return error.exit_code
        print(
            f"error: {speaker()}{_text(error, getattr(arguments, 'all', False))}", file=sys.stderr
        )
        return error.exit_code
    except KeyboardInterrupt:
        print("interrupted: run the same command again to continue", file=sys.stderr)
        return 130
    except _TerminatedError:
        print("terminated: run the same command again to continue", file=sys.stderr)
        return 128 + signal.SIGTERM
    except BrokenPipeError:  # `| head` closed stdout: not an error of ours
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 1
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        print(f"error: {where}{error.strerror or error}{_remedy(error)}", file=sys.stderr)
        return 1
    return 0


def _text(error: ImageNetSError, every: bool) -> str:
    return error.every if every and isinstance(error, FaultsError) else str(error)


class _TerminatedError(BaseException):
    """SIGTERM came; like KeyboardInterrupt nothing catches it on the way but what cleans up."""


@contextmanager
def _terminable() -> Iterator[None]:
    """Lets SIGTERM end the work of a block as Ctrl-C does: workers and temporary files go, too."""
    if threading.current_thread() is not threading.main_thread():  # only that one may
        yield
        return
    owner = os.getpid()

    def end(number: int, _: object) -> None:
        signal.signal(number, signal.SIG_DFL)  # a second one ends at once
        if os.getpid() != owner:  # a forked worker: it has nothing to clean up
            os.kill(os.getpid(), number)
            return
        raise _TerminatedError

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL if before is None else before)


def _set_up_log(arguments: argparse.Namespace) -> None:
    from imagenets.core import log

    level = logging.WARNING if arguments.quiet else logging.INFO
    if arguments.verbose:
        level = logging.DEBUG
    file: Path | None = arguments.log_file
    if file is not None and not file.parent.is_dir():
        raise MissingError(f"{file}: there is no folder {file.parent}. Make it first.")
    log.setup(level, file)


def _remedy(error: OSError) -> str:
    remedies = {
        errno.ENOSPC: "free some space and run the same command again",
        errno.EROFS: "choose a folder that can be written to",
        errno.EACCES: "check the permissions of this path, or choose another",
        errno.EPERM: "check the permissions of this path, or choose another",
        errno.ENOENT: "check the path",
        errno.ENOTDIR: "check the path",
    }
    remedy = remedies.get(error.errno or 0)
    return f". Remedy: {remedy}." if remedy else ""


def run_verb(verb: Verb, program: str, argv: Sequence[str] | None) -> int:
    """Runs a command line of a program that is one verb."""
    parser = argparse.ArgumentParser(program)
    set_up(parser, verb)
    add_completion(parser)
    return execute(parse(parser, argv))
