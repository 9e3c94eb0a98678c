"""What every backbone offers, so that heads and methods need not know which one they hold."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn


class Backbone(nn.Module):
    """A network that turns images into feature maps, finest first; subclasses fill it in.

    Attributes:
        name: Its name in the registry.
        channels: Channels of each feature map.
        strides: Pixels of the image that one step on each map spans.
    """

    name: str
    channels: tuple[int, ...]
    strides: tuple[int, ...]

    def maps(self, images: Tensor, levels: Sequence[int] = (-1,)) -> list[Tensor]:
        """Computes feature maps of N x 3 x H x W images.

        Args:
            images: Normalised float images.
            levels: Which maps, as indices into `channels`; the last one is the coarsest.

        Returns:
            For each level N x channels x H/stride x W/stride, sizes rounded up.
        """
        raise TypeError(f"{type(self).__name__} is a backbone without `maps`")

    def layer_groups(self) -> list[list[nn.Parameter]]:
        """All parameters in groups from the input to the output, for rates that differ by layer."""
        raise TypeError(f"{type(self).__name__} is a backbone without `layer_groups`")

    def forward(self, images: Tensor) -> Tensor:
        """Gives the coarsest feature map."""
        return self.maps(images)[0]
