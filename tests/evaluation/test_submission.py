"""Submissions: what is built is valid, and every fault of an archive is named."""

from __future__ import annotations

import io
import json
import zipfile

import numpy as np
import pytest
from PIL import Image

from imagenets import masks
from imagenets.cli.evaluate import main
from imagenets.data.shards import Manifest, ShardInfo, ShardSample, SplitInfo, write_shard
from imagenets.errors import MissingError
from imagenets.evaluation import submission
from imagenets.evaluation.score import score
from imagenets.evaluation.submission import FIELDS, Method, check
from imagenets.protocols import PROTOCOLS, RULES
from imagenets.tiers import list_paths

K = 3
NAMES = [f"n0000000{1 + i % K}/ILSVRC2012_val_0000000{i}" for i in range(5)]
SIZES = {name: (8 + i, 6) for i, name in enumerate(NAMES)}


def png(size, value=1):
    return masks.encode(np.full(size[::-1], value))


@pytest.fixture
def pred(tmp_path):
    for name, size in SIZES.items():
        path = tmp_path / "pred" / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png(size))
    return tmp_path / "pred"


@pytest.fixture
def root(tmp_path):
    """A prepared tree with the test images."""
    for name, size in SIZES.items():
        path = tmp_path / "root" / f"ImageNetS{K}" / "test" / f"{name}.JPEG"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", size).save(path)
    return tmp_path / "root"


@pytest.fixture
def match_file(tmp_path):
    path = tmp_path / "match.json"
    path.write_text(json.dumps({str(i): i for i in range(K + 1)}))
    return path


def call(capsys, *arguments):
    code = main(["submit", "--split", str(K), *map(str, arguments)])
    out = capsys.readouterr()
    return code, out.out, out.err


def build(capsys, pred, root, out, *more):
    named = ("--method-name", "Ours", "--networks", "ResNet-18\nand a head")
    return call(capsys, "--pred", pred, "--root", root, "--out", out, *named, *more)


def test_paths_may_be_text(pred, tmp_path):
    out = f"{tmp_path}/submission.zip"
    about = SIZES, K, PROTOCOLS["free"]
    assert submission.build(str(pred), *about, Method("Ours"), out, workers=1) == []
    assert submission.check(out, *about, workers=1) == []
    assert str(score(str(pred), str(pred), K, workers=1)).startswith("5 images, 3 classes\n\nmIoU")
    with pytest.raises(MissingError, match="nowhere: there is no such folder of masks"):
        score("nowhere", str(pred), K, workers=1)


def test_a_built_submission_is_valid(pred, root, match_file, tmp_path, capsys):
    out = tmp_path / "submission.zip"
    chosen = ("--protocol", "unsupervised", "--match", match_file)
    code, text, err = build(capsys, pred, root, out, *chosen)
    assert code == 0, err
    assert all(rule in text for rule in RULES)
    with zipfile.ZipFile(out) as archive:
        assert set(archive.namelist()) == {*(f"{n}.png" for n in NAMES), "method.txt", "match.json"}
        assert archive.read(f"{NAMES[2]}.png") == (pred / f"{NAMES[2]}.png").read_bytes()
        lines = archive.read("method.txt").decode().splitlines()
        assert json.loads(archive.read("match.json")) == json.loads(match_file.read_text())
    assert lines[0] == "Method name: Ours"
    assert lines[3] == "Networks: ResNet-18 and a head"
    assert [line.partition(":")[0] for line in lines] == list(FIELDS)
    first = out.read_bytes()
    build(capsys, pred, root, out, *chosen)
    assert out.read_bytes() == first
    code, text, _ = call(capsys, "--check", out, "--root", root, "--protocol", "unsupervised")
    assert code == 0
    assert "valid submission of 5 masks" in text


def test_nothing_is_left_of_a_bad_one(pred, root, tmp_path, capsys):
    out = tmp_path / "submission.zip"
    (pred / f"{NAMES[1]}.png").write_bytes(png((3, 3)))
    code, _, err = build(capsys, pred, root, out, "--protocol", "free")
    assert code == 1
    assert f"{NAMES[1]}.png is 3 x 3 pixels (W x H), not 9 x 6" in err
    (pred / f"{NAMES[1]}.png").unlink()
    code, _, err = build(capsys, pred, root, out, "--protocol", "free")
    assert code == 1
    assert f"missing: {NAMES[1]}.png" in err
    assert not list(tmp_path.glob("submission*"))


