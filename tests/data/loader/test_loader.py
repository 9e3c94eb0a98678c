"""The loader: the same batches whoever decodes them, wherever it was cut off; no leftovers."""

from __future__ import annotations

import gc
import io
import json
import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tiny import tiny
from torch.utils.data import SequentialSampler

from imagenets import ImageNetS, Loader, masks
from imagenets.cli import prepare
from imagenets.data.loader import Batch, on_device
from imagenets.data.loader.crops import CenterCrop, Crop, RandomResizedCrop
from imagenets.data.shards import ShardReader
from imagenets.errors import CorruptError, ImageNetSError, UsageError
from imagenets.pixels.ragged import RaggedBatch

WAYS: list[dict[str, Any]] = [
    {"workers": 0},
    {"workers": 1},
    {"workers": 2},
    {"workers": 4, "backend": "threads"},
    {"workers": 1, "backend": "threads"},
]
SPAWNED = {"workers": 2, "start_method": "spawn"}  # imports everything anew: tried once


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tier "3", packed with restart markers, and as a tree beside them."""
    folder = tmp_path_factory.mktemp("marked")
    world = tiny(train=8, val=4)
    raw, index = world.folders(folder / "raw"), world.index(folder / "index")
    words = ["--split", "3", "--imagenet", raw, "--index", index, "--annotations"]
    words += [world.archive(folder), "--restart", "--layout", "both", "--workers", "1"]
    assert prepare.main([*map(str, words), "--root", str(folder / "root")]) == 0
    return folder / "root"


def values(batch: Batch) -> list[bytes]:
    """All that is in a batch, to compare and to keep."""
    parts = [batch.images, batch.masks, batch.indices, batch.class_ids, batch.ilsvrc, batch.boxes]
    found = []
    for part in parts:
        if isinstance(part, RaggedBatch):
            found += [part.data.numpy().tobytes(), part.sizes.numpy().tobytes()]
        elif part is not None:
            found.append(part.contiguous().numpy().tobytes())
    return [*found, " ".join(batch.names).encode()]


def epoch(loader: Loader) -> list[list[bytes]]:
    return [values(batch) for batch in loader]


@pytest.mark.parametrize("layout", ["shards", "tree"])
def test_whole_images_and_masks_are_those_of_the_data_set(root: Path, layout: Any) -> None:
    data = ImageNetS(root, "validation", 3, layout=layout)
    batch = next(iter(Loader(data, len(data), shuffle=False)))
    assert batch.masks is not None
    for place in range(len(data)):
        sample = data[place]
        assert torch.equal(batch.whole[place], sample["image"])
        assert torch.equal(batch.masks[place].long(), sample["mask"])
        assert batch.names[place] == sample["name"]
        assert batch.sizes[place].tolist() == list(sample["image"].shape[:0:-1])
        assert batch.class_ids[place] == sample["class_id"]
        assert batch.ilsvrc[place] == sample["ilsvrc"]


@pytest.mark.parametrize("crop", [RandomResizedCrop(16, exact=True)])
@pytest.mark.parametrize("layout", ["shards", "tree"])
def test_crops_are_pillows(root: Path, crop: Crop, layout: Any) -> None:
    data = ImageNetS(root, "train-semi", 3, layout=layout)  # with a CMYK and a grey image
    batch = next(iter(Loader(data, len(data), crop=crop, seed=3)))
    assert isinstance(batch.masks, torch.Tensor)
    assert batch.boxes is not None
    assert batch.flips is not None
    assert batch.images.shape == (len(data), 3, 16, 16)
    for place, index in enumerate(batch.indices.tolist()):
        sample = data[index]
        left, top, width, height = batch.boxes[place].tolist()
        inside = np.s_[top : top + height, left : left + width]
        pixels = sample["image"].permute(1, 2, 0).numpy()[inside]
        expected = np.asarray(Image.fromarray(pixels).resize((16, 16), Image.Resampling.BILINEAR))
        ids = sample["mask"].numpy()[inside].astype(np.int32)
        labels = np.asarray(Image.fromarray(ids, "I").resize((16, 16), Image.Resampling.NEAREST))
        if batch.flips[place]:
            expected, labels = expected[:, ::-1], labels[:, ::-1]
        ours = batch.images[place].permute(1, 2, 0).numpy()
        assert abs(ours.astype(int) - expected).max() <= 1
        assert np.array_equal(batch.masks[place].numpy(), labels)


@pytest.mark.parametrize("kind", [RandomResizedCrop, CenterCrop])
def test_floats_are_the_normalised_bytes(root: Path, kind: Any) -> None:
    data = ImageNetS(root, "train", 3)
    bytes_, floats = (
        next(iter(Loader(data, 8, crop=kind(16, output=output)))) for output in _KINDS
    )
    mean, std = (
        torch.tensor(v)[:, None, None] for v in (RandomResizedCrop().mean, RandomResizedCrop().std)
    )
    expected = (bytes_.images.float() / 255 - mean) / std
    assert floats.images.dtype == torch.float32
    assert torch.allclose(floats.images, expected, atol=1e-5)


_KINDS: tuple[Any, Any] = ("uint8", "float32")


@pytest.mark.parametrize(
    "crop", [None, RandomResizedCrop(12), RandomResizedCrop(12, antialias=False)]
)
def test_batches_do_not_depend_on_who_decodes(root: Path, crop: Crop | None) -> None:
    data = ImageNetS(root, "train-semi", 3)
    seen = []
    for way in [*WAYS, SPAWNED] if crop is None else WAYS:
        loader = Loader(data, 2, crop=crop, seed=5, shuffle=True, **way)
        seen.append([epoch(loader), epoch(loader)])
        loader.set_epoch(0)
        assert epoch(loader) == seen[0][0], way
        loader.close()
    assert all(both == seen[0] for both in seen)
    assert seen[0][0] != seen[0][1]  # the next epoch has another order, and other crops


@pytest.mark.parametrize("way", WAYS[:4:3], ids=str)
def test_resuming_equals_not_having_stopped(root: Path, way: dict[str, Any]) -> None:
    data = ImageNetS(root, "train", 3)

    def make() -> Loader:
        return Loader(data, 5, crop=RandomResizedCrop(8), seed=1, shuffle=True, **way)

    whole = make()
    expected = [epoch(whole), epoch(whole)]
    for stop in (1, 2, len(whole)):
        first = make()
        batches = iter(first)
        before = [values(next(batches)) for _ in range(stop)]
        state = first.state_dict()
        second = make()
        second.load_state_dict(state)
        after = epoch(second)
        if stop == len(whole):  # the first epoch was over: the second follows
            assert after == expected[1]
        else:
            assert before + after == expected[0]
            assert epoch(second) == expected[1]


def test_a_state_of_another_loader_is_refused(root: Path) -> None:
    data = ImageNetS(root, "train", 3)
    crop = RandomResizedCrop(8)
    state = json.loads(json.dumps(Loader(data, 4, crop=crop).state_dict()))
    Loader(data, 4, crop=RandomResizedCrop(8), workers=2).load_state_dict(state)
    others = {
        "global_batch 4": Loader(data, 5, crop=crop),
        "seed 0": Loader(data, 4, crop=crop, seed=1),
        "crop RandomResizedCrop": Loader(data, 4, crop=RandomResizedCrop(8, flip_probability=0.0)),
        "shuffle None": Loader(data, 4, crop=crop, shuffle=True),
        "drop_last False": Loader(data, 4, crop=crop, drop_last=True),
        "data": Loader(data.subset(range(23, -1, -1)), 4, crop=crop),
        "samples 24": Loader(data[:20], 4, crop=crop),
        "sampler False": Loader(data, 4, crop=crop, sampler=SequentialSampler(data)),
    }
    for what, other in others.items():
        with pytest.raises(UsageError, match=what):
            other.load_state_dict(state)
    with pytest.raises(UsageError, match="of a loader with"):
        Loader(data, 4, crop=crop).load_state_dict({"epoch": 0, "batches": 1})


def test_two_ranks_go_on_as_four_or_one(root: Path) -> None:
    data = ImageNetS(root, "train", 3)[:23]  # two steps of 8, one of 7

    def ranks(world: int) -> list[Loader]:
        given: dict[str, Any] = {"crop": RandomResizedCrop(8), "seed": 4, "shuffle": True}
        return [Loader(data, 8 // world, rank=r, world=world, **given) for r in range(world)]

    def step(batches: list[Batch]) -> dict[int, tuple[bytes, list[int]]]:
        """What all ranks take in a step: sample -> pixels and box, each once."""
        found: dict[int, tuple[bytes, list[int]]] = {}
        counted: list[int] = []
        for batch in batches:
            assert batch.boxes is not None
            assert batch.repeated is not None
            counted += batch.indices[~batch.repeated].tolist()
            for i, index in enumerate(batch.indices.tolist()):
                seen = batch.crops[i].contiguous().numpy().tobytes(), batch.boxes[i].tolist()
                assert found.setdefault(index, seen) == seen
        assert sorted(counted) == sorted(found)
        return found

    expected = [step(list(batches)) for batches in zip(*ranks(1), strict=True)]
    two = ranks(2)
    first = [next(iter(loader)) for loader in two]
    assert step(first) == expected[0]
    states = [loader.state_dict() for loader in two]
    assert states[0] == states[1]
    for world in (4, 1):
        others = ranks(world)
        for loader in others:
            loader.load_state_dict(states[0])
        for number, batches in enumerate(zip(*others, strict=True), start=1):
            assert step(list(batches)) == expected[number]


def test_validation_over_ranks_counts_each_sample_once(root: Path) -> None:
    data = ImageNetS(root, "train", 3)[:23]
    counted = []
    for rank in range(4):
        for batch in Loader(data, 3, rank=rank, world=4):
            assert batch.repeated is not None
            counted += batch.indices[~batch.repeated].tolist()
    assert sorted(counted) == list(range(23))


def test_an_epoch_without_a_batch_is_an_error(root: Path) -> None:
    data = ImageNetS(root, "train", 3)
    with pytest.raises(UsageError, match=r"24 samples has no batch of 25: .*drop_last=False"):
        list(Loader(data, 25, drop_last=True))
    with pytest.raises(UsageError, match="batch of 13 on each of 2 ranks"):
        list(Loader(data, 13, drop_last=True, rank=0, world=2))
    with pytest.raises(UsageError, match="0 samples"):
        list(Loader(data[:0], 2))
    assert [len(batch) for batch in Loader(data, 25)] == [24]


@pytest.mark.parametrize(
    "bad", [[True, False], [0.0, 1.0], np.array([0.5]), ["a"], np.array([True, False])]
)
def test_samplers_and_batches_must_give_integers(root: Path, bad: Any) -> None:
    data = ImageNetS(root, "train", 3)
    with pytest.raises(UsageError, match="not integers"):
        list(Loader(data, 1, sampler=bad))
    with pytest.raises(UsageError, match="not integers"):
        list(Loader(data, batches=[bad]))


@pytest.mark.parametrize("bad", [[0, 24], [-25]])
def test_samplers_must_give_indices_that_are_there(root: Path, bad: list[int]) -> None:
    with pytest.raises(UsageError, match=r"24 samples"):
        list(Loader(ImageNetS(root, "train", 3), 2, sampler=bad))


@pytest.mark.parametrize("drop_last", [True, False])
@pytest.mark.parametrize("shuffle", [True, False, "window"])
def test_ranks_share_an_epoch(root: Path, drop_last: bool, shuffle: Any) -> None:
    data = ImageNetS(root, "train", 3)  # 24 images
    given: dict[str, Any] = {"shuffle": shuffle, "drop_last": drop_last, "seed": 2}
    ranks = [Loader(data, 5, rank=rank, world=2, **given) for rank in range(2)]
    steps = [[batch.indices.tolist() for batch in loader] for loader in ranks]
    assert [len(own) for own in steps] == [len(loader) for loader in ranks]
    assert len(steps[0]) == len(steps[1]) == (2 if drop_last else 3)
    alone = [b.indices.tolist() for b in Loader(data, 10, rank=0, world=1, **given)]
    for step, (one, two) in enumerate(zip(*steps, strict=True)):
        assert sorted(one + two) == sorted(alone[step])


def test_ranks_are_those_of_torch_by_default(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = ImageNetS(root, "train", 3)
    expected = epoch(Loader(data, 5, rank=1, world=2))
    for name, value in {"is_initialized": True, "get_rank": 1, "get_world_size": 2}.items():
        monkeypatch.setattr(torch.distributed, name, lambda value=value: value)
    assert epoch(Loader(data, 5)) == expected
    alone = Loader(data, 5, sampler=range(24))  # it has shared the samples out already
    assert next(iter(alone)).indices.tolist() == [0, 1, 2, 3, 4]


def test_every_epoch_has_every_sample_once(root: Path) -> None:
    data = ImageNetS(root, "train", 3)
    orders = []
    for shuffle in (True, False, "window"):
        loader = Loader(data, 7, shuffle=shuffle, drop_last=False)
        order = [index for batch in loader for index in batch.indices.tolist()]
        assert len(loader) == 4
        assert sorted(order) == list(range(24))
        orders.append(order)
    assert orders[1] == list(range(24))
    assert orders[0] != orders[1] != orders[2]
    assert len(Loader(data, 7, drop_last=True)) == 3
    assert len(Loader(data, 7)) == 4
    assert epoch(Loader(data, 7)) == epoch(Loader(data, 7, shuffle=False))


def test_a_sampler_gives_the_order(root: Path) -> None:
    class Told(SequentialSampler):
        epoch = -1

        def set_epoch(self, epoch: int) -> None:
            self.epoch = epoch

    data = ImageNetS(root, "train", 3)
    sampler = Told(range(9))
    loader = Loader(data, 4, sampler=sampler, drop_last=False)
    loader.set_epoch(6)
    assert [batch.indices.tolist() for batch in loader] == [[0, 1, 2, 3], [4, 5, 6, 7], [8]]
    assert sampler.epoch == 6


def test_views_are_read_as_they_are(root: Path, tmp_path: Path) -> None:
    data = ImageNetS(root, "train-semi", 3)
    some = data.subset([4, 1]).with_masks(tmp_path)
    for place, (name, (width, height)) in enumerate(zip(some.names, some.sizes, strict=True)):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        ids = np.full((height, width), place + 7)
        (tmp_path / f"{name}.png").write_bytes(masks.encode(ids))
    batch = next(iter(Loader(some, 2, shuffle=False)))
    assert batch.names == [data.names[4], data.names[1]]
    assert batch.masks is not None
    assert [int(mask.max()) for mask in batch.masks] == [7, 8]
    (tmp_path / f"{some.names[1]}.png").unlink()
    with pytest.raises(ImageNetSError, match=f"{some.names[1]}.png: not there"):
        list(Loader(some, 2))


@pytest.fixture
def damaged(root: Path, tmp_path: Path) -> Callable[[], ImageNetS]:
    """A set one of whose images is no longer what it was."""
    world = tiny(train=8, val=4)
    raw, index = world.folders(tmp_path / "raw"), world.index(tmp_path / "index")
    words = ["--split", "3", "--imagenet", raw, "--index", index, "--subsets", "test", "--restart"]
    words += ["--annotations", world.archive(tmp_path), "--root", tmp_path / "root"]
    assert prepare.main([*map(str, words), "--workers", "1"]) == 0
    shard = tmp_path / "root/ImageNetS3.shards/test-00000.h5"
    known = ShardReader(shard)._known()
    assert known.starts is not None
    data = bytearray(shard.read_bytes())
    data[known.starts["image"] + int(known.samples[2]["image_offset"]) + 300] ^= 255
    shard.write_bytes(data)
    return lambda: ImageNetS(tmp_path / "root", "test", 3)


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_an_error_names_shard_and_sample(damaged: Callable[[], ImageNetS], way: Any) -> None:
    data = damaged()
    loader = Loader(data, 3, shuffle=False, drop_last=False, crop=RandomResizedCrop(8), **way)
    with pytest.raises(CorruptError, match=r"test-00000.h5: sample 2 .*n9.*ILSVRC2012_val_") as e:
        list(loader)
    assert "checksum" in str(e.value)
    with pytest.raises(CorruptError):  # it can be used again
        list(loader)
    loader.close()


def test_what_is_kept_stays_as_it_was(root: Path) -> None:
    loader = Loader(
        ImageNetS(root, "train", 3), 3, crop=RandomResizedCrop(8), workers=2, prefetch=2
    )
    kept, expected = [], []
    for batch in loader:
        kept.append(batch)
        expected.append(values(batch))
    assert [values(batch) for batch in kept] == expected
    assert values(kept[0].clone()) == expected[0]
    loader.close()


def test_memory_is_bounded_and_given_back(root: Path) -> None:
    loader = Loader(ImageNetS(root, "train", 3), 2, workers=2, backend="threads", prefetch=2)
    most = 0
    for _ in range(3):
        for batch in loader:
            most = max(most, loader._buffers.lent)
            del batch
    gc.collect()
    assert most <= 3 + 1  # two ahead, one in use, and the one before until its name is rebound
    assert loader._buffers.lent == 0
    loader.close()


def children() -> set[int]:
    found = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    return {int(pid) for pid in found}


def gone(pids: set[int], seconds: float = 10) -> bool:
    end = time.monotonic() + seconds
    while any(Path(f"/proc/{pid}").exists() for pid in pids):
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


def test_breaking_off_leaves_nothing_behind(root: Path) -> None:
    before = children()
    loader = Loader(ImageNetS(root, "train", 3), 2, crop=RandomResizedCrop(8), workers=2)
    expected = epoch(loader)
    loader.set_epoch(0)
    for _ in range(3):
        for batch in loader:
            assert values(batch) == expected[0]
            break
        loader.set_epoch(0)
    assert epoch(loader) == expected
    workers = children() - before
    assert len(workers) == 2
    del batch, loader
    gc.collect()
    assert gone(workers)


@pytest.mark.parametrize("victim", [0, 1])
def test_a_dead_worker_is_told_by_the_next_batch(root: Path, victim: int) -> None:
    before = children()
    loader = Loader(ImageNetS(root, "train", 3), 2, workers=2)
    batches = iter(loader)
    next(batches)
    workers = children() - before
    pid = sorted(workers)[victim]
    os.kill(pid, signal.SIGKILL)
    while Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z":
        time.sleep(0.001)
    with pytest.raises(ImageNetSError, match=r"a worker of the loader has died \(exit code -9"):
        next(batches)
    assert gone(workers)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_workers_let_pass_the_signal_that_asks_for_a_checkpoint(root: Path, method: str) -> None:
    before = children()
    loader = Loader(ImageNetS(root, "train", 3), 2, workers=1, start_method=method)
    batches = iter(loader)
    next(batches)
    for pid in children() - before:
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
        if b"resource_tracker" not in command:
            os.kill(pid, signal.SIGUSR1)
    assert len(list(batches)) == len(loader) - 1
    loader.close()


_SLOW = """
import os, sys, time
from imagenets import ImageNetS, Loader
loader = Loader(ImageNetS(sys.argv[1], "train", 3), 2, workers=2)
for epoch in range(1000000):
    for batch in loader:
        if epoch == 1:
            print(open(f"/proc/self/task/{os.getpid()}/children").read(), flush=True)
            time.sleep(0.01)
