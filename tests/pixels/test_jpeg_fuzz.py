"""Broken JPEG files: every byte may lie, and the answer is None, ValueError or the right pixels."""

from __future__ import annotations

import numpy as np
import photographs
import simplejpeg

from imagenets.pixels import jpeg

ROUNDS = 3000


def mutate(rng: np.random.Generator, file: bytes) -> bytes:
    """Cuts short, overwrites, removes, repeats, or plants a marker."""
    data = bytearray(file)
    kind = rng.integers(6)
    at = int(rng.integers(len(data)))
    if kind == 0:
        del data[at:]
    elif kind == 1:
        for _ in range(rng.integers(1, 20)):
            data[rng.integers(len(data))] = rng.integers(256)
    elif kind == 2:
        for _ in range(rng.integers(1, 4)):
            data[rng.integers(min(len(data), 700))] = rng.integers(256)
    elif kind == 3:
        del data[at : at + int(rng.integers(1, 60))]
    elif kind == 4:
        data[at:at] = data[at : at + int(rng.integers(1, 60))]
    else:
        marker = rng.choice((0x00, 0xC0, 0xC4, 0xD0, 0xD9, 0xDA, 0xDD, 0xFF))
        data[at : at + 2] = bytes((0xFF, marker))
    return bytes(data)


def whole(file: bytes) -> object:
    """The pixels, or None."""
    try:
        return simplejpeg.decode_jpeg(file, "RGB", strict=False)
    except ValueError:
        return None


def some_files() -> list[bytes]:
    files = photographs.plain() | photographs.odd()
    return [file for name, file in files.items() if name.endswith(("17x33", "75x100"))]


def test_files() -> None:
    rng = np.random.default_rng(0)
    files = some_files()
    taken = 0
    for number in range(ROUNDS):
        file = mutate(rng, files[rng.integers(len(files))])
        made = jpeg.transcode(file, None if number % 2 else int(rng.integers(1, 10)))
        if made is None:
            continue
        image = jpeg.layout(np.frombuffer(file, np.uint8))
        assert image.width * image.height < 1 << 22  # no size that the bytes cannot fill
        taken += 1
        assert np.array_equal(whole(made.data), whole(file)), number  # type: ignore[arg-type]
    assert 0.05 * ROUNDS < taken < 0.5 * ROUNDS


def test_stored_files_and_their_lengths() -> None:
    rng = np.random.default_rng(1)
    stored = [made for made in map(jpeg.transcode, some_files()) if made]
    scratch = jpeg.Scratch()
    failed = 0
    for number in range(ROUNDS):
        made = stored[rng.integers(len(stored))]
        image = jpeg.layout(np.frombuffer(made.data, np.uint8))
        file = mutate(rng, made.data) if rng.integers(4) else made.data
        lengths = made.lengths.copy()
        if rng.integers(2):  # random lengths, those before or behind them making up for it
            at, other = rng.integers(len(lengths), size=2)
            before = int(lengths[at]) + int(lengths[other])
            lengths[at] = rng.integers(before + 1)
            lengths[other] = before - lengths[at]
        width, height = rng.integers(1, image.width + 1), rng.integers(1, image.height + 1)
        left = rng.integers(image.width - width + 1)
        top = rng.integers(image.height - height + 1)
        box = (int(left), int(top), int(width), int(height))
        try:
            pixels = jpeg.decode_crop(file, lengths, box, exact=bool(number % 2), scratch=scratch)
        except ValueError:
            failed += 1
        else:
            assert pixels.shape == (height, width, 3)
    assert 0.3 * ROUNDS < failed < 0.95 * ROUNDS


def test_the_largest_claims_cost_nothing() -> None:
    """A header may claim 65,535 x 65,535 pixels over no data."""
    file = bytearray(photographs.plain()["4:2:0 75x100"])
    frame = jpeg.layout(np.frombuffer(file, np.uint8)).frame
    file[frame + 5 : frame + 9] = b"\xff" * 4
    assert jpeg.transcode(file) is None
    assert jpeg.transcode(file, 65535) is None
