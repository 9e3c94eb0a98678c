"""How the weights of checkpoints are called: facts as data, read by `checkpoints.py`."""

from __future__ import annotations

from dataclasses import dataclass

KEYS = ("state_dict", "model", "teacher", "student")
"""Under which a file holds its weights, the first that is there; else they lie bare. DINO and iBOT
evaluate the teacher."""

PREFIXES = ("module.", "_orig_mod.", "backbone.", "base_encoder.", "encoder_q.")
"""What wrappers and heads put before a name: DistributedDataParallel, torch.compile, our heads and
DINO's, MoCo v3, MoCo v1 and v2."""

HEADS = ("head.", "fc.", "classifier.", "pooler.")
"""Of a network that is all backbone: what comes after its features, and need not be given."""

STEP_HEADS = {"finetune": ("last_layer.",), "attention": ("fbg.",)}
"""Heads by which the steps of PASS are told apart; a checkpoint of pretraining has neither."""

POSITIONS = ("pos_embed",)
"""Position embeddings 1 x (tokens of no patch + n * n) x F, which are resized to another grid."""


@dataclass(frozen=True, slots=True)
class Form:
    """How a file of `torch.save` holds weights.

    Attributes:
        key: Under which they lie, one of `KEYS`.
        prefix: Before every name, one of `PREFIXES`.
    """

    key: str
    prefix: str


PUBLISHED = Form("state_dict", "module.")
"""Of the published checkpoints of PASS; the inverse of what reading takes off."""


@dataclass(frozen=True, slots=True)
class Naming:
    """Names of one kind of checkpoint where they differ from timm's, which ours follow.

    Attributes:
        of: Whose they are.
        renames: Patterns and what they become, all applied in this order.
    """

    of: str
    renames: tuple[tuple[str, str], ...]


NAMINGS = (
    Naming(
        "Meta's ConvNeXt (facebookresearch/ConvNeXt)",
        (
            (r"^downsample_layers\.0\.", "stem."),
            (r"^downsample_layers\.(\d)\.", r"stages.\1.downsample."),
            (r"^stages\.(\d+)\.(\d+)\.", r"stages.\1.blocks.\2."),
            (r"\.dwconv\.", ".conv_dw."),
            (r"\.pwconv(\d)\.", r".mlp.fc\1."),
        ),
    ),
    Naming("a ViT whose last norm is called fc_norm", ((r"^fc_norm\.", "norm."),)),
    Naming("Meta's DINOv2 with registers", ((r"^register_tokens$", "reg_token"),)),
)
"""Tried in this order for a name that the network does not have as it is."""
