"""The three commands; here is the one place where an error becomes an exit code."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path

from imagenets.errors import ImageNetSError
from imagenets.paths import default_root


def add_root(parser: argparse.ArgumentParser) -> None:
    """Adds `--root`, the same in all three commands."""
    parser.add_argument(
        "--root",
        type=Path,
        default=default_root(),
        metavar="PATH",
        help="folder of the prepared set (default: $IMAGENETS_ROOT, then ./imagenet-s)",
    )


def run(command: Callable[[], None]) -> int:
    """Runs a command and turns what goes wrong into one line on stderr and an exit code.

    Args:
        command: Does the work; prints results to stdout.

    Returns:
        0, or the error's own code (2 usage, 1 failure), or 130 after Ctrl-C.
    """
    from imagenets.core import log

    log.setup()
    try:
        command()
    except ImageNetSError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("interrupted: run the same command again to continue", file=sys.stderr)
        return 130
    except BrokenPipeError:  # `| head` closed stdout: not an error of ours
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 1
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        print(f"error: {where}{error.strerror or error}{_remedy(error)}", file=sys.stderr)
        return 1
    return 0


def _remedy(error: OSError) -> str:
    import errno

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
