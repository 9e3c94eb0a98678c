"""`imagenets.prepare`: raw ImageNet in, a checked ImageNet-S out."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from imagenets import paths
from imagenets.api.session import absolute, root_folder, session
from imagenets.api.warm import warming
from imagenets.errors import UsageError
from imagenets.tiers import SPLITS, TIERS

if TYPE_CHECKING:
    from imagenets.core.pool import Pool
    from imagenets.data.prepare.config import PrepareConfig
    from imagenets.data.prepare.fetch import Origin
    from imagenets.data.prepare.pack_shard import Options
    from imagenets.data.prepare.run import PrepareReport

QUALITY = 90
"""Of JPEGs that are encoded anew."""

_CHOICES = {
    "layout": ("shards", "tree", "both"),
    "link": ("symlink", "hardlink", "copy"),
    "backend": ("loky", "dask"),
}

_WHERE = """\
Where to get it: https://image-net.org/download (ILSVRC2012_img_train.tar, ILSVRC2012_img_val.tar),
or https://www.kaggle.com/c/imagenet-object-localization-challenge."""

Places = str | Path | Sequence[str | Path]


@dataclass(frozen=True)
class Asked:
    """The options of preparing, by their names on the command line; see `prepare`.

    Attributes:
        source_kind: The only raw form to take, one of `imagenets.data.raw.KINDS`; None: any, told
            by looking.
        index: Folder of the lists; None: they are downloaded.
        annotations: Mask archives, one path or several; None: they are downloaded.
        mirror: URL that lists and archives are fetched from; None: the publishers'.
        offline: Whether nothing is fetched.
        allow_missing: Whether to go on without images that are not found.
        layout: What is made: shards, the published folders ("tree"), or both.
        subsets: Names of the splits; None: all that the sources can serve but `train-full`.
        link: How a tree gets image files.
        resize: Short side in pixels that larger images are brought to; None: bytes are kept.
        restart: Whether JPEGs get restart markers, without any loss.
        quality: Of JPEGs with `resize`, 1 to 100; None: 90.
        workers: Processes; None: one for each available core.
        backend: Processes of this machine ("loky"), or a Dask cluster.
        scheduler: Address of the Dask cluster, such as `tcp://host:8786`; with "dask" alone.
        no_decode: Whether images are stored without decoding each once to see that it can be.
    """

    source_kind: str | None = None
    index: str | Path | None = None
    annotations: Places | None = None
    mirror: str | None = None
    offline: bool = False
    allow_missing: bool = False
    layout: Literal["shards", "tree", "both"] = "shards"
    subsets: Sequence[str] | None = None
    link: Literal["symlink", "hardlink", "copy"] = "symlink"
    resize: int | None = None
    restart: bool = False
    quality: int | None = None
    workers: int | None = None
    backend: Literal["loky", "dask"] = "loky"
    scheduler: str | None = None
    no_decode: bool = False

    def config(self, root: Path, imagenet: Places | None, images: bool = True) -> PrepareConfig:
        """Checks the options and says what a run of preparing is asked for.

        Args:
            root: Where everything goes.
            imagenet: Raw ImageNet; None: $IMAGENET_DIR.
            images: Whether raw images are needed.

        Returns:
            The same as one value, with absolute paths; no file is touched for it.

        Raises:
            UsageError: A choice that there is not, a number out of range, or no raw ImageNet.
        """
        from imagenets.data.prepare.config import PrepareConfig

        self._check()
        return PrepareConfig(
            root=absolute(root),
            imagenet=_imagenet(imagenet) if images else (),
            origin=self._origin(),
            kind=self.source_kind,
            layout=self.layout,
            subsets=tuple(self.subsets) if self.subsets else None,
            link=self.link,
            options=self._options(),
            pool=make_pool(root, self.workers, self.backend, self.scheduler),
            allow_missing=self.allow_missing,
        )

    def _check(self) -> None:
        for name, known in _CHOICES.items():
            if (given := getattr(self, name)) not in known:
                raise UsageError(f"--{name} {given}: choose one of {', '.join(known)}.")
        if isinstance(self.subsets, str):
            raise UsageError(f"--subsets: give a list of splits, such as [{self.subsets!r}].")
        for split in self.subsets or ():
            if split not in SPLITS:
                raise UsageError(f"--subsets {split}: choose among {', '.join(SPLITS)}.")

    def _origin(self) -> Origin:
        from imagenets.data.prepare.fetch import Origin

        return Origin(
            index=None if self.index is None else absolute(self.index),
            annotations=_each(self.annotations),
            mirror=self.mirror,
            offline=self.offline,
        )

    def _options(self) -> Options:
        from imagenets.data.prepare.pack_shard import Options

        resize, quality = self.resize, self.quality
        if resize is None:
            if quality is not None:
                raise UsageError("--quality is for --resize: without it the bytes are kept.")
            return Options(restart=self.restart, decode=not self.no_decode)
        if resize < 1:
            raise UsageError(f"--resize {resize}: at least 1 pixel is needed.")
        if not 1 <= (quality := QUALITY if quality is None else quality) <= 100:
            raise UsageError(f"--quality {quality}: choose from 1 to 100.")
        return Options(resize, quality, restart=True)


