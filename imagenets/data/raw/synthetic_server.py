"""Serves the synthetic set's lists and mask archive from the loopback, as the publishers would."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any


@contextmanager
def serve(folder: Path) -> Iterator[str]:
    """Serves a set's lists and archive from the loopback, so that downloading can be tried.

    Args:
        folder: What `generate` was given.

    Yields:
        The base URL: `<url>/categories/...` are the lists, `<url>/ImageNetS6-<md5>.zip` the masks.
    """
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Handler, folder))
    thread = Thread(target=partial(server.serve_forever, poll_interval=0.05), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    """Serves files of one folder, whole or a Range of them."""

    def __init__(self, folder: Path, *rest: Any) -> None:
        self.folder = folder
        super().__init__(*rest)

    def do_GET(self) -> None:
        self._answer(body=True)

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def log_message(self, format: str, *args: Any) -> None:
        """Keeps quiet: stderr belongs to the command."""

    def _answer(self, body: bool) -> None:
        path = self._path()
        if path is None:
            self.send_error(404)
            return
        data = path.read_bytes()
        first, last = _range(self.headers.get("Range"), len(data))
        if first >= len(data):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(data)}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        partial_answer = (first, last) != (0, len(data) - 1)
        self.send_response(206 if partial_answer else 200)
        if partial_answer:
            self.send_header("Content-Range", f"bytes {first}-{last}/{len(data)}")
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(last + 1 - first))
        self.end_headers()
        if body:
            self.wfile.write(data[first : last + 1])

    def _path(self) -> Path | None:
        parts = self.path.strip("/").split("/")
        if not set(parts).isdisjoint({"", ".", ".."}):
            return None
        for base in (self.folder / "index", self.folder):
            path = base.joinpath(*parts)
            if path.is_file():
                return path
        return None


def _range(header: str | None, size: int) -> tuple[int, int]:
    """First and last byte asked for; everything when there is no (readable) Range."""
    unit, _, span = (header or "").partition("=")
    first, dash, last = span.partition("-")
    if unit != "bytes" or not dash or not (first.isdigit() or last.isdigit()):
        return 0, size - 1
    if not first:
        return max(0, size - int(last)), size - 1
    return int(first), min(int(last), size - 1) if last.isdigit() else size - 1
