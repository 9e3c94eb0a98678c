"""Locks on files: one run at a time in a folder, one process at a time in a cache.

The system's own lock (`flock`) goes with the process that holds it, however that ends. Where a
file system has none, a file `<name>.soft` takes its place. It names its owner, and stays when that
is killed: another process of the same machine then takes it over; on others a person deletes it.
"""

from __future__ import annotations

import errno
import fcntl
import json
import logging
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from imagenets.core.distributed import rank
from imagenets.core.files import naming, write_json
from imagenets.errors import BusyError

log = logging.getLogger(__name__)

_LOCK = "lock"
_HOLDER = "holder.json"

_HELD = frozenset({errno.EAGAIN, errno.EACCES})
_NO_FLOCK = frozenset({errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK})

_LOOK = 0.02
"""Seconds between two tries to get a lock."""

_PATIENCE = 1.0
"""Seconds after which a wait is told."""

_LONGEST = 600.0
"""Seconds that workers of an earlier run are waited for."""

_NOTICED = 0.5
"""Seconds after which workers have noticed that their run was killed, where no lock tells."""


class FileLock:
    """A lock that one thread of one process holds; it may take it several times.

    Args:
        path: The file to lock; made if need be, and left there.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.soft = path.with_name(f"{path.name}.soft")
        self._gate = threading.RLock()
        self._depth = 0
        self._handle: int | None = None

    def acquire(self, seconds: float = 0.0) -> bool:
        """Takes the lock, and waits for it no longer than said; a wait of a second is told.

        Returns:
            Whether this thread holds it now.

        Raises:
            OSError: The file cannot be made or locked; names it.
        """
        if not self._gate.acquire(timeout=seconds):
            return False
        held = False
        try:
            held = self._depth > 0 or self._wait(seconds)
            self._depth += held
        finally:
            if not held:
                self._gate.release()
        return held

    def release(self) -> None:
        """Gives the lock back, as often as it was taken."""
        self._depth -= 1
        if self._depth == 0:
            if self._handle is None:
                self.soft.unlink(missing_ok=True)
            else:
                os.close(self._handle)
                self._handle = None
        self._gate.release()

    def _wait(self, seconds: float) -> bool:
        start, told = time.monotonic(), False
        while not self._try():
            waited = time.monotonic() - start
            if waited >= seconds:
                return False
            if waited > _PATIENCE and not told:
                log.info("%s: waiting for another process, up to %.0f s", self.path, seconds)
                told = True
            time.sleep(_LOOK)
        return True

    def _try(self) -> bool:
        handle = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        locked: bool | None = False
        try:
            with naming(self.path):
                locked = _flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        finally:
            if locked:
                self._handle = handle
            else:
                os.close(handle)
        return self._try_soft() if locked is None else locked

    def _try_soft(self) -> bool:
        try:
            handle = os.open(self.soft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        except FileExistsError:
            return _is_abandoned(self.soft) and self._clear() and self._try_soft()
        with os.fdopen(handle, "w") as file:
            json.dump(_facts(), file)
        return True

    def _clear(self) -> bool:
        """Deletes the file of an owner that is gone; of several processes one does."""
        guard = self.soft.with_name(f"{self.soft.name}.taken")
        try:
            guard.mkdir()
        except FileExistsError:
            return False
        try:
            if _is_abandoned(self.soft):  # still: another may have taken it over in the meantime
                self.soft.unlink()
        finally:
            guard.rmdir()
        return True


@contextmanager
def hold(folder: Path, what: object) -> Iterator[None]:
    """Makes this the only run at work in a folder; the ranks of one run hold it together.

    Args:
        folder: Where the lock lies; made if need be.
        what: What the run works on, for the message.

    Raises:
        BusyError: Another run is at work; says which.
        OSError: The folder cannot be written to.
    """
    if rank():  # the first rank holds it for all
        yield
        return
    folder.mkdir(parents=True, exist_ok=True)
    lock, holder = FileLock(folder / _LOCK), folder / _HOLDER
    if not lock.acquire():
        soft = lock.soft.exists()
        remedy = f" If that run is gone, delete {lock.soft}." if soft else ""
        raise BusyError(
            f"{what}: {_who(lock.soft if soft else holder)}. "
            f"Wait until it is done, or stop it.{remedy}"
        )
    try:
        write_json(holder, _facts(), durable=False)
        yield
        holder.unlink(missing_ok=True)
    finally:
        lock.release()


@contextmanager
def share(path: Path) -> Iterator[None]:
    """Lets workers hold a lock together, for `wait_for_workers`; nothing where there is no flock.

    Raises:
        OSError: The file cannot be made or locked; names it.
    """
    with path.open("ab") as file:
        with naming(path):
            _flock(file.fileno(), fcntl.LOCK_SH)
        yield


def wait_for_workers(path: Path) -> None:
    """Waits until the workers of a run that was killed have noticed it and are gone.

    Raises:
        BusyError: They are still there after ten minutes.
        OSError: The file cannot be made or locked; names it.
    """
    start, told = time.monotonic(), False
    with path.open("ab") as file, naming(path):
        while (free := _flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)) is False:
            waited = time.monotonic() - start
            if waited > _LONGEST:
                raise BusyError(
                    f"{path}: workers of an earlier run are still at work after {waited:.0f} s. "
                    "Stop them, then run the same command again."
                )
            if waited > _PATIENCE and not told:
                log.info("%s: waiting for the workers of an earlier run", path)
                told = True
            time.sleep(_LOOK)
    if free is None:
        time.sleep(_NOTICED)


def _flock(handle: int, how: int) -> bool | None:
    """Takes a lock of the system: False if it is held, None if the file system has none."""
    try:
        fcntl.flock(handle, how)
    except OSError as error:
        if error.errno in _HELD:
            return False
        if error.errno in _NO_FLOCK:
            return None
        raise
    return True


def _facts() -> dict[str, Any]:
    since = time.strftime("%Y-%m-%d %H:%M:%S")
    return {"pid": os.getpid(), "host": socket.gethostname(), "space": _space(), "since": since}


def _space() -> str:
    """What numbers of processes belong to, beside the host: containers have their own."""
    with suppress(OSError):
        return str(Path("/proc/self/ns/pid").readlink())
    return ""


def _is_abandoned(soft: Path) -> bool:
    """Whether a soft lock's owner is known to be gone."""
    try:
        facts = json.loads(soft.read_bytes())
        if (facts["host"], facts["space"]) != (socket.gethostname(), _space()):
            return False
        os.kill(int(facts["pid"]), 0)
    except ProcessLookupError:
        return True
    except (OSError, ValueError, KeyError, TypeError):  # gone meanwhile, being written, another's
        return False
    return False


def _who(holder: Path) -> str:
    try:
        facts = json.loads(holder.read_bytes())
        return (
            f"another run is at work here: process {facts['pid']} on {facts['host']}, since "
            f"{facts['since']}"
        )
    except (OSError, ValueError, KeyError, TypeError):
        return "another run is at work here"
