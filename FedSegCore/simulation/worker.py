"""A worker process of `simulate --workers N`: makes its sites' clients and answers messages on its pipes."""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, final

from FedSegCore.errors import InputError, SiteError
from FedSegCore.federation.failures import site_failure
from FedSegCore.federation.frames import read_frame, write_frame

if TYPE_CHECKING:
    from FedSegCore.federation.client import Client
    from FedSegCore.simulation.run import Run

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
    clients = Clients(job)
    with contextlib.suppress(BrokenPipeError):
        while True:
            head, message = frames.get()
            write_frame(pipe, *answer(clients, head["site"], message))
    return 0


def answer(clients: Clients, site: str, message: bytes) -> tuple[dict[str, Any], bytes]:
    """The head and body of the frame that answers one message; the head tells why there is no body.

    `stop` stands where the study cannot go on: the user's input or this machine's disk is at fault.
    """
    try:
        return {}, clients.of(site).handle(message)
    except InputError as error:
        return {"failed": error.message, "fix": error.fix, "stop": True}, b""
    except SiteError as error:
        return {"failed": error.reason, "fix": error.fix, "stop": False}, b""
    except Exception as error:
        # The process that trains the other sites goes on.
        told = site_failure(error, site=site, round_number=0, task="start", folder=clients.folder(site))
        return {"failed": told.reason, "fix": told.fix, "stop": False}, b""


def _read(pipe: BinaryIO, frames: Frames) -> None:
    """Take in frames; end the process, in the midst of training too, once the other end is gone.

    What is on disk is whole: every file is replaced in one step.
    """
    try:
        while True:
            frames.put(read_frame(pipe))
    except EOFError:
        os._exit(0)


@final
class Clients:
    """The clients of this worker's sites, each with its data from when it is first asked.

    Args:
        job: the words of the frame that began this process.
    """

    def __init__(self, job: dict[str, Any]) -> None:
        self._job = job
        self._run: Run | None = None
        self._made: dict[str, Client] = {}

    def of(self, site: str) -> Client:
        """One site's client.

        Raises:
            InputError: the study or the site's data cannot be used.
        """
        self._run = self._run or make_run(self._job)
        if site not in self._made:
            self._made[site] = make_client(self._run, site)
        return self._made[site]

    def folder(self, site: str) -> Path:
        """The site's private folder."""
        return Path(self._job["folder"]) / "sites" / site


def make_run(job: dict[str, Any]) -> Run:
    """The run of a worker's job, without any cases yet."""
    import torch

    from FedSegCore.data.casefiles import CaseFiles
    from FedSegCore.device import choose_device
    from FedSegCore.methods.registry import named
    from FedSegCore.setting import read_setting
    from FedSegCore.simulation.run import Cache, Run, read_start
    from FedSegCore.study import parse_study

    torch.set_num_threads(job["threads"])
    study = parse_study(job["study"], Path())
    header, start = read_start(Path(job["init"])) if job["init"] else (None, {})
    setting = read_setting(study, like=header)
    entry = named(job["method"], study.method_options)
    device = choose_device(job["device"])
    cache = Cache({}, {}, {}, CaseFiles(Path(job["files"])) if job["files"] else None)
    return Run(setting, cache, entry, job["seed"], Path(job["folder"]), device, start)


def make_client(run: Run, site: str) -> Client:
    """One site's client with its cases."""
    from FedSegCore.simulation.participants import member_client
    from FedSegCore.simulation.run import read_cache

    data = next(data for data in run.setting.with_role("member") if data.site.name == site)
    return member_client(replace(run, cache=read_cache(run.setting, [data], files=run.cache.files)), data)


if __name__ == "__main__":
    raise SystemExit(main())
