"""Child processes that end when this one does, however it does, and what they listen on."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, final

LOOPBACK: Final = "127.0.0.1"


@final
class Child:
    """A Python program in a process of its own; it calls `end_with_parent` first.

    Args:
        words: what stands after `python`.
        log: gets all that it says.
        environment: variables besides this process's own.
    """

    def __init__(self, words: Sequence[str], *, log: Path, environment: Mapping[str, str]) -> None:
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as out:
            self._process = subprocess.Popen(
                [sys.executable, *words], stdin=subprocess.PIPE, stdout=out, stderr=out,
                env={**os.environ, **environment}, start_new_session=True,
            )  # fmt: skip

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self.code is None

    @property
    def code(self) -> int | None:
        """What it ended with; None while it runs."""
        return self._process.poll()

    def stop(self) -> None:
        """Ask it to end, and end it if it does not."""
        self._process.terminate()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stdin:
            self._process.stdin.close()


def end_with_parent() -> None:
    """End this process as soon as the pipe from the one that started it does."""
    threading.Thread(target=_watch, daemon=True).start()


def _watch() -> None:
    # Not through `sys.stdin`, whose lock Python wants as it ends.
    while os.read(0, 4096):
        pass
    os._exit(0)


def free_port() -> int:
    """A port of the loopback that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])
