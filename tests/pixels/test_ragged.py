"""Images of different sizes in one flat buffer."""

from __future__ import annotations

import pytest
import torch

from imagenets.pixels.ragged import RaggedBatch


def image(height: int, width: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (3, height, width), generator=generator, dtype=torch.uint8)


def test_images_come_back_as_they_went_in() -> None:
    images = [image(4, 7), image(9, 2, 1), image(1, 1, 2)]
    batch = RaggedBatch.from_images(images)
    assert len(batch) == 3
    assert batch.sizes.tolist() == [[7, 4], [2, 9], [1, 1]]
    assert batch.offsets.tolist() == [0, 84, 138]
    assert batch.data.dtype == torch.uint8
    assert batch.data.shape == (141,)
    for index, whole in enumerate(images):
        assert torch.equal(batch.image(index), whole)
    interleaved = images[0].permute(1, 2, 0).flatten()
    assert torch.equal(batch.data[:84], interleaved)


def test_views_share_the_buffer_and_moving_copies_it_alone() -> None:
    batch = RaggedBatch.from_images([image(4, 7), image(9, 2)])
    batch.image(1).zero_()
    assert not batch.data[84:].any()
    moved = batch.to("meta")
    assert moved.data.is_meta
    assert moved.sizes is batch.sizes


def test_masks_have_one_channel() -> None:
    masks = [torch.arange(6, dtype=torch.int16).view(2, 3), torch.ones(4, 1, dtype=torch.int16)]
    batch = RaggedBatch.from_images(masks)
    assert batch.channels == 1
    assert torch.equal(batch.image(0), masks[0])
    assert torch.equal(batch.image(1), masks[1])


def test_what_does_not_fit_together_is_refused() -> None:
    with pytest.raises(ValueError, match="share type and channels"):
        RaggedBatch.from_images([image(2, 2), image(2, 2).short()])
    with pytest.raises(ValueError, match="at least one"):
        RaggedBatch.from_images([])
