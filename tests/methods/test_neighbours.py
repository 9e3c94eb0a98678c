"""Distance matching is what a plain reading of the protocol gives, to the id."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from imagenets.errors import UsageError
from imagenets.methods.neighbours import (
    References,
    enlarged_norms,
    nearest_ids,
    reference_vectors,
    upsampled,
)

CLASSES = 6


def drawn(count: int, seed: int, size: tuple[int, int] = (5, 7)) -> tuple[Tensor, Tensor]:
    """Maps with a direction for each id, noise on top, and masks of 20 x 28."""
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(CLASSES + 1, 16, generator=torch.Generator().manual_seed(99))
    ids = torch.randint(0, CLASSES + 1, (count, *size), generator=generator)
    noise = torch.randn(count, 16, *size, generator=generator)
    maps = centres[ids].permute(0, 3, 1, 2) + 0.8 * noise
    masks = F.interpolate(ids[:, None].float(), scale_factor=4.0)[:, 0].long()
    masks[torch.rand(masks.shape, generator=generator) < 0.1] = 1000
    return maps, masks


def plain_references(maps: Tensor, masks: Tensor) -> References:
    """One image, one id at a time, as the protocol is worded."""
    vectors, ids = [], []
    for image, mask in zip(maps, masks, strict=True):
        large = F.interpolate(image[None], scale_factor=4, mode="bilinear", align_corners=False)[0]
        for number in sorted(set(mask.flatten().tolist()) - {1000}):
            vectors.append((large * (mask == number)).mean((1, 2)))
            ids.append(number)
    return References(F.normalize(torch.stack(vectors)), torch.tensor(ids))


def plain_ids(maps: Tensor, references: References, k: int, temperature: float) -> Tensor:
    """One position at a time."""
    large = F.interpolate(maps, scale_factor=4, mode="bilinear", align_corners=False)
    rows = F.normalize(large).permute(0, 2, 3, 1)
    found = torch.zeros(rows.shape[:3], dtype=torch.long)
    for place in torch.cartesian_prod(*(torch.arange(n) for n in rows.shape[:3])):
        i, y, x = place.tolist()
        cosines = references.vectors @ rows[i, y, x]
        nearest = cosines.argsort(descending=True)[:k].tolist()
        votes: dict[int, float] = {}
        for one in nearest:
            vote = torch.exp(cosines[one].double() / temperature).item()
            number = int(references.ids[one])
            votes[number] = votes.get(number, 0.0) + vote
        found[i, y, x] = max(votes, key=lambda number: votes[number])
    return found


def all_references(maps: Tensor, masks: Tensor) -> References:
    pairs = [
        reference_vectors(image, mask)
        for image, mask in zip(upsampled(maps, 4), masks, strict=True)
    ]
    vectors = torch.cat([vectors for vectors, _ in pairs])
    return References(F.normalize(vectors), torch.cat([ids for _, ids in pairs]))


def test_references_are_those_of_a_plain_reading() -> None:
    found, expected = all_references(*drawn(6, 0)), plain_references(*drawn(6, 0))
    assert torch.equal(found.ids, expected.ids)
    assert 1000 not in found.ids
    assert 0 in found.ids
    torch.testing.assert_close(found.vectors, expected.vectors, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("k", "temperature"), [(10, 0.07), (1, 0.07), (25, 0.5)])
@pytest.mark.parametrize("at_once", [1 << 24, 1])
def test_ids_are_those_of_a_plain_reading(k: int, temperature: float, at_once: int) -> None:
    references = plain_references(*drawn(6, 0))
    maps, _ = drawn(3, 1)
    found = nearest_ids(maps, references, k=k, temperature=temperature, at_once=at_once)
    expected = plain_ids(maps, references, k, temperature)
    assert torch.equal(found, expected)
    assert len(torch.unique(found)) == CLASSES + 1


@pytest.mark.parametrize("factor", [1, 2, 3, 4])
@pytest.mark.parametrize("size", [(5, 7), (1, 3), (2, 1)])
def test_norms_are_those_of_the_enlarged_maps(factor: int, size: tuple[int, int]) -> None:
    maps, _ = drawn(2, 5, size)
    expected = upsampled(maps, factor).norm(dim=1)
    torch.testing.assert_close(enlarged_norms(maps, factor), expected, rtol=1e-5, atol=1e-5)


def test_every_way_to_cut_the_references_gives_the_same() -> None:
    references = plain_references(*drawn(8, 2))
    maps, _ = drawn(2, 3)
    whole = nearest_ids(maps, references)
    for rows in (10, 11, 17, 40):
        at_once = rows * 2 * 20 * 28
        assert torch.equal(nearest_ids(maps, references, at_once=at_once), whole)


def test_cold_votes_do_not_overflow() -> None:
    references = plain_references(*drawn(6, 0))
    maps, _ = drawn(1, 4)
    nearest = nearest_ids(maps, references, k=1)
    assert torch.equal(nearest_ids(maps, references, k=10, temperature=1e-4), nearest)


@pytest.mark.parametrize(
    ("more", "what"),
    [
        ({"k": 0}, "k is 0"),
        ({"k": 99}, "fewer than k = 99"),
        ({"temperature": 0.0}, "temperature is 0"),
        ({"factor": 0}, "enlarging is 0"),
    ],
)
def test_numbers_that_mean_nothing_are_refused(more: dict[str, int], what: str) -> None:
    references = plain_references(*drawn(2, 0))
    with pytest.raises(UsageError, match=what):
        nearest_ids(torch.zeros(1, 16, 2, 2), references, **more)


def test_votes_add_up_by_id() -> None:
    """Two references of one id together beat a nearer one of another."""
    angles = torch.tensor([0.0, 0.1, -0.1])
    vectors = torch.stack([angles.cos(), angles.sin()], 1)
    references = References(vectors, torch.tensor([2, 5, 5]))
    maps = torch.tensor([1.0, 0.0]).reshape(1, 2, 1, 1)
    assert nearest_ids(maps, references, k=3, factor=1).item() == 5
    assert nearest_ids(maps, references, k=1, factor=1).item() == 2
    assert nearest_ids(maps, references, k=3, factor=1, temperature=0.005).item() == 2
