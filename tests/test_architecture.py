"""The shape of the package: what is imported by its name in a string, and what a first call costs.

`lint-imports` holds the rules for import statements (pyproject.toml, `tool.importlinter`).
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

import imagenets
from imagenets.methods.pass_ import STAGES

PACKAGE = Path(imagenets.__file__).parent
TOP = Path(__file__).parents[1]
LAZY = re.compile(r"imagenets(\.\w+)+(:\w+)?")  # "imagenets.room.module:name"
FILES = {"imagenets.lock"}  # names of files that look like it


def lazy_strings() -> list[tuple[str, str]]:
    """Pairs of a module and what it names in a string to import later."""
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        module = ".".join(("imagenets", *path.relative_to(PACKAGE).with_suffix("").parts))
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            text = node.value if isinstance(node, ast.Constant) else None
            if isinstance(text, str) and LAZY.fullmatch(text) and text not in FILES:
                found.append((module.removesuffix(".__init__"), text))
    return found


def contracts(kind: str) -> list[dict[str, Any]]:
    """The contracts of a kind."""
    settings = tomllib.loads((TOP / "pyproject.toml").read_text("utf-8"))
    held: list[dict[str, Any]] = settings["tool"]["importlinter"]["contracts"]
    return [contract for contract in held if contract["type"] == kind]


def layers() -> Iterator[tuple[str, dict[str, int]]]:
    """The containers of the contracts and how high each of their rooms stands."""
    for contract in contracts("layers"):
        heights = {}
        for height, line in enumerate(reversed(contract["layers"])):
            heights |= dict.fromkeys(re.findall(r"\w+", line), height)
        yield contract["containers"][0], heights


@pytest.mark.parametrize("name", sorted({name for _, name in lazy_strings()}))
def test_every_lazy_string_leads_to_something(name: str) -> None:
    module, _, attribute = name.partition(":")
    try:
        loaded = import_module(module)
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("imagenets"):
            raise
        pytest.skip(f"{name} needs the optional {error.name}")
    if attribute:
        assert hasattr(loaded, attribute)


def test_lazy_strings_lead_downwards() -> None:
    for container, heights in layers():
        for module, name in lazy_strings():
            rooms = []
            for place in (module, name.partition(":")[0]):
                if place.startswith(f"{container}."):
                    rooms.append(place.removeprefix(f"{container}.").split(".")[0])
            if len(rooms) == 2 and rooms[0] != rooms[1]:
                assert heights[rooms[0]] > heights[rooms[1]], f"{module} names {name}"


def test_the_contract_knows_every_stage() -> None:
    (contract,) = contracts("independence")
    assert {name.partition(":")[0] for name in STAGES.values()} <= set(contract["modules"])


@pytest.mark.parametrize("command", ["main", "prepare", "baseline", "evaluate"])
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
