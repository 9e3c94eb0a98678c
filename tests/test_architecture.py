"""The shape of the package: who imports whom, and what a first call costs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import imagenets

PACKAGE = Path(imagenets.__file__).parent


@pytest.mark.parametrize("command", ["prepare", "baseline", "evaluate"])
def test_nothing_heavy_is_imported_before_it_is_used(command: str) -> None:
    heavy = "{'torch', 'h5py', 'scipy', 'joblib', 'pyarrow', 'dask', 'numba'}"
    code = (
        f"import sys, atexit, imagenets, imagenets.cli.{command} as command\n"
        f"atexit.register(lambda: print(sorted({heavy} & set(sys.modules)), file=sys.stderr))\n"
        "command.main(['--help'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("usage")
    assert done.stderr.strip() == "[]"


def test_every_public_name_is_there() -> None:
    for name in imagenets.__all__:
        assert getattr(imagenets, name) is not None
    assert set(dir(imagenets)) == set(imagenets.__all__)
    with pytest.raises(AttributeError):
        imagenets.nothing  # noqa: B018  # the look-up is what is tested


def test_the_three_commands_answer_under_one_name() -> None:
    for words, code in ((["prepare", "--help"], 0), (["paint"], 2), ([], 2)):
        done = subprocess.run(
            [sys.executable, "-m", "imagenets", *words], capture_output=True, text=True, check=False
        )
        assert done.returncode == code
        assert "usage" in done.stdout + done.stderr
