"""The facts of ImageNet-S, in one place: tiers, counts, merges, addresses, digests.

Source: the lists of github.com/LUSSeg/ImageNet-S (Gao et al., "Large-scale Unsupervised Semantic
Segmentation", TPAMI 2022, arXiv:2106.03149). A custom tier is read from an index folder.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from imagenets import paths
from imagenets.errors import MissingError, UsageError

SPLITS = ("train", "train-semi", "validation", "test", "train-full")
"""Every split; `train-full` (all 1,000 ILSVRC classes) belongs to tier 919 alone."""

MASKED_SPLITS = ("train-semi", "validation")
"""The splits whose masks are released."""

BUCKETS = ("S", "MS", "ML", "L")
"""Object sizes: a class covers up to 5, 25, 50 percent of its image, or more."""

BUCKET_LIMITS = (5, 25, 50)
"""Upper limits of the first three buckets, in percent of the pixels that are not ignored."""

LISTS_URL = (
    "https://raw.githubusercontent.com/LUSSeg/ImageNet-S/"
    "b2312ba7396151f883362bdc86d71469aa81066e/data"
)
ARCHIVES_URL = "https://github.com/LUSSeg/ImageNet-S/releases/download/ImageNet-S"


@dataclass(frozen=True, slots=True)
class ListFile:
    """One published list.

    Attributes:
        path: Path below the index folder, `categories/...`, `mapping/...` or `names/...`.
        bytes: Size of the published file; None where it is not pinned (custom tiers).
        lines: Number of records; None where it is not pinned.
        sha256: Digest of the published file; None where it is not pinned.
    """

    path: str
    bytes: int | None = None
    lines: int | None = None
    sha256: str | None = None


@dataclass(frozen=True)
class Tier:
    """A class subset of the benchmark, or a custom one.

    Attributes:
        name: "50", "300", "919", or the name of a custom tier: it stands in every file name.
        lists: The lists that define it.
        archive_md5: Digest in the name of the mask archive; None for a custom tier.
        counts: Images a split; empty for a custom tier.
        merges: ILSVRC class -> the class it is merged into.
    """

    name: str
    lists: tuple[ListFile, ...]
    archive_md5: str | None = None
    counts: Mapping[str, int] = field(default_factory=dict)
    merges: Mapping[str, str] = field(default_factory=dict)

    @property
    def official(self) -> bool:
        """Whether this is one of the three published tiers."""
        return TIERS.get(self.name) is self

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits this tier has: `train-full` only where it is published."""
        return SPLITS if "train-full" in self.counts else SPLITS[:-1]

    @property
    def folder(self) -> str:
        """Name of the tier's folder and prefix of its archive, such as `ImageNetS919`."""
        return paths.set_name(self.name)

    @property
    def archive(self) -> str | None:
        """File name of the published mask archive, None for a custom tier."""
        return f"{self.folder}-{self.archive_md5}.zip" if self.archive_md5 else None


def list_paths(name: str) -> dict[str, str]:
    """Says where the lists of a tier lie below an index folder.

    Args:
        name: Of the tier, such as "50", or of a custom one; no tier of that name need exist.

    Returns:
        What each list holds ("categories", "mapping-validation", "mapping-test",
        "names-validation", "names-train-semi") -> its path, relative to the index folder.
    """
    return {
        "categories": f"categories/ImageNetS_categories_im{name}.txt",
        "mapping-validation": f"mapping/ImageNetS_im{name}_mapping_validation.txt",
        "mapping-test": f"mapping/ImageNetS_im{name}_mapping_test.txt",
        "names-validation": f"names/ImageNetS_im{name}_validation.txt",
        "names-train-semi": f"names/ImageNetSemi_im{name}_train.txt",
    }


