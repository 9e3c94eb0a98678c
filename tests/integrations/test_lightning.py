"""Lightning trains and validates with the data module: order, resuming, ranks, devices."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from ranks import run_ranks

from imagenets import ImageNetS, Loader, RandomResizedCrop
from imagenets.data.loader import Batch
from imagenets.errors import MissingError, UsageError
from imagenets.evaluation.metrics import Evaluator

pytestmark = [pytest.mark.extras, pytest.mark.filterwarnings("ignore")]  # Lightning's own

CROP = RandomResizedCrop(8, output="float32")


def module(root: Path, **more: Any) -> Any:
    from imagenets.integrations.lightning import ImageNetSDataModule

    return ImageNetSDataModule(root, 3, **{"batch_size": 2, "crop": CROP, "seed": 5, **more})


def trainer(folder: Path, **more: Any) -> Any:
    import lightning

    return lightning.Trainer(
        accelerator="cpu", logger=False, default_root_dir=folder, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, num_sanity_val_steps=0, **more,
    )  # fmt: skip


def network(save_at: int | None = None) -> Any:
    import lightning

    from imagenets.integrations.torchmetrics import EvaluatorMetric

    # the library is not there when types are checked
    class Network(lightning.LightningModule):  # type: ignore[misc,name-defined]
        """Predicts class 1 on the left; remembers which images it was given."""

        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Linear(3, 1)
            self.metric = EvaluatorMetric(3)
            self.trained: list[int] = []
            self.validated: list[int] = []
            self.found: dict[str, float] = {}

        def training_step(self, batch: Batch, index: int) -> torch.Tensor:
            self.trained += batch.indices.tolist()
            assert batch.crop_masks.shape == (2, 8, 8)
            loss: torch.Tensor = self.layer(batch.crops.mean((2, 3))).mean()
            return loss

        def on_train_batch_end(self, *_: Any) -> None:
            if self.global_step == save_at:
                folder = Path(self.trainer.default_root_dir)
                self.trainer.save_checkpoint(folder / "step.ckpt")

        def validation_step(self, batch: Batch, index: int) -> None:
            assert batch.masks is not None
            assert batch.repeated is not None
            once = (~batch.repeated).nonzero()[:, 0].tolist()
            self.validated += batch.indices[once].tolist()
            truth = [batch.masks[i] for i in once]
            self.metric.update([guess(mask) for mask in truth], truth)

        def on_validation_epoch_end(self) -> None:
            values = self.metric.compute()
            self.found = {name: float(value) for name, value in values.items()}
            self.log_dict(values, sync_dist=False)
            self.metric.reset()

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.SGD(self.parameters(), 0.1)

    return Network()


def guess(mask: torch.Tensor) -> torch.Tensor:
    ids = torch.zeros_like(mask)
    ids[:, :4] = 1
    return ids


def expected(root: Path) -> dict[str, float]:
    evaluator = Evaluator(3)
    for sample in ImageNetS(root, "validation", 3):
        evaluator.update(guess(sample["mask"]), sample["mask"])
    metrics: Any = evaluator.compute()
    return {name: value for name, value in metrics.items() if name != "IoUs"}


def test_it_trains_and_validates(tiny_root: Path, tmp_path: Path) -> None:
    loader = Loader(
        ImageNetS(tiny_root, "train-semi", 3), 2, crop=CROP, seed=5, shuffle=True, drop_last=True
    )
    order = [index for _ in range(2) for batch in loader for index in batch.indices.tolist()]
    whole = network()
    trainer(tmp_path, max_epochs=2).fit(whole, module(tiny_root))
    assert whole.trained == order
    assert whole.validated == 2 * list(range(12))
    assert whole.found == expected(tiny_root)


@pytest.mark.parametrize("step", [1, 3, 5])  # 3 steps an epoch
def test_it_goes_on_from_a_checkpoint(step: int, tiny_root: Path, tmp_path: Path) -> None:
    whole, rest = network(save_at=step), network()
    trainer(tmp_path, max_epochs=2).fit(whole, module(tiny_root))
    again = trainer(tmp_path, max_epochs=2)
    again.fit(rest, module(tiny_root), ckpt_path=tmp_path / "step.ckpt", weights_only=False)
    assert rest.trained == whole.trained[2 * step :]


def test_it_validates_alone_and_knows_its_classes(tiny_root: Path, tmp_path: Path) -> None:
    data, model = module(tiny_root), network()
    trainer(tmp_path, max_epochs=1).validate(model, data, verbose=False)
    assert data.num_classes == 3
    assert model.found == expected(tiny_root)
    data.setup("predict")
    assert sum(len(batch) for batch in data.predict_dataloader()) == 12
    with pytest.raises(UsageError, match="train_split 'val'"):
        module(tiny_root, train_split="val")
    with pytest.raises(UsageError, match="validation_batch_size 0"):
        module(tiny_root, validation_batch_size=0)
    with pytest.raises(MissingError):
        module(tmp_path).setup("fit")


def test_a_split_that_fills_no_batch_is_told(tiny_root: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="batch_size 7: train-semi has 6 images"):
        trainer(tmp_path, max_epochs=1).fit(network(), module(tiny_root, batch_size=7))


def test_lightning_brings_whole_batches_to_a_device(tiny_root: Path) -> None:
    from lightning.fabric.utilities import move_data_to_device

    data = module(tiny_root)
    data.setup("validate")
    (batch, *_) = data.val_dataloader()
    moved = move_data_to_device(batch, torch.device("meta"))
    assert isinstance(moved, Batch)
    assert moved.whole.data.device.type == moved.indices.device.type == "meta"
    assert batch.whole.data.device.type == "cpu"


def of_ranks(root: Path, folder: Path) -> tuple[list[int], list[int], dict[str, float]]:
    model = network()
    whole = trainer(folder, max_epochs=1, devices=2, strategy="ddp")
    whole.fit(model, module(root, validation_batch_size=5))
    return model.trained, model.validated, model.found


def test_ranks_share_the_images_and_score_as_one(tiny_root: Path, tmp_path: Path) -> None:
    ranks = run_ranks(2, tmp_path, of_ranks, tiny_root, tmp_path)
    trained = [index for found in ranks for index in found[0]]
    assert len(trained) == len(set(trained)) == 4  # of 6 images, one full step of both
    assert sorted(index for found in ranks for index in found[1]) == list(range(12))
    assert [found[2] for found in ranks] == [expected(tiny_root)] * 2
