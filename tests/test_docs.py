"""What the documents show works: Python is run, commands are asked for their options."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import photographs
import pyarrow
import pyarrow.parquet
import pytest
import simplejpeg
import torch
from made_run import make_run
from PIL import Image
from sybil import Example, Sybil
from sybil.document import PythonDocStringDocument
from sybil.evaluators.python import pad
from sybil.parsers.markdown import CodeBlockParser
from sybil.parsers.rest import DocTestParser
from tiny import CLASSES, tiny
from torch import nn

import imagenets
from imagenets import ImageNetS, Loader, masks
from imagenets.cli import baseline
from imagenets.cli.main import VERBS, load
from imagenets.core.files import write_json
from imagenets.evaluation.localization import MEASURES
from imagenets.methods.pass_.label_files import STAGE, THRESHOLD, label_path
from imagenets.methods.pass_.label_format import Label, write_labels

TOP = Path(__file__).parents[1]
PACKAGE = Path(imagenets.__file__).parent
QUESTIONS = TOP / "docs" / "questions.md"
PAGES = [*sorted(TOP.glob("*.md")), *sorted((TOP / "docs").glob("*.md"))]

# what stands for a real set in the documents, and what the tests have in its place
STAND_INS = {
    ", classes=50": ", classes=3",
    '"sample", "validation", classes=6': '"imagenet-s", "validation", classes=3',
    'Path("imagenet-s"), "50"': 'Path("imagenet-s"), "3"',
    "tier=50": "tier=3",
    "split=50, backbone": 'split=3, epochs=1, batch_size=8, device="cpu", workers=0, backbone',
    ", classes=919": ", classes=3",
    "imagenet-s/downloads/ImageNetS50-": "downloads/ImageNetS50-",
    '"n01443537"': '"n90000001"',
    "n01440764_10026": "n90000001_5",
    "ILSVRC2012_val_00000293": min(tiny(8, val=4).val),
    '"cuda"': '"cpu"',
    'make_config("pass50", Changes())': 'make_config("sample", Changes({"finetune": 1}, batch=8))',
}


OTHERS = (
    "torchvision",
    "quantus",
    "captum",
    "torchcam",
    "timm",
    "datasets",
    "webdataset",
    "lightning",
    "torchmetrics",
)
"""Libraries of examples that `make test-extras` runs."""


def examples(page: Path, language: str, evaluator: Callable[[Example], None]) -> list[Example]:
    """The code blocks of a page in one language; what one defines, the next ones know."""
    return list(Sybil([CodeBlockParser(language, evaluator)]).parse(page).examples())


def python(example: Example) -> None:
    source = str(example.parsed)
    for shown, ours in STAND_INS.items():
        source = source.replace(shown, ours)
    others = re.findall(rf"^(?:from|import) ({'|'.join(OTHERS)})\b", source, re.M)
    if any(find_spec(name) is None for name in others):
        return  # `make test-extras` runs it
    line = example.line + example.parsed.line_offset
    exec(compile(pad(source, line), example.path, "exec"), example.namespace)


def fill(folder: Path, root: Path) -> None:
    """Writes the files that the documents speak of."""
    world = tiny(8, val=4)
    (folder / "imagenet-s").symlink_to(root)
    world.folders(folder / "raw")
    (folder / "raw" / "train").rename(folder / "train")
    world.tars(folder / "tars")
    (folder / "tars" / "ILSVRC2012_img_val.tar").rename(folder / "ILSVRC2012_img_val.tar")
    (folder / "val").symlink_to(folder / "raw" / "val")
    world.archive(folder / "downloads", "ImageNetS50-a0fe9d82231f9bc4787ee76e304dfa51.zip")
    masks = {Path(name).stem: data for name, data in world.members.items() if "ILSVRC2012" in name}
    rows: list[dict[str, Any]] = [
        {"image": {"bytes": world.val[stem]}, "mask": {"bytes": mask}, "filename": f"{stem}.JPEG"}
        for stem, mask in masks.items()
    ]
    (folder / "imagenet-s-mirror").mkdir()
    table = pyarrow.Table.from_pylist(rows)
    pyarrow.parquet.write_table(table, folder / "imagenet-s-mirror" / "validation.parquet")
    labels(folder / "runs" / "50", ImageNetS(root, "train", 3))
    (folder / "photo.jpg").write_bytes(photographs.plain()["4:2:0 163x122"])


def labels(run: Path, data: ImageNetS) -> None:
    """Writes pseudo labels of a run: the number of the image, in its upper half."""
    grid, level = np.ones((2, 2), np.uint16), np.array([[0.9, 0.9], [0.1, 0.1]], np.float32)
    found = [
        Label(row, name, (width, height), grid * (1 + row % 3), level)
        for row, (name, (width, height)) in enumerate(
            zip(data.names, data.sizes.tolist(), strict=True)
        )
    ]
    (run / STAGE).mkdir(parents=True)
    write_labels(label_path(run / STAGE, "train", 0), found, {})
    write_json(run / STAGE / THRESHOLD, {"best": 0.5})


def questions(folder: Path, root: Path, finished: Path) -> None:
    """Writes what people ask about: their masks, their photographs, a run of theirs."""
    for split, to in (("validation", "my-masks"), ("test", "test-masks")):
        data = ImageNetS(root, split, 3)
        for name, (width, height) in zip(data.names, data.sizes.tolist(), strict=True):
            path = folder / to / f"{name}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            masks.save(path, np.ones((height, width), np.uint16))
    (folder / "masks-before").symlink_to(folder / "my-masks")
    data = ImageNetS(root, "validation", 3)
    for row, name in enumerate(data.names):
        path = folder / "masks-after" / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        ids = data.mask(row)
        masks.save(path, np.where(ids == masks.IGNORED, 0, ids))
    shutil.copytree(finished, folder / "my-run")
    (folder / "photos").mkdir()
    (folder / "photos" / "beach.jpg").write_bytes(photographs.plain()["4:2:0 163x122"])


def check(page: str, names: dict[str, Any]) -> None:
    """What the examples of a page must have led to, beyond running."""
    if page == "README.md":
        assert Path("first.png").is_file()
        assert names["labels"].shape == (*names["images"].shape[:1], 224, 224)
    elif page == "start.md":
        assert names["batch"].crops.shape == (4, 3, 96, 96)
    elif page == "augment.md":
        assert names["large"].shape == (2, 4, 3, 224, 224)
        assert names["labels"].shape == (2, 4, 224, 224)
        assert names["stored"][0].boxes.equal(names["params"][0].boxes)
    elif page == "format.md":
        assert Path("mine.h5").is_file()
    elif page == "jpeg.md":
        whole = simplejpeg.decode_jpeg(
            Path("photo.jpg").read_bytes(), fastdct=True, fastupsample=True
        )
        assert np.array_equal(names["pixels"], whole[30:110, 40:130])
    elif page == "explain.md":
        assert list(names["mirror"].names) == list(names["data"].names)
        assert names["mirror"][3]["mask"].equal(names["data"][3]["mask"])
        assert names["metrics"].images == len(names["data"])
        assert names["metrics"].mean.keys() == MEASURES.keys()
    elif page == "baseline.md":
        assert names["mask"].shape == names["images"][0]["image"].shape[1:]
        assert set(names["mask"].unique().tolist()) == {0, 1}
    elif page == "backbones.md":
        assert Path("distance/mine/scores.json").is_file()
        assert Path("runs/mine/scores.json").is_file()
        assert names["backbone"].strides == (16,)
        assert (find_spec("timm") is None) or Path("distance/vit/scores.json").is_file()
    elif page == "protocols.md":
        assert names["evaluator"].images == 12
        assert 0 < names["metrics"]["mIoU"] < 100
        assert names["loss"].item() < np.log(4)  # of ids drawn alike
        assert names["probed"].metrics["knn_mIoU"] > 0
    elif page == "exports.md":
        assert names["done"].samples == len(names["data"])
        assert len(list(Path("few16").rglob("*.png"))) == 6
        stems = [path.stem for path in names["targets"]]
        assert stems == [path.stem for path in names["images"]]
        assert len(stems) == len(names["data"])
    elif page == "integrations.md" and find_spec("lightning"):
        assert names["trainer"].global_step == 1
        assert 0 <= names["scored"] < 100
        assert names["values"]["IoUs"][:3].round().tolist() == [100, 100, 0]
    elif page == "notebooks.md":
        assert 0 < names["miou"] < 100
        assert {row["protocol"] for row in names["ways"]} >= {"optimistic", "cross-fit match"}
    elif page == "raw-forms.md":
        assert names["positions"] >= 0
    elif page == "faq.md":
        names["main"]()  # below the guard nothing was run


def run_page(
    page: Path, tiny_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, **names: Any
) -> dict[str, Any]:
    """Runs the examples of a page one after the other, with names of its own; what they define."""
    fill(tmp_path, tiny_root)
    monkeypatch.chdir(tmp_path)
    shards = str(tiny_root / "ImageNetS3.shards")
    monkeypatch.setattr(sys, "argv", ["reader.py", shards, "validation"])
    document = examples(page, "python", python)
    ids = torch.randint(0, 51, (2, 8, 9))
    layers = [nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    model = nn.Sequential(*layers, nn.Linear(4, 1000)).eval()
    torch.manual_seed(0)
    given: dict[str, Any] = {
        "batch": next(iter(Loader(ImageNetS(tiny_root, "validation", 3), 4))),
        "batches": [(ids.numpy(), ids.numpy()), (ids, ids)],
        "jpeg": b"some bytes",
        "method": lambda images, labels: images[:, 1].float(),
        "model": model,
        "layer": model[0],
    }
    document[0].namespace.update(given | names)
    for example in document:
        example.evaluate()
    return document[0].namespace


@pytest.mark.parametrize(
    "page",
    [page for page in PAGES if page != QUESTIONS and examples(page, "python", python)],
    ids=lambda page: page.name,
)
def test_the_examples_run(
    page: Path, tiny_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if page.name == "notebooks.md":
        make_run(tiny_root, tmp_path / "run")
    check(page.name, run_page(page, tiny_root, tmp_path, monkeypatch))


@pytest.mark.slow
def test_ten_questions_are_answered_in_ten_lines_each(
    tiny_root: Path,
    finished: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    questions(tmp_path, tiny_root, finished)
    names = run_page(
        *(QUESTIONS, tiny_root, tmp_path, monkeypatch),
        method=lambda images, labels: -torch.arange(224.0).expand(len(images), 224, 224),
        model=lambda images: torch.eye(1, 1000),  # everything has the label 0
    )
    told = capsys.readouterr().out.splitlines()
    metrics, scores, ids = names["metrics"].mean, names["scores"], sorted(names["ids"])
    ours = names["matching"].score(), imagenets.score("imagenet-s", out="runs/mine")
    reached = [str(one.metrics["mIoU"]) for one in ours]
    assert 0 < metrics["pointing_game"] < 100
    wanted = [
        rf"{metrics['pointing_game']:.2f} \(\S+ to \S+\)",
        re.escape(f"{dict.fromkeys(('own', 'swapped'), 33.3)} {names['swapped'].save('a.txt')}"),
        re.escape(" ".join(reached)),
        *map(re.escape, str(scores).splitlines()),
        rf"{scores.metrics['mIoU']:.2f} \(\S+ to \S+\)",
        rf"{scores.metrics['mIoU']:.2f} -> 100\.00: \+98\.88 \(\+\S+ to \+\S+\), p 0\.0010",
        re.escape("torch.Size([2, 4, 3, 224, 224]) torch.Size([6, 4, 3, 96, 96])"),
        re.escape(f"6 {names['loss'].item()}"),
        *(rf"{wnid}/\S+ is filed under {wnid} and labelled n90000009" for wnid in CLASSES),
        f"3 3 {names['apart'].save_list('b.txt')}",
        re.escape("submission.zip 6 [] []"),
        re.escape(f"beach.png {[names['names'][str(one)] for one in ids]}"),
    ]
    for line, pattern in zip(told, wanted, strict=True):
        assert re.fullmatch(pattern, line)
    lengths = [len(str(one.parsed).splitlines()) for one in examples(QUESTIONS, "python", python)]
    assert len(lengths) == 10
    assert max(lengths) <= 12


@pytest.mark.extras
@pytest.mark.filterwarnings("ignore")  # the libraries' own
@pytest.mark.parametrize(
    ("page", "others"),
    [
        ("explain.md", ("quantus", "captum", "torchcam")),
        ("backbones.md", ("timm",)),
        ("exports.md", ("datasets", "webdataset")),
        ("integrations.md", ("lightning", "torchmetrics")),
    ],
)
def test_the_examples_with_other_libraries_run(
    page: str,
    others: tuple[str, ...],
    tiny_root: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    for name in others:
        assert find_spec(name), f"{name} is missing: pip install 'imagenets[extras]'"
    test_the_examples_run(TOP / "docs" / page, tiny_root, tmp_path, monkeypatch)


def test_the_standalone_reader_reads(tiny_root: Path, tmp_path: Path) -> None:
    page = examples(TOP / "docs" / "format.md", "python", python)
    (script,) = (str(example.parsed) for example in page if "sys.argv" in example.parsed)
    assert len(script.splitlines()) <= 40
    assert set(re.findall(r"^(?:import|from) (\w+)", script, re.MULTILINE)) <= {
        *("h5py", "PIL", "sys", "json", "io", "zlib", "pathlib")
    }
    (tmp_path / "reader.py").write_text(script)
    words = [tmp_path / "reader.py", tiny_root / "ImageNetS3.shards", "validation"]
    command = [sys.executable, "-W", "error", *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    data = ImageNetS(tiny_root, "validation", 3)
    lines = []
    for number, (width, height) in enumerate(data.sizes.tolist()):
        sample = data[number]
        ids = sample["mask"].unique().tolist()
        about = f"class {sample['class_id']} ilsvrc {sample['ilsvrc']}"
        lines.append(f"{sample['name']} {about} ({width}, {height}) ids {ids}")
    assert done.stdout.splitlines() == lines


@pytest.mark.parametrize(
    "module",
    [path for path in sorted(PACKAGE.rglob("*.py")) if ">>> " in path.read_text("utf-8")],
    ids=lambda path: path.stem,
)
def test_the_examples_in_docstrings_run(module: Path) -> None:
    sybil = Sybil([DocTestParser()], document_types={".py": PythonDocStringDocument})
    document = list(sybil.parse(module).examples())
    name = ".".join(("imagenets", *module.relative_to(PACKAGE).with_suffix("").parts))
    document[0].namespace.update(vars(import_module(name)))
    for example in document:
        example.evaluate()


def commands(page: Path) -> set[str]:
    """Every call of one of the commands in shell blocks and in inline code."""
    blocks = [str(e.parsed) for e in examples(page, r"sh|console", lambda example: None)]
    blocks += re.findall(r"(?<!`)`(imagenets[ -][^`]+)`(?!`)", page.read_text("utf-8"))
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    calls = {line.strip().removeprefix("$ ") for line in lines}
    calls |= {f"imagenets {found}" for call in calls for found in call.split(" -m imagenets ")[1:]}
    names = ("imagenets ", "imagenets-prepare ", "imagenets-baseline ", "imagenets-evaluate ")
    return {call for call in calls if call.startswith(names)}


def help_of(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    door = "main" if words[0] == "imagenets" else words[0].removeprefix("imagenets-")
    module = import_module(f"imagenets.cli.{door}")
    subcommand = [word for word in words[1:2] if word in VERBS]
    with pytest.raises(SystemExit):
        module.main([*subcommand, "--help"])
    return capsys.readouterr().out


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_have_the_options_that_are_shown(
    page: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for command in sorted(commands(page)):
        words = shlex.split(command, comments=True)
        text = help_of(words, capsys)
        for word in words:
            if word.startswith("--"):
                option = re.escape(word.split("=")[0])
                assert re.search(rf"{option}(?![\w-])", text), f"{page.name}: {command}: no {word}"


@pytest.mark.parametrize("name", VERBS)
def test_the_examples_of_a_verb_parse(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("imagenets.cli.main.execute", lambda arguments: 0)
    main = import_module("imagenets.cli.main")
    assert len(main.load(name).examples) >= 2
    for words, _ in main.load(name).examples:
        assert main.main([name, *shlex.split(words)]) == 0


def test_the_page_of_commands_has_every_verb_with_its_summary() -> None:
    text = (TOP / "docs" / "commands.md").read_text("utf-8")
    rows = dict(re.findall(r"^\| `([a-z-]+)` \| (.+) \| \[", text, re.M))
    assert rows == {name: load(name).summary for name in VERBS}
    doors = dict(re.findall(r"^\| `imagenets-([a-z]+)` \| (.+) \|$", text, re.M))
    assert re.findall(r"`([a-z-]+)`", doors["baseline"]) == list(baseline.VERBS)


def test_the_index_names_every_page() -> None:
    index = TOP / "docs" / "README.md"
    listed = re.findall(r"^\| \[([\w-]+\.md)\]\(\1\) \| \S", index.read_text("utf-8"), re.M)
    pages = {page.name for page in index.parent.glob("*.md")} - {"README.md"}
    assert sorted(listed) == sorted(pages)


def test_the_citation_is_of_this_version() -> None:
    found = re.search(r"^version: (\S+)$", (TOP / "CITATION.cff").read_text("utf-8"), re.M)
    assert found is not None
    assert found[1] == imagenets.__version__


def test_the_messages_that_are_quoted_are_ours() -> None:
    spans = re.findall(r"(?<!`)`([^`]+)`(?!`)", (TOP / "docs" / "faq.md").read_text("utf-8"))
    quotes = [" ".join(span.split()) for span in spans if len(span.split()) > 3]
    quotes = [quote for quote in quotes if " --" not in quote]  # else a command
    assert len(quotes) >= 10
    source = "\n".join(path.read_text("utf-8") for path in sorted(PACKAGE.rglob("*.py")))
    source = re.sub(r"[\"']\s*\n\s*f?[\"']", "", source)  # texts over several lines
    parts = [part.strip() for quote in quotes for part in quote.split("...")]
    assert [part for part in parts if part not in source] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)", page.read_text("utf-8")):
        if "://" not in target:
            installed = Path(imagenets.__file__).parents[1] / target  # a file of the package
            assert (page.parent / target).exists() or installed.exists(), f"{page.name}: {target}"


@pytest.mark.parametrize("page", [TOP / "CONTRIBUTING.md", TOP / "docs" / "architecture.md"])
def test_the_files_that_are_named_are_there(page: Path) -> None:
    named = re.findall(r"`([\w./-]+(?:/|\.(?:py|md|toml|txt)))`", page.read_text("utf-8"))
    assert len(named) > 10
    tops = {TOP, PACKAGE, PACKAGE.parent}
    missing = [name for name in named if not any((top / name).exists() for top in tops)]
    assert missing == [], page.name


@pytest.mark.slow
def test_the_figure_of_augmentation_is_made(tmp_path: Path) -> None:
    made = tmp_path / "augment.jpg"
    subprocess.run([sys.executable, TOP / "docs" / "augment_views.py", made], check=True)
    with Image.open(made) as ours, Image.open(TOP / "docs" / "augment.jpg") as shown:
        assert ours.size == shown.size
