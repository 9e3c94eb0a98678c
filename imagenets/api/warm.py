"""Compiles the package's loops ahead of their first use, in a process of its own.

`imagenets-prepare` starts it: while images are packed for hours, what training and scoring will
need is compiled beside it, with the lowest priority.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from importlib.metadata import version
from pathlib import Path

import imagenets

log = logging.getLogger(__name__)

LOOPS = (
    "imagenets.pixels.jpeg.header",
    "imagenets.pixels.jpeg.entropy",
    "imagenets.pixels.jpeg.splice",
    "imagenets.pixels.resample_loops",
    "imagenets.pixels.nearest_loops",
    "imagenets.pixels.grid_loops",
    "imagenets.data.augment.backends.cpu",
    "imagenets.evaluation.localization.kernels",
)
"""Modules whose loops are compiled for fixed types: they need no call."""


@contextmanager
def warming() -> Iterator[None]:
    """Compiles beside the body what is not compiled yet; ends with the body."""
    if _is_done():
        yield
        return
    log.info("compiling meanwhile, at the lowest priority, what loading and scoring will need")
    with subprocess.Popen(
        [sys.executable, "-m", "imagenets.api.warm"],
        stdin=subprocess.PIPE,  # which closes when this process ends, however it does
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        try:
            yield
        finally:
            process.terminate()  # what is compiled is kept; the rest is compiled when used


def compile_all() -> None:
    """Compiles every loop that loading, augmenting and scoring use, and notes that it is done."""
    for module in LOOPS:
        _compile(module)
    _use()
    with suppress(OSError):  # a folder that can only be read: looked at again the next time
        _mark().write_text(_state())


def _compile(module: str) -> None:
    from imagenets.core.jit import Loop

    for found in vars(import_module(module)).values():
        if isinstance(found, Loop):
            found.compile()


def _use() -> None:
    """Runs what is compiled for the types that come."""
    import numpy as np

    from imagenets import masks
    from imagenets.evaluation.metrics import Evaluator

    ids = np.zeros((8, 8), np.uint16)
    ids[2:5, 2:5] = 1
    ids = masks.decode(masks.encode(ids))
    evaluator = Evaluator(2)
    for kind in (np.uint16, np.int64):  # of masks on disk, and of tensors
        evaluator.update(ids.astype(kind), ids.astype(kind))
    evaluator.compute()


def _is_done() -> bool:
    try:
        return _mark().read_text() == _state()
    except OSError:
        return False


def _mark() -> Path:
    """The file that says for which state of the package all is compiled."""
    beside = Path(imagenets.__file__).parent / "__pycache__"
    return Path(os.environ.get("NUMBA_CACHE_DIR") or beside) / "imagenets-compiled"


def _state() -> str:
    """What compiled code depends on: Numba, Python, and the files of the package."""
    root = Path(imagenets.__file__).parent
    files = [(str(path.relative_to(root)), path.stat()) for path in sorted(root.rglob("*.py"))]
    times = [(name, found.st_size, found.st_mtime_ns) for name, found in files]
    return f"{version('numba')} {sys.version} {zlib.crc32(repr(times).encode())}"


def _end_with_the_parent() -> None:
    """Ends this process when the one that started it is gone: killed, it could not say so."""

    def wait() -> None:
        sys.stdin.buffer.read()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


if __name__ == "__main__":
    logging.disable()
    _end_with_the_parent()
    if hasattr(os, "nice"):
        os.nice(19)
    compile_all()
