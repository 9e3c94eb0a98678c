# %% [markdown]
# # A tiny baseline: train, score, look
#
# PASS, the baseline of the paper, learns to segment without any label. Here it does so on made-up
# photographs, with a small network and few epochs: ten minutes of one CPU core. Its numbers say
# nothing about the real set; every step is the real one.

# %%
import numpy as np
from PIL import Image

import imagenets
from imagenets import ImageNetS, masks
from imagenets.evaluation import matching
from imagenets.evaluation.tables import image_rows
from imagenets.palette import overlay

imagenets.prepare_sample("try")
run = imagenets.train(
    "try", preset="sample-plus", epochs={"pretrain": 4, "attention": 2, "finetune": 2}
)
run

# %% [markdown]
# Six steps were done: a network learns from crops of the images alone (`pretrain`) and where
# objects are (`attention`); k-means groups the images (`cluster`); every pixel gets a group or
# background (`pseudo`); a second network learns these labels (`finetune`), and predicts the
# validation images (`predict`). Each left a folder in `run.out`. Run the cell again, or after an
# interruption: what is done stays.
#
# ## The score
#
# The ids are generated ones. `score` finds out which of them is which class, on the validation
# images, and then scores.

# %%
found = imagenets.score("try")
print(found)

# %% [markdown]
# `mIoU` is the mean over all classes and background of intersection over union, `mBIoU` the same
# along edges. S, MS, ML and L take objects of one size each.
#
# ## Three ways to choose
#
# A threshold parts objects from background, and a match says which id is which class. Whoever
# chooses them on the images that are scored gets too high a score. So the page has three ways:
#
# - `optimistic`: both are chosen on the images that are scored. This is the published way;
#   compare it with published numbers.
# - `cross-fit`: both are chosen on one half of the images, and the other half is scored.
#   (`cross-fit match`: only the match is.)
# - `otsu`: the threshold follows from the attention alone, without any ground truth.
#
# `final` are the masks of the second network, `labels` those that it learned from.

# %%
for way in found.document["results"]:
    low, high = way["interval"]["mIoU"]
    print(f"{way['masks']:7}{way['protocol']:16}{way['mIoU']:6.1f}   ({low:.1f} to {high:.1f})")

# %% [markdown]
# The intervals say what other images would give; another seed may differ by more.
#
# ## The masks
#
# From left to right: the photograph, the published mask, the predicted one with the match
# applied.

# %%
data = ImageNetS("try", "validation", classes=6)
match = matching.load(run.out / "match.json", len(data.classes))


def beside(index):
    """A photograph, its ground truth and its prediction, side by side."""
    photo = data[index]["image"].permute(1, 2, 0).numpy()
    predicted = masks.load(run.out / "predict" / "validation" / f"{data.names[index]}.png")
    colored = overlay(photo, matching.apply(match, predicted))
    return Image.fromarray(np.concatenate([data.plot(index), colored], axis=1))


beside(0)

# %% [markdown]
# Which images went best and worst? The counts of every image are there.

# %%
rows = image_rows(found.scores.counts, found.scores.names)  # the worst first
worst, best = rows[0], rows[-1]
for row in (worst, best):
    print(f"{row.name}: IoU {row.iou:.1f}, F-measure {row.fmeasure:.1f}")

# %%
beside(list(data.names).index(best.name))

# %% [markdown]
# ## The page of the run
#
# Curves, scores, classes, confusions, the best and the worst images, in one file.

# %%
page = imagenets.report("try")
print(page.resolve().as_uri())

# %% [markdown]
# ## Next
#
# More epochs, or `preset="sample"` for the published method without additions. Your own backbone,
# photographs of your own, submissions: `docs/questions.md`. What every setting does:
# `docs/baseline.md`.
