"""A zip of masks, read in place: nothing is extracted, by its own name or at all.

Names and sizes of members are checked before any is unpacked.
"""

from __future__ import annotations

import os
import zipfile
import zlib
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

from imagenets.core.files import is_litter
from imagenets.core.handle import Stamp, stamp_of
from imagenets.errors import CorruptError

MAX_MEMBER = 1 << 26
"""A mask is some kilobytes; a member that claims to unpack to more than this is refused."""

_MOST_OPEN = 4
"""Archives that one process holds open: one for each tier, and one more."""

_SHOWN = 5
_REMEDY = (
    "Delete it and fetch it again, or give another copy "
    "(--annotations of the command, masks= of ImageNetS.from_folders)."
)


class MaskArchive:
    """A zip of masks; opened where it is read, so it may be sent to other processes.

    Args:
        path: The zip.

    Raises:
        CorruptError: It is no zip, or a member's name or size could do harm.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        for name, info in members(path).items():
            _checked(path, name, info)

    def read(self, name: str) -> bytes:
        """Returns a member's bytes.

        Raises:
            CorruptError: It is not there, or its checksum is wrong.
        """
        info = self._info(name)
        try:
            return _open(self.path)[0].read(info)
        except (zipfile.BadZipFile, zlib.error, EOFError) as error:
            raise CorruptError(f"{self.path}: {name}: {error}. {_REMEDY}") from error
        except (NotImplementedError, RuntimeError) as error:  # other compressions, passwords
            raise CorruptError(f"{self.path}: {name} cannot be read ({error}). {_REMEDY}") from None

    def __contains__(self, name: str) -> bool:
        return name in members(self.path)

    def checksum(self, name: str) -> int:
        """CRC-32 of a member's bytes, as the archive states it; raises like `read`."""
        return self._info(name).CRC

    def size(self, name: str) -> int:
        """Unpacked bytes of a member; raises like `read`."""
        return self._info(name).file_size

    def _info(self, name: str) -> zipfile.ZipInfo:
        info = members(self.path).get(name)
        if info is None:
            raise CorruptError(f"{self.path}: holds no {name}. {_REMEDY}")
        _checked(self.path, name, info)  # again: the file may have changed since it was opened
        return info

    def check_names(self, expected: Iterable[str]) -> None:
        """Checks that the archive has exactly the members that the lists name.

        Raises:
            CorruptError: Members are missing, or there are others.
        """
        wanted, found = set(expected), set(members(self.path))
        faults = []
        for what, names in (("lacks", wanted - found), ("holds besides", found - wanted)):
            if names:
                shown = ", ".join(sorted(names)[:_SHOWN])
                faults.append(f"it {what} {len(names):,} members, such as {shown}")
        if faults:
            raise CorruptError(
                f"{self.path}: not the archive that the lists describe: {'; '.join(faults)}. "
                f"{_REMEDY}"
            )


_Zip = tuple[zipfile.ZipFile, dict[str, zipfile.ZipInfo]]


def _open(path: Path) -> _Zip:
    status = path.stat()
    return _opened(path, stamp_of(status), os.getpid())


@lru_cache(maxsize=_MOST_OPEN)
def _opened(path: Path, stamp: Stamp, process: int) -> _Zip:
    """The archive of this process, and its members by name: 22,000 take 0.3 s, each time.

    A forked child opens its own: of a descriptor that is shared, one would move the other's place.
    """
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, ValueError, NotImplementedError) as error:
        raise CorruptError(f"{path}: not a readable zip ({error}). {_REMEDY}") from None
    found: dict[str, zipfile.ZipInfo] = {}
    for info in archive.infolist():
        # some tools write ./a/b, those of Windows a\b
        name = info.filename.replace("\\", "/").removeprefix("./")
        if name.endswith("/") or is_litter(name):
            continue
        if name in found:
            raise CorruptError(f"{path}: holds {name} more than once. {_REMEDY}")
        found[name] = info
    return archive, found


def members(path: Path) -> dict[str, zipfile.ZipInfo]:
    """The members of a zip by their names, without folders and what operating systems add.

    Raises:
        CorruptError: It is no zip, or holds a name more than once.
    """
    return _open(path)[1]


def _checked(path: Path, name: str, info: zipfile.ZipInfo) -> None:
    """Checks that a member's name stays within the archive's folder, and its size within bounds."""
    if name.startswith("/") or ".." in name.split("/") or ":" in name:
        raise CorruptError(
            f"{path}: the member {info.filename!r} points out of the archive's folder. This is no "
            f"archive of masks. {_REMEDY}"
        )
    if info.file_size > MAX_MEMBER:
        raise CorruptError(
            f"{path}: the member {info.filename} claims to unpack to {info.file_size:,} bytes, no "
            f"mask is that large. {_REMEDY}"
        )