def test_extra_predictions_are_left_out_with_a_warning(pred, root, tmp_path, capsys):
    (pred / "n00000001" / "spare.png").write_bytes(png((2, 2)))
    out = tmp_path / "s.zip"
    code, _, err = build(capsys, pred, root, out, "--protocol", "semi")
    assert code == 0
    assert "warning: 1 masks such as n00000001/spare.png are of no image" in err
    assert "n00000001/spare.png" not in zipfile.ZipFile(out).namelist()


def test_masks_of_the_other_split_are_told(pred, root, tmp_path, capsys):
    """One likely has masks of validation, and the test images are the default."""
    tree = root / f"ImageNetS{K}"
    (tree / "test").rename(tree / "validation")
    other = tree / "test" / "n00000001" / "ILSVRC2012_val_00000099.JPEG"
    other.parent.mkdir(parents=True)
    Image.new("RGB", (8, 6)).save(other)
    code, _, err = build(capsys, pred, root, tmp_path / "s.zip", "--protocol", "semi")
    assert code == 2
    assert f"found: {pred} holds 5 masks such as {NAMES[0]}.png" in err
    assert "Did you mean --subset validation?" in err
    assert not (tmp_path / "s.zip").exists()


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ((), "--protocol"),
        (("--protocol", "unsupervised"), "needs a match"),
        (("--protocol", "free", "--match", "MATCH"), "takes no match"),
    ],
)
def test_what_a_protocol_needs_is_said(pred, root, match_file, tmp_path, capsys, more, words):
    more = [match_file if word == "MATCH" else word for word in more]
    code, _, err = build(capsys, pred, root, tmp_path / "s.zip", *more)
    assert code == 2
    assert words in err


def write_zip(path, members):
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members:
            archive.writestr(name, data)


def good_members():
    members = {f"{name}.png": png(size) for name, size in SIZES.items()}
    return members | {"method.txt": Method("Ours").text()}


def faults(tmp_path, members, protocol=None, images=SIZES):
    path = tmp_path / "s.zip"
    write_zip(path, members.items() if isinstance(members, dict) else members)
    found = check(path, images, K, PROTOCOLS.get(protocol))
    return [f"{fault.kind}: {fault.text}" for fault in found]


def image_bytes(mode, kind="PNG"):
    buffer = io.BytesIO()
    Image.new(mode, SIZES[NAMES[0]]).save(buffer, kind)
    return buffer.getvalue()


def blue():
    buffer = io.BytesIO()
    Image.new("RGB", SIZES[NAMES[0]], (1, 0, 9)).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (png((4, 4)), "size: {0}.png is 4 x 4 pixels (W x H), not 8 x 6"),
        (png(SIZES[NAMES[0]], K + 1), "range: {0}.png holds 4; ids are 0..3"),
        (image_bytes("L"), "unreadable: {0}.png is of the kind L PNG, not RGB PNG"),
        (image_bytes("RGB", "JPEG"), "unreadable: {0}.png is of the kind RGB JPEG, not RGB PNG"),
        (b"no picture", "unreadable: {0}.png: not a readable PNG"),
        (png(SIZES[NAMES[0]])[:-30], "unreadable: {0}.png: not a readable PNG"),
        (blue(), "blue: {0}.png has pixels whose B is not 0"),
    ],
)
def test_a_faulty_mask_is_named(tmp_path, data, expected):
    found = faults(tmp_path, good_members() | {f"{NAMES[0]}.png": data})
    assert len(found) == 1
    assert found[0].startswith(expected.format(NAMES[0]))


@pytest.mark.parametrize(
    ("change", "protocol", "expected"),
    [
        ({"method.txt": None}, None, "method: there is no method.txt"),
        ({"method.txt": "Method name: \n"}, None, "method: method.txt: `Method name` is empty"),
        ({"method.txt": b"\xff"}, None, "method: method.txt cannot be read"),
        ({"match.json": "{}"}, None, "match: match.json has no class for the ids 1, 2, 3"),
        ({"match.json": '{"1": 7}'}, None, "match: match.json: the entry '1': 7 is outside 0..3"),
        ({}, "unsupervised", "match: there is no match.json"),
        (
            {"match.json": "{}"},
            "semi",
            "extra: match.json: the semi-supervised protocol takes none",
        ),
        ({f"{NAMES[3]}.png": None}, None, f"missing: {NAMES[3]}.png"),
        ({"__MACOSX/x": b""}, None, "extra: __MACOSX/x"),
    ],
)
def test_a_faulty_archive_is_named(tmp_path, change, protocol, expected):
    members = {name: data for name, data in (good_members() | change).items() if data is not None}
    found = faults(tmp_path, members, protocol)
    assert any(fault.startswith(expected) for fault in found), found


