"""The command line: one tree of verbs, each a file here; the three commands are doors into it."""

import sys
from importlib import import_module

from imagenets.errors import DependencyError

try:
    import_module("imagenets.core")
except DependencyError as error:  # not on this system: one line, before any verb is imported
    sys.exit(f"error: {error}")
