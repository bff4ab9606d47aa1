"""The transport of a federation in several processes of one machine.

Each worker process holds the data and models of some sites and answers messages on its pipes; the messages are the
same bytes as in one process. A worker that dies or takes too long costs its sites the round, and is started anew
for the next.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeout
from typing import Any, BinaryIO, cast, final

from FedSegCore.errors import InputError, RunError, SiteError
from FedSegCore.federation.frames import read_frame, write_frame
from FedSegCore.federation.method import ClientInfo, Round
from FedSegCore.federation.transport import Outbox

Reply = bytes | SiteError


@final
class Workers:
    """Sites in worker processes.

    Args:
        infos: the sites.
        number: how many processes; never more than sites.
        job: JSON-able words from which the worker makes its sites' clients.
        timeout: seconds that one site may take for one answer.
        command: how a worker is started; it reads the job and the names of its sites from its first frame.
    """

    def __init__(
        self,
        infos: Sequence[ClientInfo],
        *,
        number: int,
        job: Mapping[str, Any],
        timeout: float,
        command: Sequence[str] = (sys.executable, "-m", "FedSegCore.simulation.worker"),
    ) -> None:
        self._infos = sorted(infos, key=lambda info: info.name)
        self._workers = [
            _Worker([info.name for info in self._infos[place::number]], job, command)
            for place in range(min(number, len(self._infos)))
        ]
        self._timeout = timeout

    def clients(self) -> list[ClientInfo]:
        """Who takes part, sorted by name."""
        return list(self._infos)

    def exchange(self, outbox: Outbox, round: Round) -> Iterator[tuple[ClientInfo, Reply]]:
        """Every worker lets its sites answer in turn; replies are yielded in the order of the names."""
        pools = [ThreadPoolExecutor(1) for _ in self._workers]
        asked: dict[str, tuple[_Worker, Future[bytes]]] = {}
        try:
            for info in self._infos:
                place = next(i for i, worker in enumerate(self._workers) if info.name in worker.sites)
                worker, message = self._workers[place], outbox(info)
                asked[info.name] = worker, pools[place].submit(worker.ask, info.name, message)
            for info in self._infos:
                yield info, self._reply(*asked[info.name], info, round)
        finally:
            # What is still asked for was given up (Ctrl-C, a full disk): nobody waits for the answer.
            for pool in pools:
                pool.shutdown(wait=False, cancel_futures=True)
            for worker, future in asked.values():
                if not future.done():
                    worker.stop()
            for pool in pools:
                pool.shutdown(wait=True)

    def close(self) -> None:
        """End the processes for good."""
        for worker in self._workers:
            worker.close()

    def _reply(self, worker: _Worker, future: Future[bytes], info: ClientInfo, round: Round) -> Reply:
        try:
            # A site waits for those before it in its process, so each of them may take its time.
            return future.result(timeout=self._timeout * len(worker.sites))
        except FutureTimeout:
            worker.stop()
            reason = f"no answer within round_timeout = {self._timeout:g} s."
            fix = "Raise round_timeout in the study, or use more --workers."
        except RunError as failed:
            reason, fix = failed.message, failed.fix
        return SiteError(reason, fix, site=info.name, round_number=round.number)


@final
class _Worker:
    """One process and the sites that live in it; started when first asked, and anew after it ended."""

    def __init__(self, sites: Sequence[str], job: Mapping[str, Any], command: Sequence[str]) -> None:
        self.sites = list(sites)
        self._job = job
        self._command = list(command)
        self._process: subprocess.Popen[bytes] | None = None
        self._closed = False

    def ask(self, site: str, message: bytes) -> bytes:
        """Let one site answer one message.

        Raises:
            RunError: the site failed, or its process ended.
            InputError: the study cannot go on: a site's data cannot be used, or the disk takes no more.
        """
        if self._closed:
            raise RunError("the study was stopped.")
        known, process = self._process, self._process or self._start()
        try:
            pipe = cast(BinaryIO, process.stdin)
            if known is None:
                write_frame(pipe, {**self._job, "sites": self.sites})
            write_frame(pipe, {"site": site}, message)
            head, body = read_frame(cast(BinaryIO, process.stdout))
        except (EOFError, OSError, ValueError):
            self.stop()
            _end(process)
            raise RunError(
                f"its process ended without an answer ({_ending(process.returncode)}).",
                "If memory ran out, use fewer --workers or a smaller batch_size.",
            ) from None
        if "failed" in head:
            raise (InputError if head["stop"] else RunError)(head["failed"], head["fix"])
        return body

    def stop(self) -> None:
        """End the process; what it had on disk stays."""
        process, self._process = self._process, None
        if process is not None:
            _end(process)

    def close(self) -> None:
        """End the process and start none again."""
        self._closed = True
        self.stop()

    def _start(self) -> subprocess.Popen[bytes]:
        # In a session of its own Ctrl-C does not reach it; it ends when its pipe does.
        self._process = subprocess.Popen(
            self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
        )
        return self._process


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        with contextlib.suppress(OSError):
            cast(BinaryIO, pipe).close()


def _ending(code: int) -> str:
    return f"signal {-code}" if code < 0 else f"exit code {code}"
