"""Images in tars, read in place: the official archives, tars of one class, WebDataset."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from imagenets.classes import is_wnid
from imagenets.core.files import atomic
from imagenets.core.handle import Handle, Stamp, stamp_of
from imagenets.core.log import bar
from imagenets.data.raw.parts import Columns, Location, Part
from imagenets.data.raw.tarwalk import BLOCK, Member, is_tar, walk
from imagenets.data.stems import STEM_DTYPE, is_image_name, split_name
from imagenets.errors import CorruptError

log = logging.getLogger(__name__)

_REGULAR = (b"\0", b"0", b"7")
_MASK = b".mask.png"  # ends a mask, which follows the image of its name
_VERSION = 3  # of the index files: others are built anew


class Tar:
    """A tar whose images are read by offset and size; each may have its mask behind it."""

    def __init__(self, path: str, stamp: Stamp, has_masks: bool) -> None:
        self.path = path
        self._has_masks = has_masks
        self._stamp = stamp
        self._handle: Handle | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        return Tar, (self.path, self._stamp, self._has_masks)

    def read(self, stem: bytes, offset: int, size: int) -> bytes:
        """The bytes of a member."""
        data = os.pread(self._fd(), size, offset)
        if len(data) < size:
            raise CorruptError(
                f"{self.path}: cut off at member {stem.decode('ascii')}: {size:,} bytes at "
                f"{offset:,} are needed, {len(data):,} are there. The archive has changed since "
                "it was indexed: restore it, then run the command again."
            )
        return data

    def mask(self, stem: bytes, offset: int) -> bytes | None:
        """The member `<key>.mask.png` of the sample that the image is of; None if it has none."""
        if not self._has_masks:
            return None
        key: bytes | None = None
        for path, _, start, size, _ in walk(self._fd(), offset - BLOCK, self._stamp[0], self.path):
            own = path.rpartition(b"/")[2].partition(b".")[0]
            key = own if key is None else key
            if own != key:
                return None
            if path.endswith(_MASK):
                return self.read(stem, start, size)
        return None

    def locate(self, stem: bytes, offset: int, size: int) -> Location:
        """The byte range within the archive."""
        return Location(Path(self.path), offset, size)

    def size(self, stem: bytes, offset: int) -> int:
        """Never asked: the index knows every size."""
        return -1

    def close(self) -> None:
        """Lets go of the descriptor."""
        self._handle = None

    def _fd(self) -> int:
        if self._handle is None:
            self._handle = Handle(self.path, self._stamp)
        return self._handle.fd


class _Builder:
    """Gathers the images of one archive while its headers are read."""

    def __init__(self) -> None:
        self.columns = Columns()
        self.links: list[tuple[bytes, bytes]] = []
        self.unidentified = 0
        self.example = ""
        self.sidecars = False
        self.masks = False

    def add(self, member: Member) -> None:
        """Takes a member that is an image; counts images that cannot be identified."""
        path, flag, offset, size, link = member
        name = path[path.rfind(b"/") + 1 :]
        if parts := split_name(name):
            if flag in _REGULAR:
                self.columns.add(parts[0], 0, offset, size)
            elif flag == b"1":
                self.links.append((parts[0], link.rpartition(b"/")[2]))
        elif flag in _REGULAR:
            self.sidecars |= name.endswith((b".cls", b".json"))
            if name.endswith(_MASK):
                self.masks = True
            elif is_image_name(name):
                self.unidentified += 1
                self.example = self.example or os.fsdecode(path)

    def part(self, path: Path, stamp: Stamp) -> Part:
        """The archive's images; a hard link stands for the member that it names."""
        stems, container, offsets, sizes = self.columns.arrays()
        if self.links:
            rank = {bytes(stem): index for index, stem in enumerate(stems)}
            for stem, target in self.links:
                origin = rank.get((split_name(target) or (b"",))[0])
                if origin is not None:
                    self.columns.add(stem, 0, int(offsets[origin]), int(sizes[origin]))
            stems, container, offsets, sizes = self.columns.arrays()
        kind = "webdataset" if self.sidecars else "tar"
        columns = stems, container, offsets, sizes
        where = os.path.abspath(path)  # noqa: PTH100 - keeps links as the user wrote them
        tar = Tar(where, stamp, self.masks)
        return Part(kind, path, (tar,), *columns, self.unidentified, self.example, self.masks)


