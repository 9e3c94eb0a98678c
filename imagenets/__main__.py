"""`python -m imagenets {prepare,baseline,evaluate} ...`: the three commands under one name."""

from __future__ import annotations

import sys
from importlib import import_module

COMMANDS = ("prepare", "baseline", "evaluate")


def main() -> int:
    """Hands the arguments to the command named first."""
    if len(sys.argv) > 1 and sys.argv[1] in COMMANDS:
        name = sys.argv[1]
        return int(import_module(f"imagenets.cli.{name}").main(sys.argv[2:]))
    asked = len(sys.argv) > 1 and sys.argv[1] in ("-h", "--help")
    usage = f"usage: python -m imagenets {{{','.join(COMMANDS)}}} [options]; --help after each"
    print(usage, file=sys.stdout if asked else sys.stderr)
    return 0 if asked else 2


if __name__ == "__main__":
    sys.exit(main())
