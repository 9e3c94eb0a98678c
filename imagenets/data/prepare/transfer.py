"""One request of a download: from where the `.part` ends, if the rest is sure to belong to it."""

from __future__ import annotations

import errno
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from imagenets.core import files
from imagenets.core.log import bar
from imagenets.errors import DownloadError

if TYPE_CHECKING:
    from requests import Response

_BLOCK = 1 << 16
_PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})  # statuses worth another try


@dataclass(frozen=True, slots=True)
class Job:
    """What is asked for, and the files beside the target that a download leaves on its way."""

    url: str
    target: Path
    size: int | None
    sha256: str | None
    timeout: float
    quiet: bool

    @property
    def part(self) -> Path:
        return files.part_of(self.target)

    @property
    def state(self) -> Path:
        return self.target.with_name(self.target.name + ".part.json")

    @property
    def wrong(self) -> Path:
        return self.target.with_name(self.target.name + ".wrong")


@dataclass(frozen=True, slots=True)
class _State:
    """Which version of the file a `.part` is the beginning of."""

    url: str
    etag: str = ""
    modified: str = ""

    @property
    def validator(self) -> str:
        """What `If-Range` takes: a strong ETag, else the date; empty when there is neither."""
        return self.etag if self.etag and not self.etag.startswith("W/") else self.modified


class PassingError(Exception):
    """A failure that another try may mend; `wait` is what the server asks for, in seconds."""

    def __init__(self, reason: str, wait: float | None = None) -> None:
        super().__init__(reason)
        self.wait = wait


def length(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _read_state(job: Job) -> _State | None:
    try:
        return _State(**json.loads(job.state.read_text("utf-8")))
    except (OSError, ValueError, TypeError):  # not there, cut short, or of another version
        return None


def discard(job: Job) -> None:
    job.part.unlink(missing_ok=True)
    job.state.unlink(missing_ok=True)


def attempt(job: Job) -> None:
    """One request, from where the `.part` ends when that is sure to be of the same file."""
    import requests  # takes a fifth of a second to import

    have, state = length(job.part), _read_state(job)
    known = state is not None and state.url == job.url and state.validator
    if have and not (known or job.sha256):
        discard(job)  # nothing would show that beginning and rest belong together
        have = 0
    headers = {"Accept-Encoding": "identity"}  # a compressed transfer could not be continued
    if have:
        headers["Range"] = f"bytes={have}-"
        if state is not None and known:
            headers["If-Range"] = state.validator
    try:
        with requests.get(job.url, headers=headers, stream=True, timeout=job.timeout) as response:
            _receive(job, response, have, state)
    except (
        requests.exceptions.InvalidURL,
        requests.exceptions.InvalidSchema,
        requests.exceptions.MissingSchema,
    ) as error:
        raise DownloadError(f"{job.url}: not an address to fetch from ({error}).") from error
    except requests.exceptions.RequestException as error:
        if "CERTIFICATE_VERIFY_FAILED" in str(error):
            raise DownloadError(
                f"{job.url}: the server's certificate is not trusted. Behind a proxy that replaces "
                "certificates, set REQUESTS_CA_BUNDLE to its certificate; else fetch the file by "
                f"other means and put it at {job.target}."
            ) from error
        raise PassingError(_reason(error, job.timeout)) from error


def _reason(error: Exception, timeout: float) -> str:
    import requests

    if isinstance(error, requests.exceptions.Timeout) or "timed out" in str(error):
        return f"no byte arrived for {timeout:g} s"
    if isinstance(error, requests.exceptions.ProxyError):
        return "the proxy does not answer"
    if isinstance(error, requests.exceptions.ChunkedEncodingError):
        return "the connection broke"
    return "no connection"


def _receive(job: Job, response: Response, have: int, state: _State | None) -> None:
    """Writes a response to the `.part`, or turns its status into the right error."""
    status = response.status_code
    answered = _State(
        job.url, response.headers.get("ETag", ""), response.headers.get("Last-Modified", "")
    )
    if status == 416 and have:
        total = response.headers.get("Content-Range", "").rpartition("/")[2]
        if total.isdigit() and int(total) == have:
            return  # all of it was there already
        discard(job)
        raise PassingError("the part that was there is longer than the file", wait=0)
    if status == 206 and not _continues(response, have, state, answered):
        discard(job)
        raise PassingError("the server's file has changed since the first part", wait=0)
    if status in _PASSING:
        raise PassingError(f"the server answers {status}", _asked_wait(response))
    if status not in (200, 206):
        raise DownloadError(
            f"{job.url}: the server answers {status} {response.reason}. Check the address, choose "
            f"another mirror, or fetch it by other means and put it at {job.target}."
        )
    if status == 200:
        have = 0
        discard(job)  # the old part's state must not outlive it
    files.write_json(job.state, asdict(answered), durable=False)
    _write(job, response, have)


def _continues(response: Response, have: int, state: _State | None, answered: _State) -> bool:
    """Whether a partial answer begins where the part ends, and is of the same version."""
    unit, _, span = response.headers.get("Content-Range", "").partition(" ")
    if unit != "bytes" or span.partition("-")[0] != str(have):
        return False
    known = state.validator if state is not None and state.url == answered.url else ""
    return not known or known in ("", answered.etag, answered.modified)


def _write(job: Job, response: Response, have: int) -> None:
    """Appends the body to the `.part` and checks that all of it came."""
    announced = response.headers.get("Content-Length", "")
    plain = response.headers.get("Content-Encoding", "identity") == "identity"
    total = have + int(announced) if announced.isdigit() and plain else None
    look = {"initial": have, "unit_scale": True, "unit_divisor": 1024, "leave": True}
    look |= {"disable": True} if job.quiet else {}
    shown = bar(job.target.name, total or job.size, unit="B", **look)
    try:
        with shown, job.part.open("ab" if have else "wb") as file:
            for block in response.iter_content(_BLOCK):
                file.write(block)
                shown.update(len(block))
        files.sync(job.part)
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        raise DownloadError(
            f"{job.part}: the disk is full. Free some space and run the same command again: "
            "it continues with what has arrived."
        ) from error
    if total is not None and length(job.part) < total:
        raise PassingError("the connection broke")


def _asked_wait(response: Response) -> float | None:
    """Seconds that the server asks to wait, as a number or a date; None when it does not."""
    from urllib3.exceptions import InvalidHeader
    from urllib3.util import Retry

    try:
        return Retry().get_retry_after(response.raw)
    except InvalidHeader:
        return None
