"""A headless Chromium that is driven through its pipe: JSON messages, each ended by a zero byte."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

PROGRAM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
_PATIENCE_S = 30.0


class Browser:
    """One page.

    Args:
        told: what the page wrote into its console, was refused by its policy, or failed with.
    """

    def __init__(self, to: int, fro: int) -> None:
        self._to, self._from, self._number, self._rest = to, fro, 0, b""
        self._session: str | None = None
        self.told: list[str] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """One command of the browser's protocol and its answer."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        message |= {"sessionId": self._session} if self._session else {}
        os.write(self._to, json.dumps(message).encode() + b"\0")
        while (answer := self._next()).get("id") != self._number:
            self._hear(answer)
        assert "error" not in answer, (method, answer)
        found: dict[str, Any] = answer["result"]
        return found

    def ask(self, expression: str) -> Any:
        """The value of an expression in the page."""
        found = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def until(self, expression: str) -> None:
        """Wait for an expression in the page to be true, in whatever page it is by then."""
        deadline = time.monotonic() + _PATIENCE_S
        while not self.ask(f"Boolean({expression})"):
            assert time.monotonic() < deadline, (expression, self.ask("document.body.innerText"), self.told)
            time.sleep(0.05)

    def open(self, address: str) -> None:
        self.call("Page.navigate", url=address)
        self.until("document.readyState === 'complete'")

    def wide(self, width: int) -> None:
        """As on a screen of this width; below 600 a phone's."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=900,
            deviceScaleFactor=1,
            mobile=width < 600,
        )

    def online(self, reachable: bool) -> None:
        """Whether the page reaches anybody from now on."""
        unlimited = {"latency": 0, "downloadThroughput": -1, "uploadThroughput": -1}
        self.call("Network.emulateNetworkConditions", offline=not reachable, **unlimited)

    def photograph(self, path: Path) -> None:
        """The whole page as PNG."""
        self.ask("new Promise(done => requestAnimationFrame(() => setTimeout(done, 400)))")
        picture = self.call("Page.captureScreenshot", captureBeyondViewport=True)["data"]
        path.write_bytes(base64.b64decode(picture))

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            piece = os.read(self._from, 1 << 20)
            assert piece, "the browser ended"
            self._rest += piece
        message, self._rest = self._rest.split(b"\0", 1)
        found: dict[str, Any] = json.loads(message)
        return found

    def _hear(self, event: dict[str, Any]) -> None:
        if event.get("method") in ("Log.entryAdded", "Runtime.exceptionThrown", "Runtime.consoleAPICalled"):
            self.told.append(json.dumps(event["params"])[:500])
        if event.get("method") == "Page.javascriptDialogOpening":
            self.told.append(f"a dialog: {event['params']['message']}")


@contextlib.contextmanager
def browser(folder: Path) -> Iterator[Browser]:
    """A browser with a fresh profile in `folder`; it believes any certificate."""
    assert PROGRAM is not None
    hears, to = os.pipe()
    fro, says = os.pipe()
    options = (
        "--headless --no-sandbox --disable-gpu --hide-scrollbars --ignore-certificate-errors --no-first-run "
    )
    command = f'exec "$0" {options} --disable-dev-shm-usage --remote-debugging-pipe "$@" 3<&{hears} 4>&{says}'
    arguments = ["bash", "-c", command, PROGRAM, f"--user-data-dir={folder / 'profile'}"]
    process = subprocess.Popen(
        arguments, pass_fds=(hears, says), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    os.close(hears)
    os.close(says)
    try:
        yield Browser(to, fro)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        os.close(to)
        os.close(fro)