_LISTS = {
    "50": (
        ListFile(
            "categories/ImageNetS_categories_im50.txt",
            499,
            50,
            "cba1701f5d94bf0dfbb40f2d529daab362dff552b9bfcea4bcdddbb5fcf762ad",
        ),
        ListFile(
            "mapping/ImageNetS_im50_mapping_validation.txt",
            58655,
            752,
            "d51e06461f83d3742527768a86e7cb2543adad64ba273cd22dfb27d57ea02458",
        ),
        ListFile(
            "mapping/ImageNetS_im50_mapping_test.txt",
            131195,
            1682,
            "27b06a0b774f2a47b7660cee64187bf051ed98b734a0402f4b0c00e04f1dcbb4",
        ),
        ListFile(
            "names/ImageNetS_im50_validation.txt",
            57903,
            752,
            "683614c6dd07d508e26862b24b3bcffccb919e50ee1ad1d14eb0e809ba8ee979",
        ),
        ListFile(
            "names/ImageNetSemi_im50_train.txt",
            29787,
            500,
            "830e654142938b28f8856951bc4b264018cc1c13bf577777bb1359cf37a7f969",
        ),
    ),
    "300": (
        ListFile(
            "categories/ImageNetS_categories_im300.txt",
            2999,
            300,
            "9327409a512019ff7be95354f33daf2735852c04fecd0ac261790ce23e4115ca",
        ),
        ListFile(
            "mapping/ImageNetS_im300_mapping_validation.txt",
            319565,
            4097,
            "d887652204f140a57775740f000ea7660f7e34a458d7bcfcf9b3898501351482",
        ),
        ListFile(
            "mapping/ImageNetS_im300_mapping_test.txt",
            708863,
            9088,
            "94f26c4bc8c1acf4b2756138055c621df01b064094d863289cd3d6c81476cb64",
        ),
        ListFile(
            "names/ImageNetS_im300_validation.txt",
            315468,
            4097,
            "36f9cbe4b3be25ccf6875e1627347d084ddd5a19971ff167ede5f8eafa4a3a41",
        ),
        ListFile(
            "names/ImageNetSemi_im300_train.txt",
            178665,
            3000,
            "05f032374bd7a9a81213828940809e09e1eeedc5b43d78a4e41c1d64cb7e492a",
        ),
    ),
    "919": (
        ListFile(
            "categories/ImageNetS_categories_im919.txt",
            9189,
            919,
            "b2ee89cf2d5def583dcea806b8cc99def3d9bb7355ae981fc4c986c6d8dec1da",
        ),
        ListFile(
            "mapping/ImageNetS_im919_mapping_validation.txt",
            968681,
            12419,
            "52de0512c75cd04289f1b5be7fe2aad932a6f6e47288947d63e724985c5904b3",
        ),
        ListFile(
            "mapping/ImageNetS_im919_mapping_test.txt",
            2138993,
            27423,
            "b2e60b72dafe47c71ba3d912d912dce5d4b612aae60ee6dfbdd95d780133dd61",
        ),
        ListFile(
            "names/ImageNetS_im919_validation.txt",
            956262,
            12419,
            "76b5e5ca74b4270568d8197a6aa7bf1c658859da84966d9308d11263fda9a83c",
        ),
        ListFile(
            "names/ImageNetSemi_im919_train.txt",
            547125,
            9190,
            "d8a33edfeda5ea6a302fbf5bfc41735dc6b8f3d525a7dfc09bc5cb39d6ec44db",
        ),
    ),
}

_MERGES = MappingProxyType(
    {
        "n04356056": "n04355933",
        "n04493381": "n02808440",
        "n03642806": "n03832673",
        "n04008634": "n03773504",
        "n03887697": "n15075141",
    }
)

TIERS: Mapping[str, Tier] = MappingProxyType(
    {
        "50": Tier(
            "50",
            _LISTS["50"],
            "a0fe9d82231f9bc4787ee76e304dfa51",
            {"train": 64_431, "train-semi": 500, "validation": 752, "test": 1_682},
        ),
        "300": Tier(
            "300",
            _LISTS["300"],
            "dd8e42e156bac415a35c3c239de297bf",
            {"train": 384_862, "train-semi": 3_000, "validation": 4_097, "test": 9_088},
        ),
        "919": Tier(
            "919",
            _LISTS["919"],
            "5f7f58ae1003d21da9409a8576bf7680",
            {
                "train": 1_183_322,
                "train-semi": 9_190,
                "validation": 12_419,
                "test": 27_423,
                "train-full": 1_281_167,
            },
            _MERGES,
        ),
    }
)


def get_tier(name: str | int, index: Path | None = None) -> Tier:
    """Finds a tier by name.

    Args:
        name: "50", "300", "919", or the name of a custom tier, whose lists carry it.
        index: Index folder that holds the lists of a custom tier.

    Returns:
        The published tier, or one made from the lists in `index`.

    Raises:
        UsageError: Not a published tier, and no index folder is given.
        MissingError: The index folder lacks a list of this tier.
    """
    name = str(name)
    if name in TIERS:
        return TIERS[name]
    if index is None:
        raise UsageError(
            f"there is no tier {name!r}: choose 50, 300, 919 or all; a custom tier needs "
            f"--index FOLDER with its lists ({list_paths(name)['categories']} and so on)."
        )
    expected = list_paths(name).values()
    lost = [path for path in expected if not (index / path).is_file()]
    if lost:
        raise MissingError(
            f"{index}: the index folder lacks {', '.join(lost)}, needed for the custom tier "
            f"{name!r}. Put the lists there, or name the tier whose lists it holds."
        )
    return Tier(name, tuple(ListFile(path) for path in expected))
