"""What the user says of pretrained weights, and what protocols make of it."""

from __future__ import annotations

import argparse
import logging

from imagenets.api import training
from imagenets.errors import UsageError
from imagenets.protocols import PROTOCOLS, SUPERVISIONS, Pretraining, Used, judge

log = logging.getLogger(__name__)

SAYING = "They can still be given: the same command again says it, and trains nothing anew."


def add_pretraining(parser: argparse.ArgumentParser) -> None:
    """Adds what says what the weights were pretrained with."""
    group = parser.add_argument_group("of the weights, for the protocols; kept with the result")
    group.add_argument(
        "--pretrained-on",
        metavar="DATA",
        help="images they were pretrained on: a tier (50, 300, 919), train-full for all 1,000 "
        "classes of ImageNet, or other words",
    )
    group.add_argument(
        "--supervision", choices=SUPERVISIONS, help="with what; other: edges, saliency, texts ..."
    )


def said_of(arguments: argparse.Namespace) -> Pretraining | None:
    """What the options say of the weights; None: nothing.

    Raises:
        UsageError: Random weights were pretrained on something, or half of it is left out.
    """
    return training.said_of(
        arguments.pretrained_on, arguments.supervision, arguments.random_weights
    )


def check_entry(used: Used, name: str, remedy: str = "") -> None:
    """Refuses to enter a result for a protocol that it breaks; warns where that is not known.

    Args:
        used: What it was made with.
        name: Of the protocol.
        remedy: How to enter it for another one, where --protocol is not enough.

    Raises:
        UsageError: It breaks the protocol.
    """
    protocol, found = PROTOCOLS[name], judge(used)[name]
    if found.valid is False:
        others = [other for other, verdict in judge(used).items() if verdict.valid]
        raise UsageError(
            f"not valid for the protocol {protocol.title}: {found.why}. It is for: "
            f"{', '.join(others)}. {remedy or 'Give `imagenets submit` that as --protocol.'}"
        )
    if found.valid is None:
        log.warning("whether this is valid for %s: %s. %s", protocol.title, found.why, SAYING)
