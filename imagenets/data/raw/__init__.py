"""Every raw form of ImageNet behind one look-up: file stem -> bytes."""

from __future__ import annotations

from imagenets.data.raw.detect import FORMS, KINDS, open_sources
from imagenets.data.raw.images import RawImages
from imagenets.data.raw.parts import Location

__all__ = ["FORMS", "KINDS", "Location", "RawImages", "open_sources"]
