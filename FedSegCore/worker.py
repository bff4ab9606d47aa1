"""A worker process of `simulate --workers N`: makes its sites' clients and answers messages on its pipes."""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

from FedSegCore.errors import FedSegError, StorageError
from FedSegCore.federation.frames import read_frame, write_frame

Frames = queue.Queue[tuple[dict[str, Any], bytes]]


def main() -> int:
    """Answer until the other end closes the pipe."""
    # Ctrl-C reaches every process of the terminal; the one that started this one decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Whatever libraries print must not get between the frames.
    pipe: BinaryIO = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    sys.stdout = sys.stderr
    frames: Frames = queue.Queue()
    threading.Thread(target=_read, args=(sys.stdin.buffer, frames), daemon=True).start()
    job, _ = frames.get()
    clients: Mapping[str, Any] = {}
    with contextlib.suppress(BrokenPipeError):
        while True:
            head, message = frames.get()
            try:
                clients = clients or make_clients(job)
                reply = clients[head["site"]].handle(message)
            except Exception as error:
                # The process that trains the other sites goes on; the server writes the reason into its log.
                write_frame(pipe, failure(error))
            else:
                write_frame(pipe, {}, reply)
    return 0


def _read(pipe: BinaryIO, frames: Frames) -> None:
    """Take in frames; end the process, in the midst of training too, once the other end is gone.

    What is on disk is whole: every file is replaced in one step.
    """
    try:
        while True:
            frames.put(read_frame(pipe))
    except EOFError:
        os._exit(0)


def failure(error: Exception) -> dict[str, Any]:
    """The head of a frame that tells why there is no answer; `disk` where this machine's disk is at fault."""
    if isinstance(error, FedSegError):
        return {"failed": error.message, "fix": error.fix, "disk": isinstance(error, StorageError)}
    reason = " ".join(f"{type(error).__name__}: {error}".split())
    return {"failed": reason[:_LONGEST_REASON], "fix": "", "disk": False}


_LONGEST_REASON = 300


def make_clients(job: dict[str, Any]) -> dict[str, Any]:
    """The clients of this worker's sites, from the words of its job."""
    import torch

    from FedSegCore.device import choose_device
    from FedSegCore.methods.registry import named
    from FedSegCore.participants import member_client
    from FedSegCore.run import Run, read_cache, read_start
    from FedSegCore.setting import read_setting
    from FedSegCore.study import parse_study

    torch.set_num_threads(job["threads"])
    study = parse_study(job["study"], Path())
    header, start = read_start(Path(job["init"])) if job["init"] else (None, {})
    setting = read_setting(study, like=header)
    mine = [data for data in setting.with_role("member") if data.site.name in job["sites"]]
    run = Run(
        setting,
        read_cache(setting, mine),
        named(job["method"], study.method_options),
        job["seed"],
        Path(job["folder"]),
        choose_device(job["device"]),
        start,
    )
    return {data.site.name: member_client(run, data) for data in mine}


if __name__ == "__main__":
    raise SystemExit(main())
