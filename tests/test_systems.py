"""Where the package cannot run, one line says so: Windows itself, a Python without Numba."""

from __future__ import annotations

import subprocess
import sys

import pytest

WINDOWS = "import shutil; sys.platform = 'win32'"  # what shutil is made of depends on the real one
NO_NUMBA = "sys.modules['numba'] = None"


def run(before: str, code: str) -> subprocess.CompletedProcess[str]:
    lines = f"import sys\n{before}\n{code}"
    return subprocess.run(
        [sys.executable, "-c", lines], capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize(
    ("before", "code", "words"),
    [
        (WINDOWS, "import imagenets.core.lock", "Install WSL 2"),
        (WINDOWS, "import imagenets.data.parquet", "Install WSL 2"),
        (NO_NUMBA, "from imagenets import Loader", "pip install --upgrade numba"),
        (NO_NUMBA, "import imagenets.core.simd", "pip install --upgrade numba"),
    ],
)
def test_what_needs_it_raises_an_error_of_ours(before: str, code: str, words: str) -> None:
    done = run(before, code)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("imagenets.errors.DependencyError: ")
    assert words in done.stderr.splitlines()[-1]


def test_the_command_line_says_one_line_on_windows() -> None:
    done = run(WINDOWS, "from imagenets.cli.main import main\nmain(['train', '--help'])")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("error: imagenets does not run on Windows itself")
    assert done.stderr.count("\n") == 1


def test_the_command_line_says_one_line_without_numba(tmp_path: object) -> None:
    words = ["sample", "--root", str(tmp_path)]
    done = run(NO_NUMBA, f"from imagenets.cli.main import main\nsys.exit(main({words}))")
    last = done.stderr.splitlines()[-1]
    assert done.returncode == 1
    assert last.startswith("error: Numba, which compiles the loops of this package, cannot be")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("before", [WINDOWS, NO_NUMBA])
def test_classes_and_names_need_neither(before: str) -> None:
    assert run(before, "import imagenets, imagenets.classes, imagenets.tiers").returncode == 0
