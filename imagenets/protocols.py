"""The benchmark's protocols: what each one allows, as data, and which ones a result keeps to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from types import MappingProxyType
from typing import Any

RULES = (
    "pre-training on the images of the same tier only (weights of 919 may not start 300 or 50)",
    "unsupervised pre-training only",
    "label generation and fine-tuning",
    "fine-tuning on the 1 % of images with labels (train-semi)",
    "supervised pre-training, extra data, supervised edges or saliency",
)

UNUSED, REFERENCES, TUNING = "unused", "references", "fine-tuning"
LABELS: Mapping[str, str] = MappingProxyType(
    {
        UNUSED: "were not used",
        REFERENCES: "were references",
        TUNING: "were fine-tuned on",
    }
)
"""What the masks of train-semi can be for, and in words."""

NOTHING = "nothing"
"""What random weights were pretrained on."""

SUPERVISIONS = ("none", "labels", "other")
"""With what weights were pretrained: `other` is edges, saliency, texts and the like."""

SUPERPIXELS = "superpixels"
"""Regions of the image's colours alone, which no protocol forbids."""

REGIONS = (SUPERPIXELS, "sam", "other")
"""What can have made the regions of a result; `other` saw other data or labels."""

ALL_CLASSES = ("train-full", "imagenet-1k")
"""Names of all 1,000 classes of ImageNet, which tier 919 may be pretrained on."""


@dataclass(frozen=True, slots=True)
class Protocol:
    """One protocol.

    Attributes:
        name: As on the command line.
        title: As in the tables of the benchmark.
        allows: "yes", "no" or "any" for each of `RULES`; "" where the protocol has no such step.
        labels: What the masks of train-semi are for: one of `LABELS`; empty: anything.
        needs_match: Whether a submission carries `match.json`.
    """

    name: str
    title: str
    allows: tuple[str, str, str, str, str]
    labels: str
    needs_match: bool = False

    def text(self) -> str:
        """Writes the rules for people.

        Returns:
            The protocol's title, then each of `RULES` on its own line behind its answer in
            `allows`; `-` stands for an answer that is empty.
        """
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
                "unsupervised", "fully unsupervised", ("yes", "", "yes", "", "no"), UNUSED, True
            ),
            Protocol("distance", "distance matching", ("yes", "yes", "", "", "no"), REFERENCES),
            Protocol("semi", "semi-supervised", ("yes", "", "", "yes", "no"), TUNING),
            Protocol("free", "free", ("any", "", "", "", "yes"), ""),
        )
    }
)


@dataclass(frozen=True, slots=True)
class Pretraining:
    """What weights were pretrained with, as far as it is said.

    Attributes:
        data: `NOTHING`; a tier, for its training images; one of `ALL_CLASSES`; other words for
            other images; empty: it is not said.
        supervision: One of `SUPERVISIONS`; empty: it is not said.
    """

    data: str = ""
    supervision: str = ""


UNTRAINED = Pretraining(NOTHING, "none")
"""Of weights that are random at the start."""


@dataclass(frozen=True, slots=True)
class Used:
    """What a result was made with, as far as protocols ask.

    Attributes:
        tier: The tier; empty: not known.
        pretraining: Of the weights at the start.
        labels: What the masks of train-semi were for: one of `LABELS`.
        weights: Digest of the weights at the start, or in words where they are from; empty: random.
        regions: Segments of images that someone else's method made; empty: none.
    """

    tier: str
    pretraining: Pretraining
    labels: str
    weights: str = ""
    regions: str = ""

    def document(self) -> dict[str, Any]:
        """Gives what the files of scores say of it.

        Returns:
            A dict that fits JSON. `used` holds the fields of this object, `valid_for` the `valid`
            and `why` of `Verdict` for each name of `PROTOCOLS`.
        """
        found = {name: asdict(verdict) for name, verdict in judge(self).items()}
        return {"used": asdict(self), "valid_for": found}


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a result keeps to a protocol.

    Attributes:
        valid: Whether it does; None: what is said of it does not tell.
        why: In words.
    """

    valid: bool | None
    why: str


VALID: Mapping[bool | None, str] = MappingProxyType({True: "yes", False: "no", None: "unknown"})
"""What a verdict is called."""


def judge(used: Used) -> dict[str, Verdict]:
    """Judges a result by every protocol.

    A verdict is unknown where it is not said what the pretraining has seen, unless something else
    breaks the rules.

    Args:
        used: What the result was made with.

    Returns:
        Name of each of `PROTOCOLS` -> verdict. `free` is always valid.
    """
    return {name: _judged(used, protocol) for name, protocol in PROTOCOLS.items()}


def verdicts_text(document: Mapping[str, Any]) -> str:
    """Writes the verdicts for people.

    Args:
        document: What `Used.document` gives, or the same read from the JSON of scores.

    Returns:
        A heading, then for each protocol a line with its title, "yes", "no" or "unknown", and why.
    """
    lines = [
        f"  {PROTOCOLS[name].title:<20}{VALID[found['valid']]:<9}{found['why']}"
        for name, found in document["valid_for"].items()
    ]
    return "\n".join(["Valid for the protocols:", *lines])


def _judged(used: Used, protocol: Protocol) -> Verdict:
    if "any" in protocol.allows:
        return Verdict(True, "anything is allowed")
    against = []
    if used.labels != protocol.labels:
        against.append(f"the masks of train-semi {LABELS[used.labels]}")
    if used.regions:
        against.append(f"regions of {used.regions} were used")
    begun = used.pretraining
    if begun.supervision not in ("", "none"):
        against.append(f"the weights were pretrained with supervision ({begun.supervision})")
    if begun.data and not _is_own(begun.data, used.tier):
        against.append(f"the weights were pretrained on {begun.data}, not on tier {used.tier}")
    if against:
        return Verdict(False, "; ".join(against))
    if not (begun.data and begun.supervision and used.tier):
        return Verdict(None, "--pretrained-on and --supervision did not say what weights have seen")
    start = "random weights at the start" if begun == UNTRAINED else f"pretrained on {begun.data}"
    return Verdict(True, f"{start}, no supervision; the masks of train-semi {LABELS[used.labels]}")


def _is_own(data: str, tier: str) -> bool:
    """Whether pretraining has seen images of the tier alone."""
    return data in (NOTHING, tier) or (tier == "919" and data in ALL_CLASSES)
