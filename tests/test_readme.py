"""Every command of the README is run, in its order, in one folder; its Python: test_docs.py."""

from __future__ import annotations

import re
import shlex
import tomllib
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from tiny import tiny

from imagenets import ImageNetS, masks
from imagenets.data.raw import synthetic

TOP = Path(__file__).parents[1]

STAND_INS = {"--split 50": "--split 3", "/data/imagenet": "raw"}
"""What stands for real data in the README, and what this test has in its place."""

SHORT = {
    "imagenets-prepare": "--index index --annotations {archive} --workers 1",
    "imagenets-baseline train": "--preset sample --epochs 0 --batch-size 4 --workers 1",
    "imagenets-baseline score": "--workers 1",
    "imagenets-baseline submit": "--workers 1",
}
"""Options that make them take seconds, and read lists and masks that lie here."""


def lines(page: str = "README.md") -> list[str]:
    """The commands of a page, without their comments."""
    text = (TOP / page).read_text("utf-8")
    blocks = re.findall(r"^```sh\n(.*?)^```", text, re.M | re.S)
    spans = re.findall(r"`(imagenets [a-z]+ --[^`]*)`", text)
    every = "".join(blocks).splitlines() + spans
    return [line for text in every if (line := shlex.join(shlex.split(text, comments=True)))]


def folder(path: Path) -> str:
    """Lays out what the README takes to be there; returns the name of the mask archive."""
    world = tiny(val=4)
    world.folders(path / "raw")
    world.tars(path / "tars")
    (path / "tars" / "ILSVRC2012_img_val.tar").rename(path / "ILSVRC2012_img_val.tar")
    world.index(path / "index")
    return world.archive(path).name


def given(root: Path) -> None:
    """What a user has made: heat maps of the validation images of two methods, and masks."""
    data = ImageNetS(root, "validation", 3)
    rng = np.random.default_rng(0)
    for row, name in enumerate(data.names):
        for made in ("gradients", "gradcam", "my-masks"):
            (Path(made) / name).parent.mkdir(parents=True, exist_ok=True)
        for method in ("gradients", "gradcam"):
            np.save(Path(method) / f"{name}.npy", rng.random((224, 224), np.float32))
        truth = data.mask(row)
        masks.save(Path("my-masks") / f"{name}.png", np.where(truth == 1000, 0, truth))


def run(line: str, archive: str) -> int:
    for shown, ours in STAND_INS.items():
        line = line.replace(shown, ours)
    for start, more in SHORT.items():
        if line.startswith(start) and "--verify" not in line:
            line += " " + more.format(archive=archive)
    program, *words = shlex.split(line)
    module = {"imagenets": "main"}.get(program, program.removeprefix("imagenets-"))
    code: int = import_module(f"imagenets.cli.{module}").main(words)
    return code


@pytest.mark.slow
def test_every_command_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    archive = folder(tmp_path)
    ours = [line for line in lines() if line.startswith("imagenets")]
    assert len(ours) >= 10
    for line in ours:
        if "my-masks" in line:
            given(Path("imagenet-s"))
        assert run(line, archive) == 0, line
    assert (tmp_path / "imagenet-s" / "runs" / "3" / "report.html").is_file()
    assert (tmp_path / "look" / "index.html").is_file()


@pytest.mark.slow
def test_the_first_five_minutes_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every command of docs/start.md, over a smaller sample; its Python: test_docs.py."""
    for name, count in {"TRAIN": 6, "SEMI": 2, "VALIDATION": 2, "TEST": 1}.items():
        monkeypatch.setattr(synthetic, name, count)
    monkeypatch.chdir(tmp_path)
    ours = [line for line in lines("docs/start.md") if line.startswith("imagenets")]
    assert [line.split()[1] for line in ours] == ["sample", "info", "train", "score", "report"]
    for line in ours:
        more = {"info": "", "train": " --workers 1 --batch-size 8"}
        assert run(line + more.get(line.split()[1], " --workers 1"), "") == 0, line
    assert (tmp_path / "sample" / "runs" / "6" / "report.html").is_file()


def test_every_other_command_is_one_that_there_is() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (TOP / "Makefile").read_text("utf-8"), re.M))
    extras = tomllib.loads((TOP / "pyproject.toml").read_text("utf-8"))["project"]
    others = [line.split() for line in lines() if not line.startswith("imagenets")]
    assert {"demo", "test"} <= {words[1] for words in others if words[0] == "make"}
    for program, *words in others:
        if program == "make":
            assert set(words) <= targets
        else:
            assert (program, words[0]) == ("pip", "install")
            assert words[1].partition("[")[0] == "imagenets"
            named = re.findall(r"\[(.*)\]", words[1])
            assert set(named) <= set(extras["optional-dependencies"])
