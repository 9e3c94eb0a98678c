from __future__ import annotations

import email.utils
import hashlib
import io
import json
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from imagenets.data.prepare import transfer
from imagenets.data.prepare.download import fetch
from imagenets.errors import CorruptError, DownloadError

BODY = bytes(range(256)) * 1200  # 300 kB: some blocks
SHA256 = hashlib.sha256(BODY).hexdigest()


class Server:
    """A loopback server whose answers the test scripts; it remembers what was asked."""

    def __init__(self) -> None:
        self.body = BODY
        self.etag = '"one"'
        self.ranges = True
        self.script: list[Callable[[BaseHTTPRequestHandler], bool]] = []
        self.asked: list[dict[str, str]] = []
        self.closing = threading.Event()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                outer.asked.append(dict(self.headers))
                if not outer.script or outer.script.pop(0)(self):
                    outer.answer(self)

            def log_message(self, *_: Any) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        self.http.handle_error = lambda *_: None  # type: ignore[method-assign]  # cut on purpose
        self.url = f"http://127.0.0.1:{self.http.server_port}/set/file.bin"
        self.thread = threading.Thread(target=self.http.serve_forever, args=(0.01,))
        self.thread.start()

    def answer(self, handler: BaseHTTPRequestHandler, cut: int | None = None) -> None:
        """What a good server does, up to byte `cut` of what it sends."""
        begin, status = 0, 200
        wanted = handler.headers.get("Range")
        if wanted and self.ranges and handler.headers.get("If-Range", self.etag) == self.etag:
            begin, status = int(wanted[len("bytes=") : -1]), 206
        if begin >= len(self.body):
            handler.send_response(416)
            handler.send_header("Content-Range", f"bytes */{len(self.body)}")
            handler.send_header("Content-Length", "0")
            handler.end_headers()
            return
        handler.send_response(status)
        if status == 206:
            span = f"bytes {begin}-{len(self.body) - 1}/{len(self.body)}"
            handler.send_header("Content-Range", span)
        if self.etag:
            handler.send_header("ETag", self.etag)
        handler.send_header("Content-Length", str(len(self.body) - begin))
        handler.end_headers()
        handler.wfile.write(self.body[begin:][:cut])

    def cut(self, after: int) -> Callable[[BaseHTTPRequestHandler], bool]:
        """Breaks the connection after some bytes of the body."""

        def act(handler: BaseHTTPRequestHandler) -> bool:
            self.answer(handler, cut=after)
            handler.wfile.flush()
            handler.connection.shutdown(socket.SHUT_RDWR)
            handler.close_connection = True
            return False

        return act

    def stall(self, handler: BaseHTTPRequestHandler) -> bool:
        """Sends a part of the body, then nothing more."""
        self.answer(handler, cut=100_000)
        handler.wfile.flush()
        self.closing.wait(10)
        handler.close_connection = True
        return False

    def close(self) -> None:
        self.closing.set()
        self.http.shutdown()
        self.http.server_close()
        self.thread.join()


