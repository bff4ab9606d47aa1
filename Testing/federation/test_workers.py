"""Sites in worker processes that do as they are told, without torch or data."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import Generator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from FedSegCore.errors import DataError, InputError, SiteError, StorageError
from FedSegCore.federation.frames import read_frame, write_frame
from FedSegCore.federation.method import ClientInfo, Round
from FedSegCore.federation.workers import Workers
from FedSegCore.simulation import worker

SCRIPT = """
import os, sys, time
from FedSegCore.federation.frames import read_frame, write_frame
out = os.fdopen(os.dup(1), "wb")
job, _ = read_frame(sys.stdin.buffer)
with open(job["log"], "a") as log:
    log.write(f"{os.getpid()} {' '.join(job['sites'])}\\n")
while True:
    try:
        head, message = read_frame(sys.stdin.buffer)
    except EOFError:
        break
    word = message.decode()
    if word == "die":
        os.kill(os.getpid(), 9)
    if word == "sleep":
        time.sleep(60)
    if word in ("fail", "stop"):
        write_frame(out, {"failed": "its images are gone.", "fix": "Mend it.", "stop": word == "stop"})
    else:
        write_frame(out, {}, f"{head['site']} heard {word}".encode())
"""

SITES = [ClientInfo(name, ("CT",), ("Liver",), 1) for name in ("c", "a", "b")]


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """A line for each process that was started."""
    return tmp_path / "started"


@pytest.fixture
def script(tmp_path: Path) -> tuple[str, ...]:
    path = tmp_path / "script.py"
    path.write_text(SCRIPT)
    return (sys.executable, str(path))


def make(script: tuple[str, ...], log: Path, *, number: int, timeout: float = 30.0) -> Workers:
    return Workers(SITES, number=number, job={"log": str(log)}, timeout=timeout, command=script)


def answers(workers: Workers, **words: str) -> dict[str, str]:
    """What each site answered to its word, or why it did not."""
    replies = workers.exchange(lambda client: words.get(client.name, "hello").encode(), Round(1, 1))
    return {
        client.name: f"{reply.reason} {reply.fix}" if isinstance(reply, SiteError) else reply.decode()
        for client, reply in replies
    }


def processes(log: Path) -> list[int]:
    return [int(line.split()[0]) for line in log.read_text().splitlines()]


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.parametrize("number", [1, 2, 5])
def test_every_site_answers_in_the_order_of_the_names(
    number: int, script: tuple[str, ...], log: Path
) -> None:
    workers = make(script, log, number=number)
    assert [client.name for client in workers.clients()] == ["a", "b", "c"]
    for word in ("one", "two"):
        told = answers(workers, a=word, b=word, c=word)
        assert list(told.items()) == [(name, f"{name} heard {word}") for name in "abc"]
    assert len(processes(log)) == min(number, 3), "they live on from round to round"
    workers.close()
    assert not any(alive(pid) for pid in processes(log))


def test_a_killed_worker_costs_its_site_one_round_and_the_others_nothing(
    script: tuple[str, ...], log: Path
) -> None:
    workers = make(script, log, number=1)
    told = answers(workers, a="die")
    assert "its process ended without an answer (signal 9)" in told["a"] and "memory" in told["a"]
    assert (told["b"], told["c"]) == ("b heard hello", "c heard hello")
    assert answers(workers)["a"] == "a heard hello"
    workers.close()
    assert len(processes(log)) == 2


def test_a_site_that_takes_too_long_is_left_out_with_the_limit_named(
    script: tuple[str, ...], log: Path
) -> None:
    workers = make(script, log, number=3, timeout=1.5)
    started = time.monotonic()
    told = answers(workers, b="sleep")
    assert time.monotonic() - started < 20
    assert "no answer within round_timeout = 1.5 s" in told["b"] and "Raise round_timeout" in told["b"]
    assert (told["a"], told["c"]) == ("a heard hello", "c heard hello")
    assert answers(workers)["b"] == "b heard hello"
    workers.close()


def test_a_sites_own_account_of_a_failure_is_passed_on(script: tuple[str, ...], log: Path) -> None:
    workers = make(script, log, number=2)
    assert answers(workers, a="fail")["a"] == "its images are gone. Mend it."
    workers.close()


def test_a_full_disk_or_bad_input_ends_the_round_for_all(script: tuple[str, ...], log: Path) -> None:
    workers = make(script, log, number=1)
    with pytest.raises(InputError, match="gone"):
        answers(workers, b="stop")
    workers.close()
    assert not any(alive(pid) for pid in processes(log))


def test_a_command_that_does_not_start_is_a_lost_site(log: Path) -> None:
    workers = make((sys.executable, "-c", "raise SystemExit(3)"), log, number=3)
    assert all("exit code 3" in told for told in answers(workers).values())
    workers.close()


def test_a_round_that_is_given_up_leaves_no_process_at_work(script: tuple[str, ...], log: Path) -> None:
    workers = make(script, log, number=1)
    replies = workers.exchange(lambda client: b"sleep" if client.name == "b" else b"hello", Round(1, 1))
    next(replies)
    started = time.monotonic()
    assert isinstance(replies, Generator)
    replies.close()
    workers.close()
    assert time.monotonic() - started < 10 and not any(alive(pid) for pid in processes(log))
    assert "stopped" in answers(workers)["a"]


def test_frames_keep_head_and_body_and_an_end_is_told() -> None:
    pipe = io.BytesIO()
    write_frame(pipe, {"site": "é"}, b"\x00\x01")
    write_frame(pipe, {})
    pipe.seek(0)
    assert read_frame(pipe) == ({"site": "é"}, b"\x00\x01")
    assert read_frame(pipe) == ({}, b"")
    with pytest.raises(EOFError):
        read_frame(pipe)
    with pytest.raises(EOFError):
        read_frame(io.BytesIO(pipe.getvalue()[:14]))


class Started:
    """Sites in this worker that answer at once, but for those that fail."""

    def __init__(self, folder: Path, **failing: Exception) -> None:
        self.failing = failing
        self.clients = worker.Clients({"folder": str(folder)})
        self.clients.of = self.client  # type: ignore[assignment, method-assign]

    def client(self, site: str) -> Any:
        """A client, or the site's failure while its data is read."""
        if site in self.failing:
            raise self.failing[site]
        return SimpleNamespace(handle=lambda message: site.encode() + message)

    def head(self, site: str) -> dict[str, Any]:
        """How an answer begins."""
        return worker.answer(self.clients, site, b"")[0]