def prepare(
    split: str | int,
    imagenet: Places | None = None,
    root: str | Path | None = None,
    *,
    source_kind: str | None = None,
    index: str | Path | None = None,
    annotations: Places | None = None,
    mirror: str | None = None,
    offline: bool = False,
    allow_missing: bool = False,
    layout: Literal["shards", "tree", "both"] = "shards",
    subsets: Sequence[str] | None = None,
    link: Literal["symlink", "hardlink", "copy"] = "symlink",
    resize: int | None = None,
    restart: bool = False,
    quality: int | None = None,
    workers: int | None = None,
    backend: Literal["loky", "dask"] = "loky",
    scheduler: str | None = None,
    no_decode: bool = False,
) -> list[PrepareReport]:
    """Makes ImageNet-S from raw ImageNet, or finds that it is made; what is interrupted goes on.

    What `imagenets prepare` does, with its options.

    Args:
        split: The tier: 50, 300, 919, "all", or the name of a custom one whose lists `index` holds.
        imagenet: Raw ImageNet, one path or several: folders or archives in any usual form; None:
            $IMAGENET_DIR.
        root: Where everything goes; None: $IMAGENETS_ROOT, else ./imagenet-s.
        source_kind: Take only this raw form; None tells by looking.
        index: Folder of the lists; None downloads them.
        annotations: Mask archives, one path or several; None: they are downloaded.
        mirror: URL that lists and archives are fetched from.
        offline: Fetch nothing.
        allow_missing: Go on without images that are not found.
        layout: Shards, the published folders, or both.
        subsets: Splits; None: all that the sources can serve but `train-full`.
        link: How a tree gets image files.
        resize: Re-encode images with a short side above so many pixels.
        restart: Put restart markers into JPEGs, without any loss.
        quality: Of JPEGs with `resize`; 90 by default.
        workers: Processes; one for each core by default.
        backend: Processes of this machine, or a Dask cluster.
        scheduler: Address of the Dask cluster.
        no_decode: Do not decode each image once to see that it can be.

    Returns:
        What was made of each tier.

    Raises:
        UsageError: An option is out of range, or there is no such tier.
        MissingError: Images, lists or masks are not there.
        CorruptError: A file is damaged.
        ImageNetSError: Anything else that a user can mend; what was done is kept.
    """
    asked = Asked(
        source_kind=source_kind,
        index=index,
        annotations=annotations,
        mirror=mirror,
        offline=offline,
        allow_missing=allow_missing,
        layout=layout,
        subsets=subsets,
        link=link,
        resize=resize,
        restart=restart,
        quality=quality,
        workers=workers,
        backend=backend,
        scheduler=scheduler,
        no_decode=no_decode,
    )
    folder = absolute(root_folder(root))
    names = tiers(str(split), asked, folder)
    with session():
        return prepare_tiers(names, asked.config(folder, imagenet))


def tiers(split: str, asked: Asked, root: Path) -> list[str]:
    """Checks and lists the tiers that are named.

    Args:
        split: A tier, or "all".
        asked: Where their lists come from.
        root: Where everything goes.

    Returns:
        Names of tiers, one, or with "all" the published ones.

    Raises:
        UsageError: There is no such tier, and no lists or mirror are given that may have it.
    """
    from imagenets.data.prepare.fetch import check_name

    names = list(TIERS) if split == "all" else [split]
    if asked.mirror is None:
        index = None if asked.index is None else absolute(asked.index)
        for name in names:
            check_name(name, index, paths.downloads(root))
    return names


def prepare_tiers(names: Sequence[str], config: PrepareConfig) -> list[PrepareReport]:
    """Prepares tiers; what loading and scoring will need is compiled meanwhile.

    Args:
        names: The tiers.
        config: What is asked for.

    Returns:
        What was made of each tier, in the order of `names`.

    Raises:
        ImageNetSError: Anything that a user can mend; what was done is kept.
    """
    from imagenets.data.prepare.run import Sources, prepare_tier

    sources = Sources(config)
    with hold_unless_done(names, config), warming():
        return [prepare_tier(name, config, sources) for name in names]


@contextmanager
def hold_unless_done(names: Sequence[str], config: PrepareConfig) -> Iterator[None]:
    """Makes this the only run on a root; one with nothing to do needs no right to write there.

    Args:
        names: The tiers to prepare.
        config: What is asked for; its `root` is held.

    Returns:
        A context manager, which holds the root for its block unless all tiers are prepared as
        asked.

    Raises:
        BusyError: Another run is at work on the root.
    """
    from imagenets.data.prepare.run import prepared_before
    from imagenets.data.prepare.state import hold

    if all(prepared_before(name, config) for name in names):
        yield
        return
    with hold(config.root):
        yield


def make_pool(
    root: Path,
    workers: int | None,
    backend: Literal["loky", "dask"],
    scheduler: str | None,
    writes: bool = True,
) -> Pool:
    """Says where the work is done.

    Args:
        root: Where everything goes.
        workers: Processes; None: one for each available core.
        backend: What they are: "loky", processes of this machine, or "dask", a cluster.
        scheduler: Address of the Dask cluster; with "dask", and with that alone.
        writes: Whether workers write: another run then waits until they are gone.

    Returns:
        The pool; no process is started yet.

    Raises:
        UsageError: Fewer than one worker, or Dask without a scheduler.
    """
    from imagenets.core.pool import Pool, worker_count
    from imagenets.data.prepare.state import WORKERS

    number = worker_count(workers)
    if (backend == "dask") != (scheduler is not None):
        raise UsageError("--backend dask and --scheduler ADDRESS go together.")
    lock = paths.state(absolute(root)) / WORKERS if writes else None
    return Pool(number, backend, scheduler, lock)


def _imagenet(given: Places | None) -> tuple[Path, ...]:
    found = _each(given or os.environ.get("IMAGENET_DIR") or ())
    if not found:
        from imagenets.data.raw import FORMS

        raise UsageError(
            "no raw ImageNet is given: name it with --imagenet PATH (as often as needed) or in "
            f"the environment variable IMAGENET_DIR. These forms are taken:\n{FORMS}\n{_WHERE}"
        )
    return found


def _each(given: Places | None) -> tuple[Path, ...]:
    several = (given,) if isinstance(given, str | Path) else given or ()
    return tuple(absolute(path) for path in several)
