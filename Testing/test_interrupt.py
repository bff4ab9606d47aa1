"""A study that is stopped from outside: what it says, what it leaves running, what it can go on from."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from Testing.command import CT_AND_MR, FEW_STEPS, fedseg, write_study
from Testing.processes import children, gone

ROUNDS = 40


@contextlib.contextmanager
def running(study: Path, out: Path, *, workers: int) -> Iterator[subprocess.Popen[str]]:
    """A study in a process of its own, after its first round."""
    command = [
        sys.executable,
        "-m",
        "FedSegCore",
        "simulate",
        study,
        "--out",
        out,
        "--workers",
        str(workers),
        "--json",
    ]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if json.loads(line)["event"] == "round":
                break
        yield process


def events(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc"),
]


@pytest.fixture
def study(tmp_path: Path) -> Path:
    return write_study(tmp_path, CT_AND_MR, rest=FEW_STEPS.replace("rounds = 2", f"rounds = {ROUNDS}"))


@pytest.mark.parametrize("workers", [1, 2])
def test_ctrl_c_ends_with_one_sentence_and_no_process_left_and_the_study_goes_on(
    workers: int, study: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    with running(study, out, workers=workers) as process:
        started = children(process.pid)
        assert len(started) == (workers if workers > 1 else 0)
        os.killpg(process.pid, signal.SIGINT)
        told, log = process.communicate(timeout=30)
    assert process.returncode == 1
    last = events(told)[-1]
    assert last["event"] == "error" and last["message"] == "Interrupted." and "--resume" in last["fix"]
    assert "Traceback" not in log and "Exception" not in log, log
    assert gone(started, within_s=5)
    done = len((out / "rounds.jsonl").read_text(encoding="utf-8").splitlines())
    assert 1 <= done < ROUNDS
    outcome = fedseg("simulate", study, "--out", out, "--resume", "--json")
    assert outcome.code == 0 and outcome.told("round")[0]["number"] == done + 1


def test_workers_do_not_outlive_a_study_that_is_killed(study: Path, tmp_path: Path) -> None:
    with running(study, tmp_path / "out", workers=2) as process:
        started = children(process.pid)
        process.kill()
    assert len(started) == 2 and gone(started, within_s=5)