def test_lines_that_method_lacks_are_all_named(tmp_path):
    found = faults(tmp_path, good_members() | {"method.txt": "Method name: x\n"})
    assert found == [f"method: method.txt lacks the line `{field}: `" for field in FIELDS[1:]]


@pytest.mark.filterwarnings("ignore:Duplicate name")  # zipfile's own, as the test makes one
def test_duplicates_and_wrappers_are_named(tmp_path):
    twice = [*good_members().items(), (f"{NAMES[0]}.png", png(SIZES[NAMES[0]]))]
    assert faults(tmp_path, twice) == [f"zip: {NAMES[0]}.png is there more than once"]
    wrapped = {f"mine/{name}": data for name, data in good_members().items()}
    assert "zip: everything lies below mine/; it must lie at the top" in faults(tmp_path, wrapped)


def test_a_damaged_member_and_no_zip_at_all_are_named(tmp_path, root, capsys):
    path = tmp_path / "s.zip"
    write_zip(path, good_members().items())
    data = bytearray(path.read_bytes())
    data[data.index(b"\x89PNG") + 20] ^= 255
    path.write_bytes(data)
    found = check(path, SIZES, K)
    assert [fault.kind for fault in found] == ["unreadable"]
    assert "CRC" in found[0].text
    path.write_bytes(b"nothing")
    code, _, err = call(capsys, "--check", path, "--root", root)
    assert code == 1
    assert "not a zip archive" in err
    code, _, err = call(capsys, "--check", tmp_path / "none.zip", "--root", root)
    assert code == 1
    assert "no such archive" in err


def test_sizes_come_from_shards_too(tmp_path, pred, capsys):
    folder = tmp_path / "packed" / f"ImageNetS{K}.shards"
    folder.mkdir(parents=True)
    samples = [
        ShardSample(*reversed(name.split("/")), 1, 0, *SIZES[name], b"jpeg") for name in NAMES
    ]
    write_shard(folder / "test-00000.h5", samples, {"tier": str(K)})
    classes = [f"n0000000{i}" for i in range(1, K + 1)]
    splits = {"test": SplitInfo(["test"], len(NAMES), False)}
    infos = [ShardInfo("test-00000.h5", "test", len(NAMES), 1, "0" * 64)]
    Manifest(str(K), classes, [], splits, infos).save(folder)
    (pred / f"{NAMES[1]}.png").write_bytes(png((3, 3)))
    packed = tmp_path / "packed"
    code, _, err = build(capsys, pred, packed, tmp_path / "s.zip", "--protocol", "free")
    assert code == 1
    assert "is 3 x 3 pixels (W x H), not 9 x 6" in err


def test_lists_give_names_without_sizes(tmp_path, pred, capsys):
    index = tmp_path / "index"
    classes = sorted({name.partition("/")[0] for name in NAMES})
    lines = {
        "categories": classes,
        "mapping-test": [f"{name}.JPEG {name}.JPEG" for name in NAMES],
        "mapping-validation": [],
        "names-validation": [],
        "names-train-semi": [],
    }
    for what, path in list_paths(str(K)).items():
        (index / path).parent.mkdir(parents=True, exist_ok=True)
        (index / path).write_text("\n".join(lines[what]))
    (pred / f"{NAMES[1]}.png").write_bytes(png((3, 3)))
    out = tmp_path / "s.zip"
    code, text, err = build(capsys, pred, tmp_path, out, "--protocol", "free", "--index", index)
    assert code == 0, err
    assert "sizes are not checked" in err
    assert "valid submission of 5 masks" in text


def test_without_set_and_lists_it_says_how_to_prepare(tmp_path, pred, capsys):
    code, _, err = build(capsys, pred, tmp_path / "none", tmp_path / "s.zip", "--protocol", "free")
    assert code == 1
    assert "imagenets-prepare" in err


def test_protocols_hold_the_published_table():
    allowed = {name: protocol.allows for name, protocol in PROTOCOLS.items()}
    assert [allows[0] for allows in allowed.values()] == ["yes", "yes", "yes", "any"]
    assert [allows[-1] for allows in allowed.values()] == ["no", "no", "no", "yes"]
    assert [name for name, p in PROTOCOLS.items() if p.needs_match] == ["unsupervised"]
