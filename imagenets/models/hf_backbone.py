"""Any vision model of transformers as a backbone: `hf:NAME`."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import Tensor

from imagenets.errors import DependencyError, UsageError
from imagenets.models.backbone import OneMap, as_grid, looked_at

_FINEST = 4
"""Pixels of a patch of networks that name none."""

_HALVINGS = 5
"""How often stages may halve a grid of patches, at most."""


class HfBackbone(OneMap):
    """The features of a vision model of transformers: its patch tokens or its last feature map.

    Of a model of images and texts it is the part for images. The normalisation is that of the
    model's image processor. Images may have any size whose sides are multiples of the patches where
    the model resizes its position embedding, else they are squares of the model's own size.

    Args:
        model: Its name on the Hugging Face Hub, or a folder that `save_pretrained` has left.
        pretrained: Whether its weights are read too, from the folder, the Hub's cache or the
            network; else they start at random.

    Raises:
        DependencyError: transformers is not installed.
        UsageError: There is no such model that can be had here; or its features are no grid.
    """

    def __init__(self, model: str, pretrained: bool = False) -> None:
        super().__init__()
        self.name = f"hf:{model}"
        whole, processor = _load(model, pretrained)
        self.backbone = getattr(whole, "vision_model", whole)
        theirs: Any = self.backbone
        self.mean = tuple(processor.get("image_mean") or self.mean)
        self.std = tuple(processor.get("image_std") or self.std)
        parameters = inspect.signature(theirs.forward).parameters
        self._resizes = "interpolate_pos_encoding" in parameters
        self._masks = "noise" in parameters  # a masked autoencoder: it would leave patches out
        if self._masks:
            theirs.config.mask_ratio = 0.0
        self._first = 0  # tokens of no patch
        self._step = _side(getattr(theirs.config, "patch_size", None)) or _FINEST
        self._measure_tokens(theirs.config)
        self.measure()
        self.attends = self._first > 0 and self._shows_attention()

    def grid(self, images: Tensor) -> Tensor:
        """Computes the map; see `OneMap.grid`."""
        return self._laid_out(self._run(images).last_hidden_state, images)

    def attended(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Computes the map and the class token's attention in the last block; see `Backbone`."""
        if not self.attends:
            return super().attended(images)
        theirs: Any = self.backbone
        before = theirs.config._attn_implementation
        theirs.set_attn_implementation("eager")  # the only one that shows its softmax
        try:
            output = self._run(images, output_attentions=True)
        finally:
            theirs.set_attn_implementation(before)
        grid = self._laid_out(output.last_hidden_state, images)
        shape = (grid.shape[2], grid.shape[3])
        return grid, looked_at(output.attentions[-1], self._first, shape)

    def _run(self, images: Tensor, **more: Any) -> Any:
        if self._resizes:
            more["interpolate_pos_encoding"] = True
        if self._masks:  # this noise keeps the patches in their order
            count = (images.shape[2] // self._step) * (images.shape[3] // self._step)
            more["noise"] = torch.arange(count, device=images.device).expand(len(images), count)
        return self.backbone(pixel_values=images, **more)

    def _laid_out(self, features: Tensor, images: Tensor) -> Tensor:
        if features.ndim == 4:
            return features
        rows, columns = (length // self._step for length in images.shape[2:])
        return as_grid(features, self._first, (rows, columns))

    def _measure_tokens(self, config: Any) -> None:
        """Finds how tokens lie on the image, by trying: step, tokens before them, sizes allowed."""
        own = _side(getattr(config, "image_size", None)) or 224
        tokens = self._shape(own, own)
        if len(tokens) == 4:  # a CNN
            return
        steps = [self._step << i for i in range(_HALVINGS)]
        fitting = [step for step in steps if (own // step) ** 2 <= tokens[1]] if tokens else []
        if not fitting:
            raise UsageError(
                f"{self.name}: its features are no grid of patches. Choose another model."
            )
        self._step = fitting[0]
        self._first = tokens[1] - (own // self._step) ** 2
        shape = self._shape(6 * self._step, 8 * self._step)
        if len(shape) == 3 and shape[1] == self._first + 48:
            self.patch = self._step
        else:
            self.size = own

    @torch.inference_mode()
    def _shape(self, rows: int, columns: int) -> tuple[int, ...]:
        """Shape of the features of an image; () where the model refuses it."""
        self.backbone.eval()
        try:
            found = self._run(torch.zeros(1, 3, rows, columns)).last_hidden_state
        except (AssertionError, RuntimeError, ValueError):  # what transformers' models raise
            return ()
        finally:
            self.backbone.train()
        return tuple(found.shape)

    @torch.inference_mode()
    def _shows_attention(self) -> bool:
        """Whether the last attention is one between all tokens."""
        side = self.probe_side
        theirs: Any = self.backbone
        before = theirs.config._attn_implementation
        try:
            theirs.set_attn_implementation("eager")
            output = self._run(torch.zeros(1, 3, side, side), output_attentions=True)
        except (AttributeError, TypeError, ValueError):
            return False
        finally:
            theirs.set_attn_implementation(before)
        found: Any = getattr(output, "attentions", None) or [None]
        count = self._first + (side // self.strides[0]) ** 2
        return found[-1] is not None and tuple(found[-1].shape[2:]) == (count, count)


def _load(model: str, pretrained: bool) -> tuple[Any, dict[str, Any]]:
    """The model and what its image processor says."""
    try:
        from transformers import AutoConfig, AutoModel
        from transformers.image_processing_base import ImageProcessingMixin
    except ImportError as error:
        raise DependencyError(
            f"hf:{model} needs transformers: pip install 'imagenets[hf]' (or pip install "
            "transformers)."
        ) from error
    try:
        made = (
            AutoModel.from_pretrained(model)
            if pretrained
            else AutoModel.from_config(AutoConfig.from_pretrained(model))
        )
    except (OSError, RuntimeError, ValueError, KeyError) as error:
        why = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UsageError(
            f"hf:{model}: transformers cannot make it ({why}). Give a model of the Hub that is in "
            "its cache or can be fetched, or a folder that save_pretrained has left."
        ) from error
    try:
        processor, _ = ImageProcessingMixin.get_image_processor_dict(model)
    except OSError:  # none is kept with it: ImageNet's mean and deviation
        processor = {}
    return made, processor


def _side(given: Any) -> int:
    """A side that is given as a number or as a pair; 0 without."""
    return int(given[0] if isinstance(given, list | tuple) else given or 0)
