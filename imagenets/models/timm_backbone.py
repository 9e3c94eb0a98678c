"""Any model of timm as a backbone: `timm:NAME`."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from imagenets.errors import DependencyError, UsageError
from imagenets.models.backbone import OneMap, as_grid, looked_at, split_tokens

_HEADS = ("fc_norm", "attn_pool")
"""Parts of timm's heads beside the classifier: features do not pass through them."""


class TimmBackbone(OneMap):
    """The features of a timm model: the last map of a CNN, or the patch tokens of a transformer.

    What comes after the features (pooling, classifier) is left out, so that weights of it are not
    asked for. The normalisation is that of the model. Where the model takes images of any size,
    with sides that are multiples of its patches, it gets such; else squares of its own size.

    Args:
        model: timm's name of it, with or without the tag of its weights.
        pretrained: Whether timm brings its own weights, from its cache or the network.

    Raises:
        DependencyError: timm is not installed.
        UsageError: timm has no such model, or no weights of it that can be had here; or its
            features are no grid.
    """

    def __init__(self, model: str, pretrained: bool = False) -> None:
        super().__init__()
        self.name = f"timm:{model}"
        self.backbone = _create(model, pretrained)
        theirs: Any = self.backbone
        config = theirs.pretrained_cfg
        self.mean, self.std = tuple(config["mean"]), tuple(config["std"])
        self._first = int(getattr(theirs, "num_prefix_tokens", 0) or 0)
        self._channels_last = getattr(theirs, "output_fmt", "NCHW") == "NHWC"
        self._step = 0  # of tokens, in pixels
        self._try_sizes(config)
        with _watched(theirs) as seen:
            self.measure()
        _leave_out(theirs, config)
        self.attends = self._first > 0 and len(seen) == 1 and self._is_of_patches(seen[0])

    def grid(self, images: Tensor) -> Tensor:
        """Computes the map; see `OneMap.grid`."""
        theirs: Any = self.backbone
        return self._laid_out(theirs.forward_features(images), images)

    def attended(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Computes the map and the class token's attention in the last block; see `Backbone`."""
        if not self.attends:
            return super().attended(images)
        with _watched(self.backbone) as seen:
            grid = self.grid(images)
        return grid, looked_at(seen[-1], self._first, (grid.shape[2], grid.shape[3]))

    def layer_groups(self) -> list[list[nn.Parameter]]:
        """All parameters by timm's own groups of layers, where the model has them."""
        theirs: Any = self.backbone
        if not hasattr(theirs, "group_matcher"):
            return super().layer_groups()
        from timm.models import group_parameters

        found = group_parameters(theirs, theirs.group_matcher(coarse=False))
        named = dict(theirs.named_parameters())
        return [[named[name] for name in found[layer]] for layer in sorted(found)]

    def _is_of_patches(self, attention: Tensor) -> bool:
        """Whether an attention of the image that `measure` takes is between its tokens."""
        side = self.probe_side // self.strides[0]
        return tuple(attention.shape[2:]) == (self._first + side**2,) * 2

    def _laid_out(self, features: Any, images: Tensor) -> Tensor:
        """Turns what `forward_features` gives into N x F x h x w."""
        if not isinstance(features, Tensor) or features.ndim not in (3, 4):
            raise UsageError(f"{self.name}: its features are no grid. Choose another model.")
        if features.ndim == 4:
            return features.permute(0, 3, 1, 2) if self._channels_last else features
        rows, columns = (length // self._step for length in images.shape[2:])
        return as_grid(features, self._first, (rows, columns))

    def _try_sizes(self, config: dict[str, Any]) -> None:
        """Finds which images it takes, by trying where timm says that not every size will do."""
        if not config.get("fixed_input_size"):
            return
        own = config["input_size"][-1]
        self._step = _step(self._features(own, own), own, self._first, self._channels_last)
        if self._takes(6, 8):
            self.patch = self._step
        else:
            self.size = own

    def _takes(self, rows: int, columns: int) -> bool:
        """Whether an image of so many steps gives a map of so many."""
        height, width = rows * self._step, columns * self._step
        try:
            found = self._laid_out(self._features(height, width), torch.empty(0, 3, height, width))
        except UsageError:  # another number of tokens
            return False
        except (AssertionError, RuntimeError, ValueError):  # what timm's models raise
            return False
        return tuple(found.shape[2:]) == (rows, columns)

    @torch.inference_mode()
    def _features(self, rows: int, columns: int) -> Any:
        theirs: Any = self.backbone.eval()
        features = theirs.forward_features(torch.zeros(1, 3, rows, columns))
        self.backbone.train()
        return features


def _create(model: str, pretrained: bool) -> nn.Module:
    try:
        import timm
    except ImportError as error:
        raise DependencyError(
            f"timm:{model} needs timm: pip install 'imagenets[timm]' (or pip install timm)."
        ) from error
    if not timm.is_model(model):
        near = ", ".join(difflib.get_close_matches(model, timm.list_models(), 5))
        hint = f" There are {near}." if near else ""
        raise UsageError(f"timm {timm.__version__} has no model {model!r}.{hint}")
    settings: dict[str, Any] = {"pretrained": pretrained, "num_classes": 0}
    try:
        try:
            made = timm.create_model(model, dynamic_img_size=True, **settings)
        except TypeError:  # no transformer whose position embedding can be resized
            made = timm.create_model(model, **settings)
    except (OSError, RuntimeError, ValueError) as error:
        why = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UsageError(
            f"timm:{model}: timm cannot make it ({why}). Is the network or timm's cache there? "
            "Else give a file of weights."
        ) from error
    network: nn.Module = made
    return network


def _step(features: Any, side: int, first: int, channels_last: bool) -> int:
    """Pixels between two features of a square image."""
    if not isinstance(features, Tensor) or features.ndim not in (3, 4):
        return side
    if features.ndim == 3:
        return side // split_tokens(features.shape[1], first)
    return side // features.shape[1 if channels_last else 2]


def _leave_out(model: nn.Module, config: dict[str, Any]) -> None:
    """Takes away the parts of the head, so that their weights are not missed."""
    named = config.get("classifier") or ()
    classifiers = (named,) if isinstance(named, str) else tuple(named)
    for name in {*_HEADS, *(one.split(".")[0] for one in classifiers)}:
        if isinstance(getattr(model, name, None), nn.Module):
            setattr(model, name, nn.Identity())


@contextmanager
def _watched(model: nn.Module) -> Iterator[list[Tensor]]:
    """Lets the last block's attention keep what its softmax gives, where that can be seen."""
    blocks = getattr(model, "blocks", None)
    last = blocks[-1] if isinstance(blocks, nn.Sequential | nn.ModuleList) and len(blocks) else None
    attention: Any = getattr(last, "attn", None)
    dropout = getattr(attention, "attn_drop", None)
    seen: list[Tensor] = []
    if not isinstance(dropout, nn.Module) or not hasattr(attention, "fused_attn"):
        yield seen
        return
    fused = attention.fused_attn
    attention.fused_attn = False
    hook = dropout.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    try:
        yield seen
    finally:
        hook.remove()
        attention.fused_attn = fused
