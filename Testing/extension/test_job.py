"""Runs of the command: their ends, good and bad, and their cancellation."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from FedSegLib.command import Command
from FedSegLib.job import CANCELLED, DONE, FAILED, RUNNING, Job

Start = Callable[[str], Job]


@pytest.fixture
def start(fake_fedseg: Path, tmp_path: Path) -> Start:
    def started(how: str) -> Job:
        image = tmp_path / "image.nrrd"
        image.write_bytes(b"NRRD0004\ntype: uchar\ndimension: 3\nsizes: 1 1 2\nencoding: raw\n\n\0\0")
        words = [
            "segment",
            "--json",
            "--image",
            f"MR={image}",
            "--route",
            "d",
            "-o",
            "out",
            "--disagreement",
            "map",
        ]
        environment = {**os.environ, "FAKE_FEDSEG": how}
        return Job(Command((str(fake_fedseg),)), words, folder=tmp_path, environment=environment)

    return started


def until(job: Job, arrived: Callable[[], bool]) -> None:
    end = time.monotonic() + 10
    while not arrived():
        assert time.monotonic() < end and job.poll()
        time.sleep(0.01)


def test_a_run_ends_with_its_result(start: Start) -> None:
    job = start("")
    assert job.wait(10) == DONE
    assert job.story.result is not None and "routing" in job.story.result["summary"]


def test_starting_and_polling_do_not_wait(start: Start) -> None:
    before = time.monotonic()
    job = start("wait")
    assert job.poll() and time.monotonic() - before < 1
    job.kill()


def test_progress_is_told_while_it_runs(start: Start) -> None:
    job = start("wait")
    until(job, lambda: job.story.progress is not None)
    assert job.state == RUNNING and job.story.progress is not None and job.story.progress.secondsLeft == 3.0
    job.kill()


def test_an_error_of_the_command_is_told_in_its_own_words(start: Start) -> None:
    job = start("error")
    assert job.wait(10) == FAILED
    assert job.story.error is not None
    assert (job.story.error.text, job.story.error.fix) == ("The image is empty.", "Give another one.")


def test_a_crash_is_an_error_and_its_last_words_are_kept(start: Start) -> None:
    job = start("crash")
    assert job.wait(10) == FAILED
    assert job.story.error is not None and "exit code 9" in job.story.error.text
    assert job.log == "a library's last words\n"


def test_a_program_that_cannot_be_started_is_an_error(tmp_path: Path) -> None:
    job = Job(Command((str(tmp_path / "gone"),)), ["info"], folder=tmp_path, environment={})
    assert job.poll() is False and job.state == FAILED
    assert job.story.error is not None and "gone" in job.story.error.text


def test_cancel_ends_the_run_in_less_than_two_seconds(start: Start) -> None:
    job = start("wait")
    until(job, lambda: job.story.progress is not None)
    before = time.monotonic()
    job.cancel()
    assert time.monotonic() - before < 0.1, "cancel itself must not wait"
    assert job.wait(5) == CANCELLED and time.monotonic() - before < 2


def test_cancel_ends_what_does_not_listen_and_what_it_started(start: Start) -> None:
    job = start("deaf child")
    until(job, lambda: "deaf" in job.story.foreign)
    before = time.monotonic()
    job.cancel()
    assert job.wait(5) == CANCELLED and time.monotonic() - before < 2
    assert not any(reader.is_alive() for reader in job._readers), "somebody still holds its output"


def test_a_child_that_holds_the_output_open_does_not_keep_a_run_going(start: Start) -> None:
    job = start("left behind")
    assert job.wait(8) == DONE
    assert not any(reader.is_alive() for reader in job._readers), "somebody still holds its output"


def test_kill_leaves_nothing_behind(start: Start) -> None:
    job = start("wait")
    job.kill()
    assert job.state == CANCELLED
    assert not any(reader.is_alive() for reader in job._readers), "somebody still holds its output"


def test_cancelling_what_has_ended_changes_nothing(start: Start) -> None:
    job = start("")
    job.wait(10)
    job.cancel()
    job.kill()
    assert job.state == DONE
