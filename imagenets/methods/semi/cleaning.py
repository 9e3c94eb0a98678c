"""What a finished run of fine-tuning on train-semi no longer needs."""

from __future__ import annotations

from imagenets.training.cleaning import Leftovers

LEFTOVERS = Leftovers(verb="semi", stages=("train",), trained=("train",))
