"""An image's identity is the stem of its ILSVRC file name, wherever and however it is stored."""

from __future__ import annotations

import re

import numpy as np
import numpy.typing as npt

from imagenets.classes import WNID

STEM_DTYPE = np.dtype("S32")
"""An image's identity: the stem of its ILSVRC file name, as bytes."""

Stems = npt.NDArray[np.bytes_]

# `<stem>.JPEG`, or `<stem>_<wnid>.JPEG` as the Hugging Face archives name them.
_IMAGE = re.compile(
    rf"({WNID}_[0-9A-Za-z]{{1,22}}|ILSVRC2012_val_\d{{8}})((?:_{WNID})?\.(?i:jpe?g|png))".encode()
)
_IMAGES = re.compile(rb"(?<![^/])" + _IMAGE.pattern + rb"(?![^/])")
_PICTURE = re.compile(rb"(?!\._).*\.(?i:jpe?g|png|webp|bmp)", re.DOTALL)


def split_name(name: bytes) -> tuple[bytes, bytes] | None:
    """Splits an ILSVRC file name (no folders) into stem and suffix; None when it is none."""
    match = _IMAGE.fullmatch(name)
    return (match[1], match[2]) if match else None


def stem_of(path: bytes) -> bytes | None:
    """The stem in a path or key, whose suffix may be missing; None when it holds none."""
    name = path[path.rfind(b"/") + 1 :]
    parts = split_name(name) or split_name(name + b".JPEG")
    return parts[0] if parts else None


def split_names(names: list[bytes]) -> list[tuple[bytes, bytes]]:
    """The stem and suffix of every ILSVRC file name among `names`, in order, fast."""
    return _IMAGES.findall(b"/".join(names))  # no name holds a slash


def is_image_name(name: bytes) -> bool:
    """Whether a name looks like that of some image, whatever it is called."""
    return _PICTURE.fullmatch(name) is not None
