"""Sites come late, pause, leave and lose power, and so does the coordinator: the study goes on to the same end."""

from __future__ import annotations

import hashlib
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from FedSegCore.federation.ledger import read_lines
from Testing.hospitals import Hospitals, write_study

SITES = {"north": "", "south": ""}


@pytest.fixture
def hospitals(tmp_path: Path) -> Iterator[Hospitals]:
    made = Hospitals(tmp_path, tmp_path / "study.toml")
    yield made
    made.stop()


def final(hospitals: Hospitals) -> str:
    return hashlib.sha256((hospitals.out / "models" / "global.safetensors").read_bytes()).hexdigest()


@pytest.mark.slow
def test_ten_power_cuts_anywhere_change_no_bit(
    hospitals: Hospitals, tmp_path_factory: pytest.TempPathFactory
) -> None:
    calm = tmp_path_factory.mktemp("calm")
    undisturbed = Hospitals(calm, write_study(calm, SITES, methods=["fedavg"], rounds=6))
    undisturbed.serve()
    for name in SITES:
        undisturbed.join(name)
    undisturbed.finish()

    write_study(hospitals.folder, SITES, methods=["fedavg"], rounds=6)
    hospitals.serve()
    for name in SITES:
        hospitals.join(name)
    dice = random.Random(7)
    for _ in range(10):
        time.sleep(dice.uniform(0.5, 6.0))
        if hospitals.coordinator.popen.poll() == 0:
            break
        victim = dice.choice(["coordinator", "superlink", "north", "south", "supernode"])
        if victim in ("superlink", "supernode"):
            parent = (
                hospitals.coordinator if victim == "superlink" else hospitals.sites[dice.choice(list(SITES))]
            )
            for child in parent.engine():
                os.kill(child, signal.SIGKILL)
            continue
        process = hospitals.coordinator if victim == "coordinator" else hospitals.sites[victim]
        process.kill()
        process.start()
    hospitals.finish()
    assert final(hospitals) == final(undisturbed)


@pytest.mark.slow
def test_a_late_site_takes_part_and_one_that_pauses_does_not(hospitals: Hospitals) -> None:
    write_study(
        hospitals.folder, {"north": "", "late": ""}, methods=["fedavg"], rounds=30, more="min_sites = 1"
    )
    hospitals.serve()
    hospitals.join("north").until("round", number=1)
    hospitals.join("late").until("round")
    command = ["-m", "FedSegCore", "pause", "--site-dir", str(hospitals.home("north"))]
    subprocess.run([sys.executable, *command], check=True, capture_output=True)
    hospitals.finish()
    lines = read_lines(hospitals.out / "rounds.jsonl")
    assert lines[0]["took_part"] == ["north"]
    assert any(line["took_part"] == ["late", "north"] for line in lines)
    assert lines[-1]["took_part"] == ["late"] and lines[-1]["left_out"] == {"north": "it pauses."}


@pytest.mark.slow
def test_a_site_that_leaves_is_asked_no_more_and_its_process_ends(hospitals: Hospitals) -> None:
    write_study(hospitals.folder, SITES, methods=["fedavg"], rounds=30, more="min_sites = 1")
    hospitals.serve()
    for name in SITES:
        hospitals.join(name)
    hospitals.coordinator.until("site_state", site="south", state="sent")
    command = ["-m", "FedSegCore", "leave", "--site-dir", str(hospitals.home("south"))]
    subprocess.run([sys.executable, *command], check=True, capture_output=True)
    hospitals.finish()
    lines = read_lines(hospitals.out / "rounds.jsonl")
    together = [line["round"] for line in lines if line["took_part"] == ["north", "south"]]
    assert together and lines[-1]["took_part"] == ["north"]
    sent = [line["round"] for line in read_lines(hospitals.home("south") / "ledger.jsonl")]
    assert max(sent) <= max(together) + 1, "one answer may have been under way when the site left"
    status = [sys.executable, "-m", "FedSegCore", "status", str(hospitals.home("south"))]
    told = subprocess.run(status, check=True, capture_output=True, text=True).stdout
    assert "This site, south: has left" in told
