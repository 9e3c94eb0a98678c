"""What every room stands on, written once: files, processes, compiled loops."""

import sys

from imagenets.errors import DependencyError

if sys.platform == "win32":  # told once, here, instead of by the first module that is not there
    raise DependencyError(
        "imagenets does not run on Windows itself: its locks, signals and memory files are those "
        "of POSIX. Install WSL 2 (`wsl --install`), which is Linux, and this package inside it."
    )
