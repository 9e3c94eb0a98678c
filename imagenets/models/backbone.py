"""What every backbone offers, so that heads and methods need not know which one they hold."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import isqrt

import torch
from torch import Tensor, nn

from imagenets.data.augment import MEAN, STD
from imagenets.data.dataset.views import Squash
from imagenets.data.loader.crops import ShortSide
from imagenets.errors import UsageError

Triple = tuple[float, float, float]

_PROBE, _PROBE_PATCHES = 256, 16
"""Side of the image that a network is tried with: in pixels, or in patches where it has those."""


class Backbone(nn.Module):
    """A network that turns images into feature maps, finest first; subclasses fill it in.

    Attributes:
        name: Its name in the registry.
        channels: Channels of each feature map.
        strides: Pixels of the image that one step on each map spans.
        mean: Of the channels of the images it was made for, of pixels in 0..1.
        std: Likewise.
        patch: Height and width of an image must be multiples of it: a ViT's patch size; 1: any.
        size: Side of the one square image that it takes; None: it takes any that `patch` allows.
        attends: Whether `attended` gives the last attention map.
    """

    name: str
    channels: tuple[int, ...]
    strides: tuple[int, ...]
    mean: Triple = MEAN
    std: Triple = STD
    patch: int = 1
    size: int | None = None
    attends: bool = False

    def maps(self, images: Tensor, levels: Sequence[int] = (-1,)) -> list[Tensor]:
        """Computes feature maps of images.

        Args:
            images: Normalised float images, N x 3 x H x W; see `normalized`.
            levels: Which maps, as indices into `channels`; the last one is the coarsest.

        Returns:
            For each level N x channels x H/stride x W/stride, sizes rounded up.

        Raises:
            TypeError: The subclass does not fill this method in.
        """
        raise TypeError(f"{type(self).__name__} is a backbone without `maps`")

    def attended(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Computes the coarsest feature map and where the class token looks in the last block.

        Args:
            images: Normalised float images, N x 3 x H x W.

        Returns:
            The map N x F x h x w, and the attention N x h x w, which is the class token's row over
            the patches after the softmax, mean of the heads.

        Raises:
            UsageError: The network has no class token that attends to patches.
        """
        raise UsageError(f"{self.name}: has no class token that attends to patches.")

    def layer_groups(self) -> list[list[nn.Parameter]]:
        """Puts all parameters in groups, for learning rates that differ by layer.

        Unless the subclass has groups of its own, they are those of the function `layer_groups`.

        Returns:
            The groups from the input to the output; each parameter is in one of them.
        """
        return layer_groups(self)

    def forward(self, images: Tensor) -> Tensor:
        """Computes the coarsest feature map.

        Args:
            images: Normalised float images, N x 3 x H x W; see `normalized`.

        Returns:
            N x F x h x w, where F is the last of `channels`, and h and w are H and W over the last
            of `strides`, rounded up.
        """
        return self.maps(images)[0]

    def crop(self, side: int) -> ShortSide | Squash:
        """Chooses how a whole image comes in: the crop to give to a `Loader`.

        Args:
            side: Wished short side in pixels; both sides are rounded to multiples of `patch`. A
                network with a `size` gets squares of that, whatever is wished.

        Returns:
            `ShortSide` where the network takes images of any proportions, else `Squash`.
        """
        return ShortSide(side, self.patch) if self.size is None else Squash(self.size)

    def normalized(self, images: Tensor) -> Tensor:
        """Turns pixels into the floats that the network was made for.

        Args:
            images: N x 3 x H x W uint8, on any device; not changed.

        Returns:
            (pixel / 255 - `mean`) / `std` as N x 3 x H x W float32 on the same device.
        """
        mean = torch.tensor(self.mean, device=images.device)[:, None, None]
        std = torch.tensor(self.std, device=images.device)[:, None, None]
        return images.to(torch.float32, copy=True).div_(255).sub_(mean).div_(std)


