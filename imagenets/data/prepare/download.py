"""Fetches a file: URL -> `.part`, continued where it broke off -> size and digest -> rename."""

from __future__ import annotations

import logging
import time
from pathlib import Path

from imagenets.core import files
from imagenets.data.prepare.transfer import Job, PassingError, attempt, discard, length
from imagenets.errors import CorruptError, DownloadError

log = logging.getLogger(__name__)

_LONGEST_WAIT = 60.0
"""Seconds between two tries, at most."""


def fetch(
    url: str,
    target: Path,
    *,
    size: int | None = None,
    sha256: str | None = None,
    offline: bool = False,
    retries: int = 5,
    timeout: float = 30.0,
    quiet: bool = False,
) -> Path:
    """Makes sure that a file is there: at once when it is already, else from its URL.

    Args:
        url: Where it is published; proxies are taken from the environment.
        target: Where it goes; replaced only by a file that passed its checks.
        size: Its bytes, where they are pinned.
        sha256: Its digest in hex, where it is pinned.
        offline: Touch no network.
        retries: Further tries after one that brought nothing new.
        timeout: Seconds without a byte after which a connection is given up.
        quiet: Show no progress bar.

    Returns:
        `target`.

    Raises:
        DownloadError: It cannot be fetched; the message names URL and target.
        CorruptError: What arrived has the wrong size or digest; it is kept as `<name>.wrong`.
    """
    fault = _fault(target, size, sha256) if target.exists() else "is not there"
    if fault is not None and offline:
        raise DownloadError(
            f"{target}: {fault}, and nothing is fetched offline. Fetch {url} on a machine with a "
            f"network and put it at {target}."
        )
    if fault is not None:
        _download(Job(url, target, size, sha256, timeout, quiet), retries, fault)
    return target


def _download(job: Job, retries: int, fault: str) -> None:
    if job.target.exists():
        log.warning("%s: %s; it is fetched again", job.target, fault)
    job.target.parent.mkdir(parents=True, exist_ok=True)
    continued = job.part.exists()
    _transfer(job, retries)
    if continued and _fault(job.part, job.size, job.sha256):
        discard(job)  # perhaps the old beginning was of another file: once more from the start
        _transfer(job, retries)
    _accept(job)


def _fault(path: Path, size: int | None, sha256: str | None) -> str | None:
    """What is wrong with a file, None when it is as pinned (or nothing is pinned)."""
    there = path.stat().st_size
    if size is not None and there != size:
        return f"has {there:,} bytes instead of {size:,}"
    if sha256 is not None and (digest := files.sha256(path)) != sha256:
        return f"has sha256 {digest} instead of {sha256}"
    return None


def _accept(job: Job) -> None:
    """Renames what arrived to the target, or sets it aside and says why."""
    fault = _fault(job.part, job.size, job.sha256)
    job.state.unlink(missing_ok=True)
    if fault is not None:
        job.part.replace(job.wrong)
        raise CorruptError(
            f"{job.url}: what arrived {fault}; it is kept as {job.wrong}. Nothing else was "
            f"changed. Try another mirror, or put the right file at {job.target}."
        )
    if job.target.exists():
        job.target.replace(job.wrong)
    files.publish(job.part, job.target)


def _transfer(job: Job, retries: int) -> None:
    """Fills the `.part`, trying again; tries that brought the file further are not counted."""
    from urllib3.exceptions import MaxRetryError
    from urllib3.util import Retry

    log.info("fetching %s", job.url)
    fresh = Retry(retries, backoff_factor=1.0, backoff_jitter=1.0, backoff_max=_LONGEST_WAIT)
    tries, furthest = fresh, length(job.part)
    while True:
        try:
            attempt(job)
            return
        except PassingError as error:
            if length(job.part) > furthest:
                tries, furthest = fresh, length(job.part)
            try:
                tries = tries.increment(error=error)
            except MaxRetryError:
                raise DownloadError(
                    f"{job.url}: could not be fetched: {error} ({len(tries.history) + 1} tries). "
                    "Check the network and the proxy settings (HTTPS_PROXY) and run the same "
                    "command again to continue, or fetch it by other means and put it at "
                    f"{job.target}."
                ) from error
            wait = tries.get_backoff_time() if error.wait is None else error.wait
            wait = min(wait, _LONGEST_WAIT)
            log.warning(
                "%s: %s (try %d of %d); the next one in %.0f s",
                *(job.url, error, len(tries.history), retries + 1, wait),
            )
            time.sleep(wait)
