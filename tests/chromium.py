"""A headless Chromium for tests of pages: it is spoken to through two pipes, no library needed."""

from __future__ import annotations

import base64
import itertools
import json
import os
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")

found = next(filter(None, map(shutil.which, NAMES)), None)

needed = pytest.mark.skipif(
    found is None,
    reason=f"needs a Chromium on the PATH ({', '.join(NAMES)}); Debian: apt-get install chromium",
)


_START = """
import os, sys
for source, high in zip(map(int, sys.argv[1:3]), (203, 204)):
    os.dup2(source, high)
for high in (203, 204):
    os.dup2(high, high - 200)
os.execv(sys.argv[3], sys.argv[3:])
"""
"""Starts it with the pipes where it looks for them: it reads from descriptor 3 and writes to 4."""


class Chromium:
    """One page in a browser. DevTools protocol: messages end with a zero byte.

    Attributes:
        problems: What was logged as an error, and exceptions that nobody caught.
        requests: Addresses that were asked for, but those inside the page (data:).
    """

    def __init__(self, sender: int, receiver: int) -> None:
        self._sender, self._receiver = sender, receiver
        self._numbers = itertools.count(1)
        self._left = b""
        self._session: str | None = None
        self.problems: list[str] = []
        self.requests: list[str] = []
        self.loaded = False
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **arguments: Any) -> Any:
        """Calls a method of the protocol."""
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": arguments}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._sender, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == number:
                assert "error" not in answer, answer
                return answer["result"]

    def open(self, path: Path, width: int = 1280, height: int = 900, dark: bool = False) -> None:
        """Opens a file and waits until it is loaded."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            **{"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False},
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        self.loaded = False
        self.call("Page.navigate", url=path.resolve().as_uri())
        while not self.loaded:
            self._next()

    def run(self, script: str) -> Any:
        """The value of an expression in the page; a promise is waited for."""
        answer = self.call(
            "Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def press(self, key: str) -> None:
        """Presses a key and lets it go."""
        for kind in ("rawKeyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key)

    def move(self, x: float, y: float) -> None:
        """Brings the pointer to a place of the window."""
        self.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)

    def screenshot(self, path: Path, **clip: float) -> None:
        """Writes what is seen, or a part of the page: x, y, width, height."""
        more = {"clip": {**clip, "scale": 1}, "captureBeyondViewport": True} if clip else {}
        data = self.call("Page.captureScreenshot", format="png", **more)["data"]
        path.write_bytes(base64.b64decode(data))

    def _next(self) -> Any:
        end = time.monotonic() + 60
        while b"\0" not in self._left:
            ready, _, _ = select.select([self._receiver], [], [], max(0, end - time.monotonic()))
            assert ready, "Chromium has said nothing for a minute"
            data = os.read(self._receiver, 1 << 20)
            assert data, "Chromium has ended"
            self._left += data
        message, _, self._left = self._left.partition(b"\0")
        heard = json.loads(message)
        self._note(heard.get("method"), heard.get("params", {}))
        return heard

    def _note(self, method: str | None, params: Any) -> None:
        if method == "Runtime.exceptionThrown":
            self.problems.append(json.dumps(params["exceptionDetails"]))
        elif method == "Runtime.consoleAPICalled" and params["type"] in ("error", "assert"):
            self.problems.append(json.dumps(params["args"]))
        elif method == "Log.entryAdded" and params["entry"]["level"] == "error":
            self.problems.append(params["entry"]["text"])
        elif method == "Network.requestWillBeSent":
            url = params["request"]["url"]
            if not url.startswith("data:"):
                self.requests.append(url)
        elif method == "Page.loadEventFired":
            self.loaded = True


@contextmanager
def chromium(folder: Path) -> Iterator[Chromium]:
    """A browser with a profile of its own in a folder; it ends with the block."""
    assert found is not None
    (theirs_in, ours_out), (ours_in, theirs_out) = os.pipe(), os.pipe()
    words = [
        *(found, "--headless=new", "--remote-debugging-pipe", "--no-first-run", "--disable-gpu"),
        *(f"--user-data-dir={folder / 'profile'}", "--disable-dev-shm-usage"),
        *(["--no-sandbox"] if os.geteuid() == 0 else []),  # the sandbox refuses root
    ]
    starter = [sys.executable, "-c", _START, str(theirs_in), str(theirs_out), *words]
    process = subprocess.Popen(
        starter, pass_fds=(theirs_in, theirs_out), stderr=subprocess.DEVNULL, cwd=folder
    )
    os.close(theirs_in)
    os.close(theirs_out)
    try:
        yield Chromium(ours_out, ours_in)
    finally:
        os.close(ours_out)
        os.close(ours_in)
        process.terminate()
        process.wait(30)