class OneMap(Backbone):
    """A backbone around another network, which gives one feature map.

    The weights keep the names that they have in that network, see `checkpoints.plain_state`.

    Attributes:
        backbone: The network.
    """

    backbone: nn.Module

    def maps(self, images: Tensor, levels: Sequence[int] = (-1,)) -> list[Tensor]:
        """Computes the one map and gives it for each level; see `Backbone.maps`.

        Args:
            images: Normalised float images, N x 3 x H x W.
            levels: Any number of -1 and 0, which both mean the one map.

        Returns:
            The same N x F x h x w tensor as often as there are levels.

        Raises:
            UsageError: Another level than the only one is asked for.
        """
        if any(level not in (-1, 0) for level in levels):
            raise UsageError(f"{self.name}: gives one feature map, not those of {list(levels)}.")
        grid = self.grid(images)
        return [grid for _ in levels]

    def grid(self, images: Tensor) -> Tensor:
        """Computes the map.

        Args:
            images: Normalised float images, N x 3 x H x W.

        Returns:
            N x F x h x w.

        Raises:
            TypeError: The subclass does not fill this method in.
        """
        raise TypeError(f"{type(self).__name__} is a backbone without `grid`")

    @property
    def probe_side(self) -> int:
        """Side in pixels of the square image that `measure` takes."""
        return self.size or (_PROBE if self.patch == 1 else _PROBE_PATCHES * self.patch)

    def measure(self) -> None:
        """Finds `channels` and `strides` by running the network on one image of zeros.

        Raises:
            UsageError: What comes out is not N x F x h x w, or has no stride.
        """
        side = self.probe_side
        training = self.training
        with torch.inference_mode():
            shape = self.eval().grid(torch.zeros(1, 3, side, side)).shape
        self.train(training)
        if len(shape) != 4 or shape[2] != shape[3] or side % shape[2]:
            raise UsageError(
                f"{self.name}: makes {tuple(shape)} of an image of {side} x {side} pixels, not "
                "1 x F x h x w with h and w a whole fraction of that. Give a function that returns "
                "such a grid of features."
            )
        self.channels, self.strides = (shape[1],), (side // shape[2],)


class Wrapped(OneMap):
    """Any network that gives a grid of features.

    Args:
        network: The network; its weights are used as they are.
        features: What gives N x F x h x w of N x 3 x H x W, such as a method of the network; the
            network itself if None.
        attention: What gives N x h x w of N x 3 x H x W: how much each position of the map counts,
            0 or more; None: it has no attention.
        name: What it is called in files and messages.
        mean: Of the channels of the images it was made for, of pixels in 0..1.
        std: Likewise.
        patch: Height and width of an image must be multiples of it.
        size: Side of the one square image that it takes; None: any.

    Raises:
        UsageError: What comes out is not N x F x h x w.
    """

    def __init__(
        self,
        network: nn.Module,
        features: Callable[[Tensor], Tensor] | None = None,
        *,
        attention: Callable[[Tensor], Tensor] | None = None,
        name: str | None = None,
        mean: Triple = MEAN,
        std: Triple = STD,
        patch: int = 1,
        size: int | None = None,
    ) -> None:
        super().__init__()
        self.backbone = network
        self.name = type(network).__name__ if name is None else name
        self.mean, self.std, self.patch, self.size = mean, std, patch, size
        called = network if features is None else features
        self._features = (called,)  # in a tuple: a module would be registered twice
        self._attention = (attention,)
        self.attends = attention is not None
        self.measure()

    def grid(self, images: Tensor) -> Tensor:
        """Computes the map with the function that was given as `features`.

        Args:
            images: Normalised float images, N x 3 x H x W.

        Returns:
            N x F x h x w.
        """
        found: Tensor = self._features[0](images)
        return found

    def attended(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Computes the map and the attention with the functions that were given.

        Args:
            images: Normalised float images, N x 3 x H x W.

        Returns:
            The map N x F x h x w, and the attention N x h x w, not rescaled.

        Raises:
            UsageError: No function for the attention was given, or it does not give N x h x w.
        """
        attention = self._attention[0]
        if attention is None:
            return super().attended(images)
        grid, found = self.grid(images), attention(images)
        if found.shape != (len(grid), *grid.shape[2:]):
            raise UsageError(
                f"{self.name}: its attention is {tuple(found.shape)}, not one number for each "
                f"position of a map {tuple(grid.shape)}. Give a function that returns such."
            )
        return grid, found


def as_grid(tokens: Tensor, first: int, shape: tuple[int, int]) -> Tensor:
    """Lays the patch tokens of a transformer out on their grid.

    Args:
        tokens: N x T x F: `first` tokens of no patch (class, registers), then h * w row by row.
        first: Number of the tokens that are of no patch.
        shape: Height and width of the grid of patches, h and w.

    Returns:
        N x F x h x w.

    Raises:
        UsageError: There is another number of tokens.
    """
    rows, columns = shape
    if tokens.shape[1] != first + rows * columns:
        raise UsageError(
            f"{tokens.shape[1]} tokens are not {first} and a grid of {rows} x {columns}."
        )
    grid: Tensor = tokens[:, first:].transpose(1, 2).unflatten(2, shape)
    return grid


def looked_at(attention: Tensor, first: int, shape: tuple[int, int]) -> Tensor:
    """Where the class token looks: its row of the attention, mean of the heads.

    Args:
        attention: N x heads x T x T after the softmax; token 0 is the class token.
        first: Number of the tokens that are of no patch; they come before the others.
        shape: Height and width of the grid of patches, h and w.

    Returns:
        N x h x w.
    """
    found: Tensor = attention[:, :, 0, first:].mean(1).unflatten(1, shape)
    return found


def split_tokens(count: int, first: int) -> int:
    """Finds the side of the square grid that patch tokens lie on.

    Args:
        count: Number of all tokens of an image.
        first: Number of those that are of no patch (class, registers).

    Returns:
        Patches along one side, at least 1.

    Raises:
        UsageError: The patches make no square.
    """
    side = isqrt(count - first)
    if side < 1 or side * side + first != count:
        raise UsageError(f"{count} tokens are not {first} and a square grid of patches.")
    return side


def layer_groups(network: nn.Module) -> list[list[nn.Parameter]]:
    """Groups parameters by the longest list of blocks: before it, each block, after it.

    A list is a `ModuleList` or a `Sequential`; of equally long ones the first is taken.

    Args:
        network: Any; one without a list of blocks is one group.

    Returns:
        The groups, those without a parameter left out; each parameter is in one of them.
    """
    lists = [m for m in network.modules() if isinstance(m, nn.ModuleList | nn.Sequential)]
    blocks = list(max(lists, key=len)) if lists else []
    number = {id(p): i for i, block in enumerate(blocks, 1) for p in block.parameters()}
    groups: list[list[nn.Parameter]] = [[] for _ in range(len(blocks) + 2)]
    for parameter in network.parameters():
        started = any(groups[1:])
        groups[number.get(id(parameter), len(blocks) + 1 if started else 0)].append(parameter)
    return [group for group in groups if group]
