"""What a network starts from: the weights of a backbone, and the dilations of a search."""

from __future__ import annotations

import logging
from collections.abc import Set
from dataclasses import replace
from pathlib import Path

from imagenets.errors import UsageError
from imagenets.methods.semi.networks import SegNet
from imagenets.models.checkpoints import (
    LoadReport,
    load_weights,
    plain_name,
    plain_state,
    read_state,
)
from imagenets.models.rfnext import MODES, RFConvNeXt

log = logging.getLogger(__name__)

_CLASSIFIER = "head."
"""Of the pretrained network: it knows other classes."""

_OF_SEARCH = ("sample_weights", "rates", "num_rates", "counter", "current_search_step")
"""Ends of names; pretrained weights have no word in them."""


def start(
    network: SegNet, weights: Path | None, search: Path | None = None, *, partial: bool = False
) -> LoadReport | None:
    """Fills a network with pretrained weights and, of RF-ConvNeXt, dilations.

    `rfsingle` and `rfmultiple` take their dilations from `search` and everything else from
    `weights`; `rfmerge` takes everything from `weights`, a trained `rfmultiple`, and is merged.

    Args:
        network: Of `make_network`; changed in place.
        weights: A checkpoint; None: the weights stay as they are.
        search: Checkpoint of a run of `rfsearch`.
        partial: Accept a backbone that is filled in part.

    Returns:
        What was taken over, what is missing and what is left over; also logged. None without
        weights.

    Raises:
        UsageError: The weights are of another network, or the mode needs other files.
        MissingError: A file is not there.
        CorruptError: A file cannot be read.
    """
    backbone = network.backbone
    _check_files(backbone.name, weights, search)
    if search is not None:
        assert isinstance(backbone, RFConvNeXt)
        _take_rates(backbone, search)
    if weights is None:
        return None
    given = read_state(weights)
    state = dict(given)
    merging = MODES.get(backbone.name) == "merge"
    if merging:
        assert isinstance(backbone, RFConvNeXt)
        _take_rates(backbone, weights)
    else:
        own = {plain_name(name) for name in backbone.state_dict()}
        state = {name: value for name, value in given.items() if _is_wanted(plain_name(name), own)}
        state |= {n: v for n, v in plain_state(network).items() if n.endswith(_OF_SEARCH)}
    report = load_weights(network, state, source=str(weights), allow_partial=partial)
    left_out = tuple(name for name in given if name not in state)
    report = replace(report, unused=report.unused + left_out)
    log.info("%s: %s", weights, report)
    if merging:
        assert isinstance(backbone, RFConvNeXt)
        backbone.merge()
    return report


def _take_rates(backbone: RFConvNeXt, path: Path) -> None:
    try:
        backbone.take_rates({plain_name(n): value for n, value in read_state(path).items()})
    except UsageError as error:
        raise UsageError(f"{path}: {error} Give the checkpoint of a run of RF-ConvNeXt.") from None


def _is_wanted(name: str, own: Set[str]) -> bool:
    """Whether a weight of a file is neither of its classifier nor of a search of dilations."""
    if name.endswith(_OF_SEARCH):
        return False
    return name in own or not name.startswith(_CLASSIFIER)


def _check_files(model: str, weights: Path | None, search: Path | None) -> None:
    mode = MODES.get(model)
    if mode in ("single", "multiple") and search is None:
        raise UsageError(
            f"{model} takes its dilations from a search: give the checkpoint of a run of "
            "rfconvnext_tiny_rfsearch (--search)."
        )
    if mode not in ("single", "multiple") and search is not None:
        raise UsageError(f"{model} takes no dilations from a search: leave --search out.")
    if mode == "merge" and weights is None:
        raise UsageError(
            f"{model} merges a trained network: give the checkpoint of a run of "
            "rfconvnext_tiny_rfmultiple (--weights)."
        )