def scan(path: Path, cache: Path | None) -> Part:
    """Indexes a tar, from the kept index where it is still right.

    Args:
        path: The archive; members named `<wnid>.tar` are looked into.
        cache: Folder of the kept indexes, made when needed; None keeps none.

    Raises:
        CorruptError: No tar, compressed, cut off or damaged.
    """
    status = path.stat()
    key = {
        "version": _VERSION,
        "path": str(path.resolve()),
        "size": status.st_size,
        "mtime_ns": status.st_mtime_ns,
    }
    if cache is None:
        return _build(path, stamp_of(status))
    digest = hashlib.sha256(os.fsencode(key["path"])).hexdigest()[:12]  # type: ignore[arg-type]
    kept = cache / f"{path.stem}-{digest}.npz"
    part = _load(kept, path, key, stamp_of(status))
    if part is None:
        part = _build(path, stamp_of(status))
        _save(kept, part, key)
    return part


def _build(path: Path, stamp: Stamp) -> Part:
    """Reads every header of an archive and of the class archives within it."""
    handle, size = Handle(str(path), stamp), stamp[0]
    if not is_tar(handle.fd):
        raise _no_tar(path, os.pread(handle.fd, 6, 0))
    if hasattr(os, "posix_fadvise"):  # no read-ahead: between two headers lie 100 kB of no use
        os.posix_fadvise(handle.fd, 0, 0, os.POSIX_FADV_RANDOM)
    builder = _Builder()
    with bar(f"index {path.name}", size, unit="B", unit_scale=True, delay=1) as shown:
        for member in walk(handle.fd, 0, size, str(path)):
            name, _, offset, length, _ = member
            if name.endswith(b".tar") and is_wnid(name[name.rfind(b"/") + 1 : -len(b".tar")]):
                what = f"{path}: member {os.fsdecode(name)}"
                for inner in walk(handle.fd, offset, offset + length, what):
                    builder.add(inner)
            else:
                builder.add(member)
            shown.update(offset + length - shown.n)
    return builder.part(path, stamp)


def _no_tar(path: Path, magic: bytes) -> CorruptError:
    packed = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"PK\x03\x04", b"\x28\xb5\x2f\xfd")
    if magic.startswith(packed):
        return CorruptError(
            f"{path}: compressed, so it cannot be read in place. "
            "Unpack it once and give the folder that it unpacks to."
        )
    hint = " It looks like a web page: a login page that was saved?" if magic[:1] == b"<" else ""
    return CorruptError(
        f"{path}: not a tar archive.{hint} Fetch it again and compare its size and md5."
    )


def _load(kept: Path, path: Path, key: dict[str, Any], stamp: Stamp) -> Part | None:
    """The kept index; None where there is none, it is broken, or the archive has changed."""
    try:
        with kept.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
            meta = json.loads(file["meta"].tobytes())
            if meta["key"] != key:
                return None
            stems, offsets, sizes = file["stems"], file["offsets"], file["sizes"]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error):
        return None
    if not (stems.dtype == STEM_DTYPE and stems.shape == offsets.shape == sizes.shape):
        return None
    tar = Tar(os.path.abspath(path), stamp, meta["masks"])  # noqa: PTH100 - links stay
    columns = stems, np.zeros(len(stems), np.int32), offsets, sizes
    told = meta["unidentified"], meta["example"], meta["masks"]
    return Part(meta["kind"], path, (tar,), *columns, *told)


def _save(kept: Path, part: Part, key: dict[str, Any]) -> None:
    """Keeps an index; when that fails the run goes on, only the next one indexes again."""
    meta = {
        "key": key,
        "kind": part.kind,
        "unidentified": part.unidentified,
        "example": part.example,
        "masks": part.has_masks,
    }
    columns = {"stems": part.stems, "offsets": part.offsets, "sizes": part.sizes}
    text = np.frombuffer(json.dumps(meta).encode(), np.uint8)
    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
        with atomic(kept) as temporary, temporary.open("wb") as file:
            np.savez(file, meta=text, **columns)  # type: ignore[arg-type]
    except OSError as error:
        log.warning("%s: the index is not kept (%s)", kept, error.strerror)
