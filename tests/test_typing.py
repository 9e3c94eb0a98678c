"""What the documents show passes mypy --strict, so that users' own code can."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

TOP = Path(__file__).parents[1]

USE = """
from imagenets import ImageNetS, Loader, RandomResizedCrop, collate
from torch import Tensor

data = ImageNetS("imagenet-s", "validation", 50)
image: Tensor = data[0]["image"]
names: list[int] = ImageNetS("imagenet-s", transform=lambda sample: 1)[:3].names  # wrong
count: int = ImageNetS("imagenet-s", transform=lambda sample: len(sample["name"]))[0]
for batch in Loader(data, 4, crop=RandomResizedCrop(224)):
    floats: Tensor = batch.crops.float()
    labels: Tensor = batch.crop_masks.long()
first: Tensor = collate([data[0]])["image"][0]
view: ImageNetS = data.subset(data.class_ids == 2)
raw: Tensor = ImageNetS.from_folders("val", "masks.zip")[0]["image"]
long: int = ImageNetS.from_folders("val", transform=lambda sample: len(sample["name"]))[0]
"""


def check(code: str, folder: Path) -> list[str]:
    file = folder / "code.py"
    file.write_text(code)
    call = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(folder), str(file)]
    done = subprocess.run(call, capture_output=True, text=True, check=False, cwd=folder)
    assert done.stdout, done.stderr
    return [line for line in done.stdout.splitlines() if "error:" in line]


@pytest.mark.slow
def test_the_readme_and_usual_code_are_typed(tmp_path: Path) -> None:
    readme = (TOP / "README.md").read_text("utf-8")
    blocks = re.findall(r"```python\n(.*?)```", readme, re.DOTALL)
    assert blocks
    assert check("\n".join(blocks), tmp_path) == []
    (error,) = check(USE, tmp_path)  # the one that is wrong, and nothing is Any
    assert "code.py:7" in error
