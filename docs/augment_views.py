"""Draws docs/augment.jpg: one picture, the boxes of its views, the views, and the grid points.

    python docs/augment_views.py docs/augment.jpg

The picture is one of the generated sample (`imagenets-prepare --sample`); no photograph.
"""

from __future__ import annotations

import sys

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from imagenets.data import augment
from imagenets.data.raw import synthetic_images as drawing

GROUPS = (augment.ViewGroup(2, 224, (0.14, 1.0)), augment.ViewGroup(6, 96, (0.05, 0.14)))
COLOURS = ("#e6194b", "#4363d8", "#f58231", "#3cb44b", "#911eb4", "#42d4f4", "#f032e6", "#ffe119")
GAP = 12


def picture() -> Image.Image:
    scene = drawing.draw(np.random.default_rng(21), 3)
    return Image.fromarray(scene.rgb).resize((500, 375), Image.Resampling.BICUBIC)


def dots(canvas: Image.Image, points: Tensor, colour: str) -> None:
    """Marks P x 2 points, pixels."""
    pen = ImageDraw.Draw(canvas)
    for x, y in points.tolist():
        pen.ellipse((x - 2.5, y - 2.5, x + 2.5, y + 2.5), fill=colour, outline="black")


def in_picture(grid: Tensor, box: Tensor, flip: bool) -> Tensor:
    """G x G x 2 of one view, in the picture's pixels."""
    own = (grid.reshape(-1, 2) + 1) / 2
    x = 1 - own[:, 0] if flip else own[:, 0]
    return box[:2] + torch.stack([x, own[:, 1]], 1) * box[2:]


def main(target: str) -> None:
    image = picture()
    pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)
    sizes = torch.tensor([[image.width, image.height]])
    params = augment.draw_groups(sizes, GROUPS, torch.Generator().manual_seed(6))
    groups = augment.apply_groups([pixels], params, mean=(0, 0, 0), std=(1, 1, 1))
    grid = augment.grids(params[0])[0][0]
    sheet = Image.new("RGB", (500 + 2 * 224 + 4 * GAP, 375 + 2 * GAP), "white")
    pen = ImageDraw.Draw(image)
    boxes = torch.cat([group.boxes[:, 0] for group in params])
    for (left, top, width, height), colour in zip(boxes.tolist(), COLOURS, strict=True):
        pen.rectangle((left, top, left + width - 1, top + height - 1), outline=colour, width=3)
    dots(image, in_picture(grid, boxes[0], bool(params[0].flips[0, 0])), "white")
    sheet.paste(image, (GAP, GAP))
    views = [view[0] for group in groups for view in group]
    for index, (view, colour) in enumerate(zip(views, COLOURS, strict=True)):
        array = (view.permute(1, 2, 0) * 255).round().byte().numpy()
        shown = Image.fromarray(array)
        if index < 2:
            own = augment.grids(params[0])[index][0].reshape(-1, 2)
            dots(shown, (own + 1) / 2 * shown.width, "white")
        side = shown.width if index < 2 else 70
        shown = shown.resize((side, side), Image.Resampling.BICUBIC)
        ImageDraw.Draw(shown).rectangle((0, 0, side - 1, side - 1), outline=colour, width=3)
        place = (500 + 2 * GAP + index * (224 + GAP), GAP)
        if index >= 2:
            place = (500 + 2 * GAP + (index - 2) * 77, 224 + 3 * GAP)
        sheet.paste(shown, place)
    sheet.save(target, quality=88)


if __name__ == "__main__":
    main(*sys.argv[1:])
