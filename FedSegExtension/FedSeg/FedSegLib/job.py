"""One run of the command: started, listened to, cancelled. Nothing here waits, but for `wait` and `kill`."""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import subprocess
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import IO

from FedSegLib.command import Command
from FedSegLib.events import Message, Story
from FedSegLib.translation import tr as _

RUNNING, DONE, FAILED, CANCELLED = "running", "done", "failed", "cancelled"

_PATIENCE = 1.0
"""Seconds between asking a process to end and ending it; with Slicer's timer a cancel takes less than two."""

_KEPT_BYTES = 65536


class Job:
    """A process and its events. Threads read its output; whoever owns the job calls `poll` from time to time.

    Args:
        words: the verb and its arguments.
        folder: where the process works.
        environment: its variables, see `Command.environment`.
    """

    def __init__(
        self, command: Command, words: list[str], *, folder: Path, environment: Mapping[str, str]
    ) -> None:
        self.story = Story()
        self.verb = words[0]
        self._log = b""
        self.state = RUNNING
        self._cancelled = False
        self._killAt: float | None = None
        self._pieces: "queue.Queue[tuple[bool, bytes]]" = queue.Queue()
        self._process: subprocess.Popen | None = None
        self._readers: list[threading.Thread] = []
        try:
            self._process = subprocess.Popen(
                [*command.words, *words],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                cwd=str(folder),
                env=command.environment(environment),
                **ownGroup(),
            )
        except OSError as error:
            self._fail(
                _("{program} could not be started: {reason}.").format(
                    program=command.words[0], reason=error.strerror or error
                ),
                _("Choose another program under Setup."),
            )
            return
        for isEvents, stream in ((True, self._process.stdout), (False, self._process.stderr)):
            reader = threading.Thread(target=self._read, args=(isEvents, stream), daemon=True)
            reader.start()
            self._readers.append(reader)

    @property
    def log(self) -> str:
        """The end of what it wrote to stderr."""
        return self._log.decode("utf-8", errors="replace")

    @property
    def exitCode(self) -> int | None:
        """The process's; None while it runs, and where it never did."""
        return None if self._process is None else self._process.poll()

    def poll(self) -> bool:
        """Take in what has come since; whether the job still runs."""
        if self.state != RUNNING:
            return False
        self._takePieces()
        ended = self._process.poll() is not None
        if ended and not any(reader.is_alive() for reader in self._readers):
            self._conclude()
        elif ended and self._killAt is None:
            self._killAt = time.monotonic() + _PATIENCE  # what it started still holds its output
        elif self._killAt is not None and time.monotonic() > self._killAt:
            signalTree(self._process, force=True)
        return self.state == RUNNING

    def cancel(self) -> None:
        """Ask the process, and all that it started, to end; those that do not are ended by a later `poll`."""
        if self.state == RUNNING and not self._cancelled:
            self._cancelled = True
            self._killAt = time.monotonic() + _PATIENCE
            signalTree(self._process, force=False)

    def kill(self) -> None:
        """End the process tree at once."""
        if self.state == RUNNING:
            self._cancelled = True
            signalTree(self._process, force=True)
            self.wait(_PATIENCE)

    def wait(self, seconds: float | None = None) -> str:
        """Poll until the job has ended or the time is over; its state."""
        end = None if seconds is None else time.monotonic() + seconds
        while self.poll() and (end is None or time.monotonic() < end):
            time.sleep(0.02)
        return self.state

    def _read(self, isEvents: bool, stream: IO[bytes]) -> None:
        with stream:
            while True:
                piece = os.read(stream.fileno(), 65536)
                if not piece:
                    return
                self._pieces.put((isEvents, piece))

    def _takePieces(self) -> None:
        while True:
            try:
                isEvents, piece = self._pieces.get_nowait()
            except queue.Empty:
                return
            if isEvents:
                self.story.take(piece)
            else:
                self._log = (self._log + piece)[-_KEPT_BYTES:]

    def _conclude(self) -> None:
        self._takePieces()
        self.story.close()
        if self._cancelled:
            signalTree(self._process, force=True)  # nothing that the process started outlives it
            self.state = CANCELLED
        elif self.story.error is not None:
            self.state = FAILED
        elif self.story.result is None:
            self._fail(
                lastWords(self._process.returncode),
                _("Free some memory and try again; the Python console and the application log say more."),
            )
        else:
            self.state = DONE

    def _fail(self, text: str, fix: str) -> None:
        self.story.error = Message(text, fix)
        self.state = FAILED


def lastWords(code: int) -> str:
    """What is said of a process that ended without a result; a negative exit code is a signal's."""
    if code < 0:
        return _("FedSeg was stopped by the system (signal {number}).").format(number=-code)
    return _("FedSeg ended without a result (exit code {code}).").format(code=code)


def ownGroup() -> dict:
    """How a process is started so that a signal reaches all that it starts, and no console window opens."""
    if os.name == "nt":
        return {"creationflags": subprocess.CREATE_NO_WINDOW | subprocess.CREATE_NEW_PROCESS_GROUP}
    return {"start_new_session": True}


def signalTree(process: subprocess.Popen, *, force: bool) -> None:
    """Ask a process of its own group, and all that it started, to end; or end them."""
    if os.name == "nt":
        subprocess.Popen(["taskkill", "/F", "/T", "/PID", str(process.pid)], **ownGroup())
        return
    with contextlib.suppress(ProcessLookupError, PermissionError):  # it has ended already
        os.killpg(process.pid, signal.SIGKILL if force else signal.SIGTERM)