"""


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_workers_go_with_their_master(root: Path, how: signal.Signals) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", _SLOW, str(root)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout
    assert process.stderr
    workers = {int(pid) for pid in process.stdout.readline().split()}
    assert len(workers) == 2
    if how == signal.SIGINT:
        os.killpg(process.pid, how)  # as a terminal does: to all of them
    else:
        process.send_signal(how)
    process.stdout.close()
    errors = process.stderr.read()
    assert process.wait(20) != 0
    process.stderr.close()
    assert gone(workers)
    assert errors.count("Traceback") <= (how == signal.SIGINT)  # the workers say nothing


def test_batches_come_on_a_device(root: Path) -> None:
    loader = Loader(ImageNetS(root, "train", 3), 6, crop=RandomResizedCrop(8))
    expected = epoch(loader)
    loader.set_epoch(0)
    assert [values(batch) for batch in on_device(loader, "cpu")] == expected


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_batches_come_on_a_gpu(root: Path) -> None:
    for crop in (None, RandomResizedCrop(8)):
        loader = Loader(ImageNetS(root, "train", 3), 2, crop=crop, workers=2)
        expected = epoch(loader)
        loader.set_epoch(0)
        moved = []
        for batch in on_device(loader, "cuda"):
            data = batch.images.data if isinstance(batch.images, RaggedBatch) else batch.images
            assert data.is_cuda
            moved.append(values(batch.to("cpu")))
        assert moved == expected
        loader.close()


def test_bad_arguments_are_told(root: Path) -> None:
    data = ImageNetS(root, "train", 3)
    cases: list[tuple[Any, dict[str, Any], str]] = [
        (data, {"batch_size": 0}, "batch_size is 0"),
        (data, {"batch_size": 2, "workers": -1}, "workers=-1"),
        (data, {"batch_size": 2, "backend": "gpu"}, "backend='gpu'"),
        (data, {"batch_size": 2, "shuffle": "all"}, "no shuffle 'all'"),
        (data, {"batch_size": 2, "sampler": iter([1, 2])}, "the sampler has no length"),
        (data, {"batch_size": 2, "rank": 2, "world": 2}, "rank is 2 of a world of 2"),
        ([1, 2], {"batch_size": 2}, "reads an ImageNetS without a transform"),
    ]
    for dataset, given, message in cases:
        with pytest.raises(UsageError, match=message):
            Loader(dataset, **given)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: RandomResizedCrop(0), "size is 0"),
        (lambda: RandomResizedCrop(antialias="yes"), "antialias is 'yes'"),  # type: ignore[arg-type]
        (lambda: CenterCrop(output="float16"), "output is 'float16'"),  # type: ignore[arg-type]
        (lambda: RandomResizedCrop(scale=(0.0, 1.0)), "scale is 0.0 to 1.0"),
        (lambda: RandomResizedCrop(ratio=(2.0, 1.0)), "ratio is 2.0 to 1.0"),
        (lambda: CenterCrop(224, 100), "side is 100, less than size 224"),
    ],
)
def test_bad_crops_are_told(make: Callable[[], Crop], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        make()


def test_pillow_decodes_what_simplejpeg_does_not(root: Path) -> None:
    data = ImageNetS(root, "train", 3)
    modes = {Image.open(io.BytesIO(data.encoded(index).image)).mode for index in range(len(data))}
    assert modes == {"RGB", "L", "CMYK"}  # else the tests above would show less than they say


@pytest.mark.extras
@pytest.mark.filterwarnings("ignore")  # Lightning's own
def test_lightning_trains_and_validates_with_it(root: Path, tmp_path: Path) -> None:
    import lightning

    class Model(lightning.LightningModule):  # type: ignore[misc,name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Linear(3, 1)
            self.seen: list[list[int]] = []

        def training_step(self, batch: Batch, index: int) -> torch.Tensor:
            self.seen.append(batch.indices.tolist())
            loss: torch.Tensor = self.layer(batch.images.mean((2, 3))).mean()
            return loss

        def validation_step(self, batch: Batch, index: int) -> None:
            self.seen.append(batch.indices.tolist())

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.SGD(self.parameters(), 0.1)

    model = Model()
    crop = RandomResizedCrop(8, output="float32")
    loader = Loader(ImageNetS(root, "train", 3), 4, crop=crop, shuffle=True)
    trainer = lightning.Trainer(
        max_epochs=2, accelerator="cpu", logger=False, default_root_dir=tmp_path,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(model, loader)
    assert len(model.seen) == 12
    assert model.seen[:6] != model.seen[6:]
    model.seen.clear()
    trainer.validate(model, Loader(ImageNetS(root, "train", 3), 5, crop=crop), verbose=False)
    assert [index for indices in model.seen for index in indices] == list(range(24))


@pytest.mark.slow
def test_a_loader_pickles_without_what_it_has_open(root: Path) -> None:
    data = ImageNetS(root, "train", 3)
    loader = Loader(data, 5, crop=RandomResizedCrop(8), shuffle=True, workers=2)
    batches = iter(loader)
    next(batches)
    again = pickle.loads(pickle.dumps(loader))
    again.set_epoch(0)
    expected = Loader(data, 5, crop=RandomResizedCrop(8), shuffle=True)
    assert epoch(again) == epoch(expected)
    batches.close()
    loader.close()


def _read(rank: int, loader: Loader, folder: Path) -> None:
    counts = [len(batch) for batch in loader]
    (folder / f"{rank}.json").write_text(json.dumps(counts))


@pytest.mark.slow
def test_torch_spawns_processes_with_a_loader(root: Path, tmp_path: Path) -> None:
    loader = Loader(ImageNetS(root, "train", 3), 5, workers=1)
    torch.multiprocessing.spawn(_read, (loader, tmp_path), nprocs=1)
    assert json.loads((tmp_path / "0.json").read_text()) == [5, 5, 5, 5, 4]


def test_trainers_may_ask_for_a_batch_sampler(root: Path) -> None:
    loader = Loader(ImageNetS(root, "train", 3), 5)
    assert loader.batch_sampler is None


_UNGUARDED = """
import sys
from imagenets import ImageNetS, Loader
loader = Loader(ImageNetS(sys.argv[1], "train", 3), 2, workers=1, start_method="spawn")
for batch in loader:
    print(len(batch))
"""


@pytest.mark.slow
def test_a_script_without_a_guard_is_told_of_it(root: Path, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(_UNGUARDED)
    call = [sys.executable, script, root]
    done = subprocess.run(call, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert 'if __name__ == "__main__":' in done.stderr.splitlines()[-1]


def test_a_number_is_no_crop(root: Path) -> None:
    with pytest.raises(TypeError, match=r"crop is 224: give .*RandomResizedCrop\(224\)"):
        Loader(ImageNetS(root, "train", 3), 2, crop=224)  # type: ignore[arg-type]


def test_what_is_shown_of_loaders_batches_and_names(root: Path) -> None:
    data = ImageNetS(root, "train", 3)
    loader = Loader(data, 5, crop=CenterCrop(8), workers=0)
    assert repr(loader).startswith(
        "Loader(ImageNetS(tier='3', split='train', images=24), 5 batches"
    )
    batch = next(iter(loader))
    assert "5 samples, (5, 3, 8, 8)" in repr(batch)
    assert repr(data.names).startswith(f"24 names: {data.names[0]}")
