"""A real browser, driven over Chromium's DevTools protocol: pages are opened, typed into, and looked at."""

from __future__ import annotations

import base64
import json
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote
from urllib.request import Request, urlopen

from websockets.sync.client import connect

from benchmarks.timeline_page import browser

PATIENCE = 20.0
"""Seconds until a page that does not become what it should is given up."""


class Tab:
    """An open page."""

    def __init__(self, address: str, id: str, socket: str) -> None:
        """Talk to the tab of an id, of the browser at an address, over its socket."""
        self._address, self._id = address, id
        self._open = ExitStack()
        self._socket = self._open.enter_context(connect(socket, max_size=None))
        self._number = 0

    def tell(self, method: str, **values: Any) -> dict[str, Any]:
        """Call a method of the protocol; return its result."""
        self._number += 1
        self._socket.send(json.dumps({"id": self._number, "method": method, "params": values}))
        while True:
            told = json.loads(self._socket.recv(timeout=PATIENCE))
            if told.get("id") == self._number:
                assert "error" not in told, told
                result: dict[str, Any] = told["result"]
                return result

    def value(self, expression: str) -> Any:
        """Return what an expression of JavaScript is, as JSON values."""
        told = self.tell("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in told, told
        return told["result"].get("value")

    def wait(self, expression: str) -> None:
        """Wait until an expression is true."""
        deadline = time.monotonic() + PATIENCE
        while not self.value(f"Boolean({expression})"):
            assert time.monotonic() < deadline, f"never true: {expression}; {self.value('document.body.innerText')}"
            time.sleep(0.03)

    def type(self, text: str, into: str = "input") -> None:
        """Type a text into the first element that a selector finds, and press Enter."""
        self.value(f"document.querySelector({json.dumps(into)}).focus()")
        self.tell("Input.insertText", text=text)
        enter = {"key": "Enter", "code": "Enter", "windowsVirtualKeyCode": 13, "text": "\r"}
        for what in ("keyDown", "keyUp"):
            self.tell("Input.dispatchKeyEvent", type=what, **enter)

    def picture(self, path: Path) -> None:
        """Save a screenshot as PNG."""
        path.write_bytes(base64.b64decode(self.tell("Page.captureScreenshot", format="png")["data"]))

    def close(self) -> None:
        """Close the tab, whatever its page is doing."""
        self._open.close()
        urlopen(f"{self._address}/json/close/{self._id}", timeout=PATIENCE).read()


class Browser:
    """A running Chromium."""

    def __init__(self, address: str) -> None:
        """Talk to the one that listens at an address."""
        self.address = address

    def open(self, url: str) -> Tab:
        """Open a page in a tab of its own."""
        with urlopen(Request(f"{self.address}/json/new?{quote(url)}", method="PUT"), timeout=PATIENCE) as reply:
            told = json.load(reply)
        tab = Tab(self.address, told["id"], told["webSocketDebuggerUrl"])
        tab.wait("document.readyState == 'complete' && location.href != 'about:blank'")
        return tab


@contextmanager
def running(width: int = 900, height: int = 700) -> Iterator[Browser]:
    """Run a headless Chromium with a profile of its own."""
    program = browser()
    assert program is not None, "no Chromium"
    quiet = ("background-networking", "component-update", "default-apps", "extensions", "gpu", "sync")
    command = [program, "--headless", "--no-sandbox", "--no-first-run", "--disable-dev-shm-usage", "--hide-scrollbars"]
    command += [*(f"--disable-{one}" for one in quiet), f"--window-size={width},{height}", "--remote-debugging-port=0"]
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        quietly = subprocess.DEVNULL
        process = subprocess.Popen([*command, f"--user-data-dir={profile}"], stdout=quietly, stderr=quietly)
        try:
            told, deadline = Path(profile, "DevToolsActivePort"), time.monotonic() + PATIENCE
            while not (told.exists() and "\n" in told.read_text()):
                assert process.poll() is None, f"{program} ended with {process.returncode}"
                assert time.monotonic() < deadline, f"{program} does not listen"
                time.sleep(0.05)
            yield Browser(f"http://127.0.0.1:{told.read_text().splitlines()[0]}")
        finally:
            process.terminate()
            process.wait(PATIENCE)
