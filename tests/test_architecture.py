"""The shape of the package: who imports whom, and what a first call costs."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import imagenets

PACKAGE = Path(imagenets.__file__).parent

# what a room may import, itself aside
ALLOWED = {
    "errors": set(),
    "interrupts": set(),
    "tiers": {"errors"},
    "compiled": set(),
    "unfilter": {"compiled"},
    "png": {"unfilter"},
    "masks": {"errors", "tiers", "png"},
    "data": {"compiled", "interrupts", "png", "unfilter", "masks", "tiers", "errors"},
    "evaluation": {"compiled", "interrupts", "masks", "tiers", "errors"},
    "baseline": {"data", "evaluation", "masks", "tiers", "errors"},
    "report": {"data", "evaluation", "masks", "tiers", "errors"},
    "cli": {"report", "baseline", "data", "evaluation", "masks", "tiers", "errors"},
}
# which of ours a file or folder that stands alone may import, errors and itself aside
ALONE = {
    "data/download.py": set(),
    "data/ragged.py": set(),
    "data/lanes.py": set(),
    "data/resample.py": {"compiled", "data.lanes"},
    "data/augment": {"compiled", "data.lanes", "data.ragged", "data.resample"},
}
STAGES = {"pretrain", "attention", "cluster", "pseudo", "finetune", "predict"}


def imported(path: Path) -> set[str]:
    """Every module of ours that a file imports, wherever in the file."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{path}: relative import"
            folder = PACKAGE.parent.joinpath(*node.module.split("."))
            modules = [f"{node.module}.{alias.name}" for alias in node.names]
            known = [m for m in modules if folder.joinpath(f"{m.split('.')[-1]}.py").is_file()]
            found.update(known or [node.module])
        elif isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
    return {name for name in found if name.startswith("imagenets.")}


def files() -> list[Path]:
    return [path for path in sorted(PACKAGE.rglob("*.py")) if path.parent != PACKAGE]


@pytest.mark.parametrize("path", files(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_downwards(path: Path) -> None:
    room = path.relative_to(PACKAGE).parts[0]
    rooms = {name.split(".")[1] for name in imported(path)} - {room}
    assert rooms <= ALLOWED[room]
    own = path.relative_to(PACKAGE)
    for name in {str(own), str(own.parent)} & set(ALONE):
        allowed = ("errors", name.replace("/", "."), *ALONE[name])
        prefixes = tuple(f"imagenets.{module}" for module in allowed)
        assert all(module.startswith(prefixes) for module in imported(path))


def test_top_modules_import_downwards() -> None:
    for name in ("errors", "interrupts", "tiers", "compiled", "unfilter", "png", "masks", "report"):
        rooms = {module.split(".")[1] for module in imported(PACKAGE / f"{name}.py")}
        assert rooms - {name} <= ALLOWED[name]


@pytest.mark.parametrize("stage", sorted(STAGES))
def test_stages_do_not_import_each_other(stage: str) -> None:
    used = {name.split(".")[-1] for name in imported(PACKAGE / "baseline" / f"{stage}.py")}
    assert not used & (STAGES - {stage})


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