def test_a_site_that_cannot_start_costs_its_neighbours_in_the_process_nothing(tmp_path: Path) -> None:
    sites = Started(tmp_path, a=ValueError("DOE_JANE is odd"))
    reason = "its start failed (ValueError); the site's errors.log says more."
    head = sites.head("a")
    assert (head["failed"], head["stop"]) == (reason, False) and head["fix"]
    assert "DOE_JANE is odd" in (tmp_path / "sites" / "a" / "errors.log").read_text()
    assert worker.answer(sites.clients, "b", b"!") == ({}, b"b!")


def test_data_that_cannot_be_used_and_a_full_disk_stop_the_study(tmp_path: Path) -> None:
    disk = StorageError("a", OSError(28, "No space left"))
    sites = Started(tmp_path, a=DataError("No case.", "Add one."), b=disk)
    assert sites.head("a") == {"failed": "No case.", "fix": "Add one.", "stop": True}
    assert sites.head("b")["stop"] is True


def test_a_worker_passes_on_what_a_site_tells_of_its_failure(tmp_path: Path) -> None:
    sites = Started(tmp_path, a=SiteError("It came to NaN.", "Go slower.", site="a", round_number=1))
    assert sites.head("a") == {"failed": "It came to NaN.", "fix": "Go slower.", "stop": False}
    assert not (tmp_path / "sites").exists()


def test_a_worker_whose_data_cannot_be_read_answers_so_and_ends_with_its_pipe(tmp_path: Path) -> None:
    job = {"study": {}, "method": "fedavg", "seed": 0, "folder": str(tmp_path), "device": "cpu",
           "threads": 1, "init": str(tmp_path / "no.safetensors"), "sites": ["a"]}  # fmt: skip
    command = [sys.executable, "-m", "FedSegCore.simulation.worker"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None and process.stdout is not None
        write_frame(process.stdin, job)
        write_frame(process.stdin, {"site": "a"}, b"hello")
        head, _ = read_frame(process.stdout)
        assert "study" in head["failed"] and head["stop"] is True
        process.send_signal(signal.SIGINT)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.3)
        process.stdin.close()
        assert process.wait(10) == 0
