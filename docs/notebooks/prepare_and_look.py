# %% [markdown]
# # Prepare ImageNet-S and look at it
#
# No data and no network are needed: a small set of made-up photographs stands for ImageNet. All
# that follows is the same for the real one, which `imagenets.prepare` makes of raw ImageNet.

# %%
import numpy as np
from PIL import Image

import imagenets
from imagenets import ImageNetS, Loader, Pad, RandomResizedCrop, ResizeCrop, Squash
from imagenets.palette import overlay

report = imagenets.prepare_sample("try")
report.splits

# %% [markdown]
# Images and masks now lie in shards, a few large files. Run the cell again: nothing is done
# twice. For the real set: `imagenets.prepare(50, imagenet="/data/imagenet", root="imagenet-s")`.
#
# `ImageNetS` opens one split. `classes` is the tier: 50, 300 or 919; the sample is tier 6.

# %%
data = ImageNetS("try", "validation", classes=6)
data

# %%
sample = data[0]
{key: value.shape if hasattr(value, "shape") else value for key, value in sample.items()}

# %% [markdown]
# In a mask, 0 is background ("other"), 1 to K are the classes, and 1000 is ignored: edges of
# which nobody can say what they show. Leave these pixels out of every loss and score.

# %%
ids, pixels = sample["mask"].unique(return_counts=True)
dict(zip(ids.tolist(), pixels.tolist(), strict=True))

# %% [markdown]
# `plot` lays the mask over the photograph, in a fixed colour for each class. Ignored pixels are
# white.

# %%
data.plot(0, names=True)

# %% [markdown]
# One image of each class. `subset_per_class` gives the same images on every machine. They differ
# in size, so a view brings them to one; it moves image and mask alike.


# %%
def row(pictures):
    """Pictures of one height (3 x H x W, or H x W x 3 bytes), side by side."""
    arrays = [np.asarray(picture) for picture in pictures]
    upright = [one.transpose(1, 2, 0) if one.shape[0] == 3 else one for one in arrays]
    return Image.fromarray(np.concatenate(upright, axis=1))


def masked(sample):
    """The photograph with its mask over it."""
    return overlay(sample["image"].permute(1, 2, 0).numpy(), sample["mask"].numpy())


few = data.subset_per_class(1)
few.transform = ResizeCrop(128, 128)
row(masked(one) for one in few)

# %% [markdown]
# ## Views
#
# A network sees an image resized and cut. The usual ways, each with the mask moved alike; what
# `Pad` adds is ignored in the mask.

# %%
views = [ResizeCrop(148, 128), Squash(128), Pad(128)]
row(masked(view(data[4])) for view in views)

# %% [markdown]
# ## The mask of the label
#
# An image has an ImageNet-1k label, and is filed under the class of its largest object. The two
# differ for one validation image in eight of the real set. To measure heat maps, ask for the mask
# of the label: 1 is the object, 0 is not, 255 is ignored. (The classes of the sample are none of
# ImageNet's, which a warning says.)

# %%
labelled = ImageNetS("try", "validation", classes=6, target="label")
apart = labelled.subset(labelled.class_ids != labelled.target_ids)
print(f"{len(apart)} of {len(labelled)} images have a label that is not their folder's class")

# %% [markdown]
# One of them: the photograph, all classes in its mask, and the target of its label.

# %%
one = ResizeCrop(128, 128)(apart[0])
shades = np.zeros(256, np.uint8)
shades[1], shades[255] = 255, 128
target = shades[one["target"].numpy()]
row([one["image"], masked(one), np.stack([target] * 3, axis=-1)])

# %% [markdown]
# ## Batches
#
# `Loader` decodes in worker processes, and no more of a JPEG than the crop needs. Images come as
# bytes: copy them to the device, and make floats there.

# %%
train = ImageNetS("try", "train-semi", classes=6)
loader = Loader(train, batch_size=6, crop=RandomResizedCrop(128), shuffle=True, seed=1)
batch = next(iter(loader))
print(batch.crops.shape, batch.crops.dtype, batch.crop_masks.shape, batch.class_ids.tolist())
row(batch.crops)

# %%
row(
    overlay(image.permute(1, 2, 0).numpy(), mask.numpy())
    for image, mask in zip(batch.crops, batch.crop_masks, strict=True)
)

# %% [markdown]
# ## Next
#
# Train on it: the notebook `tiny_baseline.py`. Ten jobs in ten lines each: `docs/questions.md`.
# The real set: `docs/prepare.md`.
