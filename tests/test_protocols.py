"""Which protocols a result keeps to."""

from __future__ import annotations

from dataclasses import replace

import pytest

from imagenets.protocols import (
    PROTOCOLS,
    REFERENCES,
    TUNING,
    UNTRAINED,
    UNUSED,
    Pretraining,
    Used,
    judge,
    verdicts_text,
)

OWN = Used("300", Pretraining("300", "none"), UNUSED, "ab12")


def valid(used: Used) -> list[bool | None]:
    return [judge(used)[name].valid for name in PROTOCOLS]


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (UNUSED, [True, False, False, True]),
        (REFERENCES, [False, True, False, True]),
        (TUNING, [False, False, True, True]),
    ],
)
def test_each_use_of_labels_is_one_protocol(labels: str, expected: list[bool]) -> None:
    assert valid(replace(OWN, labels=labels)) == expected
    random = replace(OWN, labels=labels, pretraining=UNTRAINED, weights="")
    assert valid(random) == expected


@pytest.mark.parametrize(
    ("tier", "data", "expected"),
    [
        ("300", "919", False),
        ("919", "300", False),
        ("300", "train-full", False),
        ("300", "imagenet-1k", False),
        ("919", "train-full", True),
        ("919", "imagenet-1k", True),
        ("919", "ImageNet-22k", False),
        ("8", "8", True),
        ("300", "", None),
        ("", "300", False),
        ("", "", None),
    ],
)
def test_pretraining_has_seen_the_images_of_the_tier_alone(
    tier: str, data: str, expected: bool | None
) -> None:
    used = Used(tier, Pretraining(data, "none"), TUNING, "ab12")
    assert judge(used)["semi"].valid is expected
    assert judge(used)["free"].valid is True
    assert judge(used)["distance"].valid is False


def test_every_reason_is_told() -> None:
    used = Used("50", Pretraining("LAION", "other"), REFERENCES, "ab12", regions="SAM")
    why = judge(used)["semi"].why
    for part in ("were references", "regions of SAM", "supervision (other)", "LAION, not on tier"):
        assert part in why
    told = verdicts_text(used.document())
    assert told.count("\n") == len(PROTOCOLS)
    assert "free                yes      anything is allowed" in told


def test_half_of_what_is_said_does_not_tell() -> None:
    assert judge(replace(OWN, pretraining=Pretraining("300")))["unsupervised"].valid is None
    labels = replace(OWN, pretraining=Pretraining("", "labels"))
    assert judge(labels)["unsupervised"].valid is False
