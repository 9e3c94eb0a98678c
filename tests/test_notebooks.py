"""The notebooks run from top to bottom, and are notebooks to Jupyter."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import jupytext
import nbformat
import pytest
from PIL import Image

from imagenets.api.sample import prepare_sample
from imagenets.data.raw import synthetic

FOLDER = Path(__file__).parents[1] / "docs" / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.py"))

SHOWN = 'epochs={"pretrain": 4, "attention": 2, "finetune": 2}'
OURS = """epochs=1, batch_size=16, workers=0, device="cpu", set={
    "side": 64, "crop": 48, "views.0.size": 48, "attention_views.0.size": 48, "restarts": 2
}"""
"""What is trained in seconds, in the place of minutes."""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sample in `try`, of a tenth of its images: the notebooks find it there."""
    folder = tmp_path_factory.mktemp("notebooks")
    with pytest.MonkeyPatch.context() as patch:
        sizes = {"TRAIN": 8, "SEMI": 2, "VALIDATION": 5, "TEST": 1}
        for name, count in sizes.items():
            patch.setattr(synthetic, name, count)
        prepare_sample(folder / "try", workers=1)
    return folder


def run(notebook: Path) -> tuple[dict[str, Any], list[Any]]:
    """Runs all cells in one namespace.

    Returns:
        The namespace, and what each cell shows: the value of its last line.
    """
    names: dict[str, Any] = {"__name__": "__main__"}
    shown = []
    for cell in jupytext.read(notebook).cells:
        if cell.cell_type != "code":
            continue
        body = ast.parse(cell.source.replace(SHOWN, OURS), str(notebook)).body
        last = body.pop() if isinstance(body[-1], ast.Expr) else None
        exec(compile(ast.Module(body, []), str(notebook), "exec"), names)
        if last is not None:
            assert isinstance(last, ast.Expr)
            shown.append(eval(compile(ast.Expression(last.value), str(notebook), "eval"), names))
    return names, shown


def pictures(shown: list[Any]) -> list[Image.Image]:
    found = [value for value in shown if isinstance(value, Image.Image)]
    assert all(picture.getextrema() != ((0, 0),) * 3 for picture in found)
    return found


@pytest.mark.slow
def test_prepare_and_look_runs(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)
    names, shown = run(FOLDER / "prepare_and_look.py")
    assert shown[0]["validation"] == {"images": 30, "masks": 30, "missing": 0}
    assert len(names["data"]) == 30
    assert len(names["few"]) == 6
    assert 0 < len(names["apart"]) < 10
    assert names["one"]["present"]
    assert names["batch"].crop_masks.shape == (6, 128, 128)
    sizes = [picture.size for picture in pictures(shown)]
    assert sizes[1:] == [(6 * 128, 128), (3 * 128, 128), (3 * 128, 128), *[(6 * 128, 128)] * 2]


@pytest.mark.slow
def test_tiny_baseline_runs(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(place)
    names, shown = run(FOLDER / "tiny_baseline.py")
    assert names["run"].left == ()
    assert SHOWN in (FOLDER / "tiny_baseline.py").read_text("utf-8")
    assert 0 < names["found"].metrics["mIoU"] < 100
    ways = {(way["masks"], way["protocol"]) for way in names["found"].document["results"]}
    told = capsys.readouterr().out
    text = (FOLDER / "tiny_baseline.py").read_text("utf-8")
    for masks, protocol in ways:
        assert f"{masks:7}{protocol:16}" in told
        assert protocol.removesuffix(" match") in text
    assert names["worst"].iou <= names["best"].iou
    data = names["data"]
    widths = [
        width
        for width, _ in (data.sizes[0], data.sizes[list(data.names).index(names["best"].name)])
    ]
    assert [picture.width for picture in pictures(shown)] == [3 * width for width in widths]
    assert names["page"].is_file()
    assert names["page"].resolve().as_uri() in told


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_jupyter_takes_it_for_a_notebook(notebook: Path, tmp_path: Path) -> None:
    """What text and code there is stays, written as .ipynb and read again."""
    made = jupytext.read(notebook)
    jupytext.write(made, tmp_path / "made.ipynb")
    read = nbformat.read(tmp_path / "made.ipynb", as_version=4)
    nbformat.validate(read)
    kinds = [cell.cell_type for cell in read.cells]
    assert set(kinds) == {"markdown", "code"}
    assert kinds[0] == kinds[-1] == "markdown"
    assert kinds.count("code") >= 6
    assert [cell.source for cell in read.cells] == [cell.source for cell in made.cells]
    assert all(cell.source.strip() for cell in read.cells)


@pytest.mark.extras
@pytest.mark.filterwarnings("ignore")  # the libraries' own
@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_jupyter_runs_it(notebook: Path, place: Path) -> None:
    """In a kernel of its own, where the last line of a cell is shown, pictures as pictures."""
    from nbclient import NotebookClient

    made = jupytext.read(notebook)
    for cell in made.cells:
        cell.source = cell.source.replace(SHOWN, OURS)
    done = NotebookClient(made, timeout=600, resources={"metadata": {"path": str(place)}}).execute()
    outputs = [output for cell in done.cells for output in cell.get("outputs", ())]
    shown = [output.data for output in outputs if "data" in output]
    assert sum("image/png" in data for data in shown) >= 2
