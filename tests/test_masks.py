"""The mask codec: equal to Pillow on every PNG, and an error of ours on what is none."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from imagenets import masks
from imagenets.errors import CorruptError, UsageError
from imagenets.pixels import png

IDS = np.array([[0, 1, 255, 256], [919, 1000, 65535, 0], [3, 3, 3, 3]], np.uint16)

RGB = b"\x08\x02\0\0\0"  # of a header: 8 bits, RGB, not interlaced


def chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def build(
    rows: np.ndarray,
    pieces: int = 1,
    more: Sequence[bytes] = (),
    form: bytes = RGB,
    *,
    blue: bool = False,
) -> bytes:
    """A PNG of filtered rows, H x (1 + 3 W) uint8 without B, its data cut into some chunks."""
    rows = rows.copy()
    if form == RGB and not blue:
        rows[:, 3::3] = 0
    height, width = len(rows), rows.shape[1] // 3
    header = struct.pack(">II", width, height) + form
    packed = zlib.compress(rows.tobytes())
    step = -(-len(packed) // pieces)
    cut = [chunk(b"IDAT", packed[i : i + step]) for i in range(0, len(packed), step)]
    return b"".join([png.SIGNATURE, chunk(b"IHDR", header), *more, *cut, chunk(b"IEND", b"")])


def pillow(data: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(data)) as image:
        assert image.mode == "RGB"
        rgb = np.asarray(image).astype(np.uint16)
    return rgb[..., 0] + 256 * rgb[..., 1]


@st.composite
def filtered_rows(draw: st.DrawFn) -> np.ndarray:
    height, width = draw(st.integers(1, 7)), draw(st.integers(1, 9))
    few = st.sampled_from([0, 0, 0, 1, 3, 127, 128, 232, 255])
    rows = draw(hnp.arrays(np.uint8, (height, 1 + 3 * width), elements=few | st.integers(0, 255)))
    rows[:, 0] %= 5
    return rows


@given(filtered_rows(), st.integers(1, 3))
@example(np.array([[4, 9, 9, 9, 0, 0, 0], [4, 200, 1, 0, 100, 255, 3]], np.uint8), 1)
@settings(deadline=None, max_examples=300)
def test_every_filter_gives_what_pillow_gives(rows: np.ndarray, pieces: int) -> None:
    data = build(rows, pieces)
    found = png.decode(data)  # so that Pillow cannot have helped
    assert found is not None
    assert np.array_equal(found, pillow(data))
    assert np.array_equal(masks.decode(data), found)


@pytest.mark.parametrize("kind", range(5))
def test_each_filter_alone_gives_what_pillow_gives(kind: int) -> None:
    rows = np.random.default_rng(kind).integers(0, 256, (40, 1 + 3 * 53)).astype(np.uint8)
    rows[:, 0] = kind
    assert np.array_equal(png.decode(build(rows)), pillow(build(rows)))


@given(hnp.arrays(np.uint16, hnp.array_shapes(min_dims=2, max_dims=2, max_side=9)))
@settings(deadline=None)
def test_encoding_loses_nothing_for_us_and_for_pillow(ids: np.ndarray) -> None:
    data = masks.encode(ids)
    assert np.array_equal(masks.decode(data), ids)
    assert np.array_equal(pillow(data), ids)
    assert data == masks.encode(ids.astype(np.int64))


@pytest.mark.parametrize("options", [{}, {"compress_level": 0}, {"optimize": True}])
def test_what_pillow_writes_is_read_on_the_fast_path(options: dict[str, object]) -> None:
    buffer = io.BytesIO()
    Image.fromarray(masks.to_rgb(np.kron(IDS, np.ones((40, 30), int)))).save(
        buffer, "PNG", **options
    )
    assert png.decode(buffer.getvalue()) is not None
    assert np.array_equal(masks.decode(buffer.getvalue()), pillow(buffer.getvalue()))


def test_rare_forms_are_read_by_pillow() -> None:
    rows = np.zeros((3, 13), np.uint8)
    rows[:, 1:] = masks.to_rgb(IDS).reshape(3, 12)
    text = chunk(b"tEXt", b"Title\0a mask")
    assert png.decode(build(rows, more=[chunk(b"gAMA", b"\0\0\xb1\x8f")])) is not None
    assert png.decode(build(rows, more=[text])) is None
    assert np.array_equal(masks.decode(build(rows, more=[text])), IDS)
    interlaced = build(np.array([[0, 7, 1, 0]], np.uint8), form=b"\x08\x02\0\0\x01")
    assert png.decode(interlaced) is None
    assert masks.decode(interlaced).tolist() == [[263]]
    assert np.array_equal(masks.decode(masks.encode(IDS) + b"tail"), IDS)
    assert np.array_equal(masks.decode(memoryview(masks.encode(IDS))), IDS)


def test_a_wrong_checksum_is_found_though_pillow_would_not_look() -> None:
    data = bytearray(masks.encode(IDS))
    data[data.index(b"IEND") - 5] ^= 1
    assert np.array_equal(pillow(bytes(data)), IDS)
    with pytest.raises(CorruptError, match=r"mask: not a readable PNG .*checksum of its IDAT"):
        masks.decode(bytes(data))


@pytest.mark.parametrize(
    ("mode", "words"),
    [("L", "mode L"), ("P", "mode P"), ("RGBA", "mode RGBA"), ("I;16", "16 bits")],
)
def test_other_modes_are_named(mode: str, words: str, tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.new(mode, (4, 3)).save(path)
    with pytest.raises(CorruptError, match=rf"a\.png: a mask must be an RGB PNG .*{words}"):
        masks.decode(path)


def test_sixteen_bits_a_channel_are_refused() -> None:
    data = build(np.zeros((1, 7), np.uint8), form=b"\x10\x02\0\0\0")
    with pytest.raises(CorruptError, match="16 bits"):
        masks.decode(data)


def test_other_formats_are_no_masks() -> None:
    buffer = io.BytesIO()
    Image.fromarray(masks.to_rgb(IDS)).save(buffer, "BMP")
    with pytest.raises(CorruptError, match="not a readable PNG"):
        masks.decode(buffer.getvalue())
    with pytest.raises(FileNotFoundError):
        masks.decode(Path("nowhere.png"))


def test_a_bomb_is_not_unpacked() -> None:
    rows = np.zeros((1, 1 << 20), np.uint8)  # a million bytes where the header says 1 x 1
    small = bytearray(build(rows))
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0))
    small[8 : 8 + len(header)] = header
    assert png.decode(bytes(small)) is None
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 1 << 17, 1 << 17, 8, 2, 0, 0, 0))
    small[8 : 8 + len(header)] = header
    with pytest.raises(CorruptError, match="claims 131072 x 131072 pixels"):
        masks.decode(bytes(small))


@given(st.data())
@settings(deadline=None, max_examples=300)
def test_damage_gives_our_error_or_pillows_pixels(data: st.DataObject) -> None:
    sound = bytearray(build(np.pad(masks.to_rgb(IDS).reshape(3, 12), ((0, 0), (1, 0)))))
    for _ in range(data.draw(st.integers(1, 3))):
        sound[data.draw(st.integers(0, len(sound) - 1))] = data.draw(st.integers(0, 255))
    damaged = bytes(sound[: data.draw(st.integers(0, len(sound)))])
    if data.draw(st.booleans()):  # as if it had been written like this: checksums right
        damaged = resealed(damaged)
    try:
        found = masks.decode(damaged)
    except CorruptError:
        return
    assert np.array_equal(found, pillow(damaged))


def test_a_large_claim_below_the_bound_is_an_error_and_no_warning() -> None:
    sound = bytearray(build(np.pad(masks.to_rgb(IDS).reshape(3, 12), ((0, 0), (1, 0)))))
    sound[16:24] = struct.pack(">II", 10_000, 10_000)  # Pillow warns of so many pixels
    with pytest.raises(CorruptError):
        masks.decode(resealed(bytes(sound)))


def resealed(data: bytes) -> bytes:
    """The same with right checksums, as far as its chunks can be told."""
    parts, start = [data[:8]], 8
    while start + 12 <= len(data):
        (size,) = struct.unpack_from(">I", data, start)
        parts.append(chunk(data[start + 4 : start + 8], data[start + 8 : start + 8 + size]))
        start += 12 + size
    return b"".join(parts)


@pytest.mark.parametrize(
    "ids", [np.zeros((0, 4), int), np.zeros(4, int), np.full((2, 2), -1), np.full((2, 2), 1 << 16)]
)
def test_what_is_no_mask_is_not_written(ids: np.ndarray) -> None:
    with pytest.raises(UsageError, match="H x W ids"):
        masks.encode(ids)


def bgr(ids: np.ndarray) -> bytes:
    """What OpenCV writes of the R, G, B array of a mask."""
    buffer = io.BytesIO()
    Image.fromarray(masks.to_rgb(ids)[..., ::-1].copy()).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.mark.parametrize("ids", [[[300]], [[0, 0], [0, 7]], [[1, 1000], [0, 0]]])
def test_blue_is_a_fault_that_names_file_and_order(ids: list[list[int]], tmp_path: Path) -> None:
    path = tmp_path / "mask.png"
    path.write_bytes(bgr(np.array(ids, np.uint16)))
    with pytest.raises(CorruptError, match=r"B, G, R order.*masks\.save") as caught:
        masks.load(path)
    assert str(caught.value).startswith(f"{path}: B is not 0 everywhere")
    plain = masks.encode(np.array(ids, np.uint16))
    assert masks.decode(plain).tolist() == ids


@pytest.mark.parametrize("filters", range(5))
def test_blue_is_seen_through_every_row_filter(filters: int) -> None:
    rng = np.random.default_rng(filters)
    rows = rng.integers(0, 256, (9, 34)).astype(np.uint8)
    rows[:, 0] = filters
    rows[:, 3::3] = 0
    assert masks.decode(build(rows, blue=True)).shape == (9, 11)
    rows[4, 9] = 1
    with pytest.raises(CorruptError, match="B is not 0"):
        masks.decode(build(rows, blue=True))


def test_masks_are_saved_and_loaded_by_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = np.array([[0, 919], [1000, 1]])
    for path in (tmp_path / "a.png", str(tmp_path / "b.png")):
        masks.save(path, ids)
        assert masks.load(path).tolist() == masks.decode(path).tolist() == ids.tolist()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.png", "b.png"]
    monkeypatch.setenv("HOME", str(tmp_path))
    assert masks.load("~/a.png").tolist() == ids.tolist()
    with pytest.raises(FileNotFoundError):
        masks.load(tmp_path / "no.png")
    with pytest.raises(UsageError):
        masks.save(tmp_path / "c.png", ids.astype(float))
    assert not (tmp_path / "c.png").exists()


def test_masks_are_there_after_importing_the_package() -> None:
    code = "import imagenets; print(imagenets.masks.IGNORED)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "1000\n"
