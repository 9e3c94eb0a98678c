"""What the documents show works: Python is run, commands are asked for their options."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from imagenets import ImageNetS, Loader

TOP = Path(__file__).parents[1]
PAGES = [TOP / "README.md", *sorted((TOP / "docs").glob("*.md"))]
SUBCOMMANDS = {"train", "score", "report", "compare", "submit"}

# what stands for a real set in the README, and what the tests have in its place
STAND_INS = {"classes=50": 'classes="3"', "n01443537": "n90000001"}


def commands(text: str) -> set[str]:
    """Every call of one of the commands in shell blocks and in inline code."""
    found = set()
    blocks = re.findall(r"```(?:sh|console)?\n(.*?)```", text, re.DOTALL)
    blocks += re.findall(r"(?<!`)`(imagenets-[^`]+)`(?!`)", text)
    for line in "\n".join(blocks).replace("\\\n", " ").splitlines():
        line = line.strip().removeprefix("$ ")
        if line.startswith(("imagenets-prepare ", "imagenets-baseline ", "imagenets-evaluate ")):
            found.add(line)
    return found


def help_of(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    module = import_module("imagenets.cli." + words[0].removeprefix("imagenets-"))
    subcommand = [word for word in words[1:2] if word in SUBCOMMANDS]
    with pytest.raises(SystemExit):
        module.main([*subcommand, "--help"])
    return capsys.readouterr().out


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_have_the_options_that_are_shown(
    page: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for command in sorted(commands(page.read_text("utf-8"))):
        words = shlex.split(command, comments=True)
        text = help_of(words, capsys)
        for word in words:
            if word.startswith("--"):
                option = re.escape(word.split("=")[0])
                assert re.search(rf"{option}\b", text), f"{page.name}: {command}: no {word}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)", page.read_text("utf-8")):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_the_readme_loads(tiny_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = "\n".join(re.findall(r"```python\n(.*?)```", (TOP / "README.md").read_text(), re.DOTALL))
    for shown, ours in STAND_INS.items():
        assert shown in code
        code = code.replace(shown, ours)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "imagenet-s").symlink_to(tiny_root)
    names: dict[str, object] = {}
    exec(compile(code, "README.md", "exec"), names)
    assert (tmp_path / "first.png").is_file()
    assert len(names["fish"]) == 4  # type: ignore[arg-type]  # a data set, but typed as an object


def test_the_examples_of_augmentation_run(
    tiny_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = (TOP / "docs" / "augment.md").read_text("utf-8").replace('"cuda"', '"cpu"')
    monkeypatch.chdir(tmp_path)
    batch = next(iter(Loader(ImageNetS(tiny_root, "validation", 3), 4)))
    names: dict[str, Any] = {"batch": batch}
    for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL):
        exec(compile(block, "augment.md", "exec"), names)
    assert names["large"].shape == (2, 4, 3, 224, 224)
    assert names["labels"].shape == (2, 4, 224, 224)
    assert names["stored"][0].boxes.equal(names["params"][0].boxes)


@pytest.mark.slow
def test_the_figure_of_augmentation_is_made(tmp_path: Path) -> None:
    made = tmp_path / "augment.jpg"
    subprocess.run([sys.executable, TOP / "docs" / "augment_views.py", made], check=True)
    with Image.open(made) as ours, Image.open(TOP / "docs" / "augment.jpg") as shown:
        assert ours.size == shown.size
