"""Every raw form of ImageNet behind one look-up: file stem -> bytes."""

from __future__ import annotations

from imagenets.data.sources.images import RawImages
from imagenets.data.sources.look import FORMS, KINDS, open_sources
from imagenets.data.sources.parts import Location

__all__ = ["FORMS", "KINDS", "Location", "RawImages", "open_sources"]
