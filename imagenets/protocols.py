"""The benchmark's protocols: what each one allows, as data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

RULES = (
    "pre-training on the images of the same tier only (weights of 919 may not start 300 or 50)",
    "unsupervised pre-training only",
    "label generation and fine-tuning",
    "fine-tuning on the 1 % of images with labels (train-semi)",
    "supervised pre-training, extra data, supervised edges or saliency",
)


@dataclass(frozen=True, slots=True)
class Protocol:
    """One protocol.

    Attributes:
        name: As on the command line.
        title: As in the tables of the benchmark.
        allows: "yes", "no" or "any" for each of `RULES`; "" where the protocol has no such step.
        needs_match: Whether a submission carries `match.json`.
    """

    name: str
    title: str
    allows: tuple[str, str, str, str, str]
    needs_match: bool = False

    def text(self) -> str:
        """The rules, one a line."""
        lines = [f"Protocol: {self.title}"]
        lines += [
            f"  {answer or '-':>3}  {rule}" for answer, rule in zip(self.allows, RULES, strict=True)
        ]
        return "\n".join(lines)


PROTOCOLS: Mapping[str, Protocol] = MappingProxyType(
    {
        protocol.name: protocol
        for protocol in (
            Protocol(
                "unsupervised", "fully unsupervised", ("yes", "", "yes", "", "no"), needs_match=True
            ),
            Protocol("distance", "distance matching", ("yes", "yes", "", "", "no")),
            Protocol("semi", "semi-supervised", ("yes", "", "", "yes", "no")),
            Protocol("free", "free", ("any", "", "", "", "yes")),
        )
    }
)
