"""One run at a time in a folder, by a lock that the system takes from a killed process."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from imagenets.core.distributed import rank
from imagenets.core.files import write_json
from imagenets.errors import BusyError

_LOCK = "lock"
_HOLDER = "holder.json"


@contextmanager
def hold(folder: Path, what: object) -> Iterator[None]:
    """Makes this the only run at work in a folder; the ranks of one run hold it together.

    Args:
        folder: Where the lock lies; made if need be.
        what: What the run works on, for the message.

    Raises:
        BusyError: Another run is at work; says which.
    """
    from filelock import FileLock, Timeout

    if rank():  # the first rank holds it for all
        yield
        return
    folder.mkdir(parents=True, exist_ok=True)
    holder = folder / _HOLDER
    try:
        with FileLock(folder / _LOCK, timeout=0):
            since = time.strftime("%Y-%m-%d %H:%M:%S")
            facts = {"pid": os.getpid(), "host": socket.gethostname(), "since": since}
            write_json(holder, facts, durable=False)
            yield
            holder.unlink(missing_ok=True)
    except Timeout:
        raise BusyError(f"{what}: {_who(holder)}. Wait until it is done, or stop it.") from None


def _who(holder: Path) -> str:
    try:
        facts = json.loads(holder.read_bytes())
        return (
            f"another run is at work here: process {facts['pid']} on {facts['host']}, since "
            f"{facts['since']}"
        )
    except (OSError, ValueError, KeyError, TypeError):
        return "another run is at work here"