def status(code: int, **headers: str) -> Callable[[BaseHTTPRequestHandler], bool]:
    def act(handler: BaseHTTPRequestHandler) -> bool:
        handler.send_response(code)
        for name, value in {**headers, "Content-Length": "0"}.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        return False

    return act


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    server = Server()
    yield server
    server.close()


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The waits between tries, none of which is waited."""
    waited: list[float] = []
    monkeypatch.setattr("imagenets.data.prepare.download.time.sleep", waited.append)
    return waited


def left(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def put_part(target: Path, data: bytes, **state: str) -> None:
    target.with_name(target.name + ".part").write_bytes(data)
    if state:
        target.with_name(target.name + ".part.json").write_text(json.dumps(state))


def test_fetches_and_then_does_nothing(server: Server, tmp_path: Path) -> None:
    target = tmp_path / "downloads" / "Ordner ü" / "file.bin"
    for _ in range(2):
        assert fetch(server.url, target, size=len(BODY), sha256=SHA256) == target
    assert left(target.parent) == {"file.bin": BODY}
    assert len(server.asked) == 1
    assert fetch(server.url, target, sha256=SHA256, offline=True) == target


def test_unpinned_file(server: Server, tmp_path: Path) -> None:
    fetch(server.url, tmp_path / "file.bin")
    assert left(tmp_path) == {"file.bin": BODY}


@pytest.mark.parametrize("sha256", [None, SHA256])
def test_cut_connections_are_continued(
    server: Server, tmp_path: Path, waits: list[float], sha256: str | None
) -> None:
    server.script = [server.cut(150_000), server.cut(80_000), server.cut(70_000)]
    fetch(server.url, tmp_path / "file.bin", sha256=sha256, retries=1)
    assert left(tmp_path) == {"file.bin": BODY}
    begins = [int(asked["Range"][6:-1]) for asked in server.asked[1:]]
    assert len(begins) == 3
    assert 0 < begins[0] < begins[1] < begins[2]
    assert all(asked["If-Range"] == '"one"' for asked in server.asked[1:])
    assert len(waits) == 3


def test_a_killed_run_is_continued(server: Server, tmp_path: Path) -> None:
    put_part(tmp_path / "file.bin", BODY[:100_000], url=server.url, etag='"one"', modified="")
    fetch(server.url, tmp_path / "file.bin")
    assert server.asked[0]["Range"] == "bytes=100000-"
    assert left(tmp_path) == {"file.bin": BODY}


def test_part_from_another_mirror_is_continued_when_the_digest_is_known(
    server: Server, tmp_path: Path
) -> None:
    put_part(tmp_path / "file.bin", BODY[:9], url="http://elsewhere", etag='"x"', modified="")
    fetch(server.url, tmp_path / "file.bin", sha256=SHA256)
    assert server.asked[0]["Range"] == "bytes=9-"
    assert "If-Range" not in server.asked[0]
    assert left(tmp_path) == {"file.bin": BODY}


@pytest.mark.parametrize(
    "state", [{}, {"url": "http://elsewhere", "etag": '"one"'}, {"nonsense": "1"}]
)
def test_part_of_unknown_origin_is_not_continued(
    server: Server, tmp_path: Path, state: dict[str, str]
) -> None:
    put_part(tmp_path / "file.bin", b"?" * 100, **state)
    fetch(server.url, tmp_path / "file.bin")
    assert "Range" not in server.asked[0]
    assert left(tmp_path) == {"file.bin": BODY}


def test_weak_etag_is_no_validator(server: Server, tmp_path: Path) -> None:
    put_part(tmp_path / "file.bin", BODY[:9], url=server.url, etag='W/"one"', modified="")
    fetch(server.url, tmp_path / "file.bin")
    assert "Range" not in server.asked[0]


def test_changed_file_is_started_over(server: Server, tmp_path: Path) -> None:
    put_part(tmp_path / "file.bin", b"?" * 100, url=server.url, etag='"old"', modified="")
    fetch(server.url, tmp_path / "file.bin")
    assert server.asked[0]["If-Range"] == '"old"'
    assert left(tmp_path) == {"file.bin": BODY}


def test_server_that_ignores_if_range(server: Server, tmp_path: Path, waits: list[float]) -> None:
    """It continues with the bytes of another version, which its ETag gives away."""
    put_part(tmp_path / "file.bin", b"?" * 100, url=server.url, etag='"old"', modified="")
    server.script = [
        status(206, ETag='"one"', Content_Range=f"bytes 100-{len(BODY) - 1}/{len(BODY)}")
    ]
    fetch(server.url, tmp_path / "file.bin")
    assert left(tmp_path) == {"file.bin": BODY}
    assert waits == [0]


def test_wrong_range_is_not_appended(server: Server, tmp_path: Path, waits: list[float]) -> None:
    put_part(tmp_path / "file.bin", BODY[:100])
    server.script = [status(206, ETag='"one"', Content_Range=f"bytes 0-99/{len(BODY)}")]
    fetch(server.url, tmp_path / "file.bin", sha256=SHA256)
    assert left(tmp_path) == {"file.bin": BODY}


def test_server_without_range(server: Server, tmp_path: Path, waits: list[float]) -> None:
    server.ranges = False
    server.script = [server.cut(150_000)]
    fetch(server.url, tmp_path / "file.bin", sha256=SHA256)
    assert "Range" in server.asked[1]
    assert left(tmp_path) == {"file.bin": BODY}


def test_stale_part_with_known_digest(server: Server, tmp_path: Path) -> None:
    """The whole does not fit the digest: once more from the start before it is refused."""
    put_part(tmp_path / "file.bin", b"?" * 100)
    fetch(server.url, tmp_path / "file.bin", sha256=SHA256)
    assert [asked.get("Range") for asked in server.asked] == ["bytes=100-", None]
    assert left(tmp_path) == {"file.bin": BODY}


def test_complete_part(server: Server, tmp_path: Path) -> None:
    put_part(tmp_path / "file.bin", BODY)
    fetch(server.url, tmp_path / "file.bin", sha256=SHA256)
    assert len(server.asked) == 1
    assert left(tmp_path) == {"file.bin": BODY}


def test_part_longer_than_the_file(server: Server, tmp_path: Path, waits: list[float]) -> None:
    put_part(tmp_path / "file.bin", BODY + b"more", url=server.url, etag='"one"', modified="")
    fetch(server.url, tmp_path / "file.bin")
    assert left(tmp_path) == {"file.bin": BODY}


def test_wrong_digest_is_refused_and_kept_aside(server: Server, tmp_path: Path) -> None:
    pinned = "0" * 64
    with pytest.raises(CorruptError) as caught:
        fetch(server.url, tmp_path / "file.bin", sha256=pinned)
    message = str(caught.value)
    assert all(part in message for part in (server.url, pinned, SHA256, "file.bin.wrong"))
    assert left(tmp_path) == {"file.bin.wrong": BODY}


def test_wrong_size_is_refused(server: Server, tmp_path: Path) -> None:
    with pytest.raises(CorruptError, match="has 307,200 bytes instead of 5"):
        fetch(server.url, tmp_path / "file.bin", size=5)
    assert left(tmp_path) == {"file.bin.wrong": BODY}


def test_target_is_replaced_only_by_better(
    server: Server, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    target = tmp_path / "file.bin"
    target.write_bytes(b"mine")
    with pytest.raises(CorruptError):
        fetch(server.url, target, sha256="0" * 64)
    assert target.read_bytes() == b"mine"
    server.script = [status(404)]
    with pytest.raises(DownloadError):
        fetch(server.url, target, sha256=SHA256)
    assert target.read_bytes() == b"mine"
    fetch(server.url, target, sha256=SHA256)
    assert left(tmp_path) == {"file.bin": BODY, "file.bin.wrong": b"mine"}
    assert "it is fetched again" in caplog.text


def test_offline_names_address_and_place(server: Server, tmp_path: Path) -> None:
    target = tmp_path / "file.bin"
    with pytest.raises(DownloadError, match="is not there, and nothing is fetched") as caught:
        fetch(server.url, target, offline=True)
    assert server.url in str(caught.value)
    assert f"put it at {target}" in str(caught.value)
    target.write_bytes(b"other")
    with pytest.raises(DownloadError, match=f"instead of {SHA256}, and nothing is fetched"):
        fetch(server.url, target, sha256=SHA256, offline=True)
    assert not server.asked


def test_missing_file_is_not_tried_again(
    server: Server, tmp_path: Path, waits: list[float]
) -> None:
    server.script = [status(404)]
    with pytest.raises(DownloadError, match="the server answers 404 Not Found") as caught:
        fetch(server.url, tmp_path / "file.bin")
    assert f"put it at {tmp_path}/file.bin" in str(caught.value)
    assert waits == []
    assert left(tmp_path) == {}


def test_busy_server_is_tried_again(server: Server, tmp_path: Path, waits: list[float]) -> None:
    server.script = [status(503), status(500), status(429, Retry_After="7"), status(503)]
    fetch(server.url, tmp_path / "file.bin")
    assert left(tmp_path) == {"file.bin": BODY}
    assert waits[0] == 0
    assert 2.0 <= waits[1] <= 3.0
    assert waits[2] == 7
    assert 8.0 <= waits[3] <= 9.0


def test_a_date_to_wait_for(server: Server, tmp_path: Path, waits: list[float]) -> None:
    soon = email.utils.formatdate(time.time() + 20, usegmt=True)
    long = email.utils.formatdate(time.time() + 3600, usegmt=True)
    asked = (soon, "0", "nonsense", long)
    server.script = [status(503, Retry_After=text) for text in asked]
    fetch(server.url, tmp_path / "file.bin")
    assert 10 <= waits[0] <= 20
    assert waits[1] == 0
    assert 4.0 <= waits[2] <= 5.0  # as if nothing had been asked
    assert waits[3] == 60


def test_it_gives_up(server: Server, tmp_path: Path, waits: list[float]) -> None:
    server.script = [status(503)] * 9
    with pytest.raises(DownloadError, match=r"the server answers 503 \(4 tries\)") as caught:
        fetch(server.url, tmp_path / "file.bin", retries=3)
    assert "HTTPS_PROXY" in str(caught.value)
    assert len(waits) == 3


def test_every_try_that_fails_is_told_before_the_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/x"  # taken, and nobody listens
        told: list[list[str]] = []
        monkeypatch.setattr(
            "imagenets.data.prepare.download.time.sleep",
            lambda _: told.append(list(caplog.messages)),
        )
        refused = pytest.raises(DownloadError, match=r"no connection \(3 tries\)")
        with caplog.at_level("INFO"), refused:
            fetch(url, tmp_path / "x", retries=2)
    assert [len(lines) for lines in told] == [2, 3]
    assert told[0][0] == f"fetching {url}"
    assert told[0][1].startswith(f"{url}: no connection (try 1 of 3); the next one in ")
    assert told[1][2].startswith(f"{url}: no connection (try 2 of 3); the next one in ")


def test_no_server(tmp_path: Path, waits: list[float], server: Server) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/x"  # taken, and nobody listens
        refused = re.escape(f"{url}: could not be fetched: no conn")
        with pytest.raises(DownloadError, match=refused):
            fetch(url, tmp_path / "x", retries=1)


@pytest.mark.parametrize("url", ["nonsense", "gopher://x/y", "http://"])
def test_no_address(tmp_path: Path, url: str, waits: list[float]) -> None:
    with pytest.raises(DownloadError, match="not an address to fetch from"):
        fetch(url, tmp_path / "x")
    assert waits == []


def test_stalled_connection(server: Server, tmp_path: Path, waits: list[float]) -> None:
    server.script = [server.stall]
    fetch(server.url, tmp_path / "file.bin", timeout=0.3)
    assert server.asked[1]["Range"] == "bytes=65536-"
    assert left(tmp_path) == {"file.bin": BODY}


def test_stalled_for_good(server: Server, tmp_path: Path, waits: list[float]) -> None:
    server.script = [server.stall, server.stall]
    with pytest.raises(DownloadError, match=r"no byte arrived for 0\.2 s"):
        fetch(server.url, tmp_path / "file.bin", timeout=0.2, retries=0)
    assert (tmp_path / "file.bin.part").read_bytes() == BODY[:65536]


def test_proxy_from_the_environment(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", server.url.rpartition("/set")[0])
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    fetch("http://nowhere.invalid/file.bin", tmp_path / "file.bin", sha256=SHA256)
    assert server.asked[0]["Host"] == "nowhere.invalid"


def test_full_disk_keeps_the_part(server: Server, tmp_path: Path, waits: list[float]) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    part = tmp_path / "file.bin.part"
    part.symlink_to("/dev/full")
    put_state = {"url": server.url, "etag": '"one"', "modified": ""}
    (tmp_path / "file.bin.part.json").write_text(json.dumps(put_state))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(transfer, "length", lambda path: 5)  # a device has no length
        with pytest.raises(DownloadError, match="the disk is full") as caught:
            fetch(server.url, tmp_path / "file.bin")
    assert str(part) in str(caught.value)
    assert part.is_symlink()


class Screen(io.StringIO):
    def __init__(self, terminal: bool) -> None:
        super().__init__()
        self.terminal = terminal

    def isatty(self) -> bool:
        return self.terminal


@pytest.mark.parametrize(("terminal", "quiet"), [(True, False), (True, True), (False, False)])
def test_progress_bar(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, terminal: bool, quiet: bool
) -> None:
    screen = Screen(terminal)
    monkeypatch.setattr("sys.stderr", screen)
    fetch(server.url, tmp_path / "file.bin", quiet=quiet)
    assert ("100%" in screen.getvalue()) is (terminal and not quiet)
    assert ("300k/300k" in screen.getvalue()) is (terminal and not quiet)
