"""The same FedAvg study of four sites in `fedseg simulate`, in Flower's simulation and in NVFlare's simulator.

    python -m Testing.benchmarks.simulated DIR [--peers PYTHON]

Network, cases, steps and random numbers are the same, two sites train at a time with one thread each, no optimizer's
moments are kept, nothing is validated but after the last round. Minutes are those of the whole command: with FedSeg
scoring every test case and the report too, which the others do not do. Memory is the peak of all its processes'
proportional shares. Dice is that of the final weights on all sites' test cases, and "apart" their largest difference
from FedSeg's. PYTHON is an interpreter that has FedSeg's requirements, NVFlare, and Flower with Ray; without it
FedSeg runs alone.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from FedSegCore.inference.modelfile import load_model
from FedSegCore.methods.registry import named
from FedSegCore.setting import read_setting
from FedSegCore.simulation.scoring import measure, read_test_cases
from FedSegCore.study import read_study, study_tables
from FedSegCore.tensors import weights as algebra
from Testing.benchmarks.machine import described
from Testing.benchmarks.peers.task import JOB
from Testing.hospitals import ROOT, write_study

SITES, ROUNDS, CORES = ("east", "north", "south", "west"), 5, 2
PEERS = ("flower_simulation", "nvflare_simulation")


def main(folder: Path, peers: Path | None) -> None:
    """Print the table."""
    study = write_study(
        folder, dict.fromkeys(SITES, ""), methods=["fedavg"], rounds=ROUNDS, cases=8, channels=(16, 32, 64),
        patch=32, shape=(40, 40, 40), more="[method_options]\nkeep_optimizer = false",
    )  # fmt: skip
    study.write_text(study.read_text().replace("validate_every = 2", f"validate_every = {ROUNDS}"))
    print(described(), "\n\n| Engine | Minutes | Peak GB | Dice | Apart |\n|---|---:|---:|---:|---:|")
    out = folder / "fedseg"
    words = ["-m", "FedSegCore", "simulate", str(study), "--out", str(out), "--workers", str(CORES)]
    minutes, peak, _ = _run([sys.executable, *words])
    model = out / "models" / "global.safetensors"
    ours = algebra.of(load_model(model, torch.device("cpu")).net)
    print(
        f"| FedSeg, {CORES} workers | {minutes:.2f} | {peak:.2f} | {_dice(study, model, ours):.4f} | |",
        flush=True,
    )
    _write_job(study, folder)
    for peer in PEERS if peers else ():
        place = folder / peer
        place.mkdir(exist_ok=True)
        words = ["-m", f"Testing.benchmarks.peers.{peer}", str(place), str(ROUNDS), str(CORES), *SITES]
        minutes, peak, told = _run([str(peers), *words], job=folder / "job.json")
        with np.load(place / "weights.npz") as arrays:
            theirs = {name: torch.from_numpy(arrays[name]) for name in arrays.files}
        apart = max(float((theirs[name] - tensor).abs().max()) for name, tensor in ours.items())
        version = json.loads(told.splitlines()[-1])["version"]
        print(
            f"| {version} | {minutes:.2f} | {peak:.2f} | {_dice(study, model, theirs):.4f} | {apart:.1e} |",
            flush=True,
        )


def _write_job(study: Path, folder: Path) -> None:
    """What FedSeg tells its own worker processes."""
    setting = read_setting(read_study(study))
    entry = named("fedavg", setting.study.method_options)
    job = {
        "study": study_tables(setting.settled_study(entry.norm)), "method": "fedavg", "seed": 0,
        "folder": str(folder / "peer"), "device": "cpu", "threads": 1, "init": "",
    }  # fmt: skip
    (folder / "job.json").write_text(json.dumps(job))


def _dice(study: Path, model: Path, weights: Mapping[str, Tensor]) -> float:
    """Mean Dice of these weights on all sites' test cases."""
    setting, loaded = read_setting(read_study(study)), load_model(model, torch.device("cpu"))
    algebra.load(loaded.net, weights)
    return statistics.mean(
        found.dice
        for data in setting.with_role("member")
        for found in measure(loaded, setting, data, read_test_cases(setting, data, data.test))
    )


def _run(command: list[str], *, job: Path | None = None) -> tuple[float, float, str]:
    """Minutes, peak gigabytes of the process and all that it starts, and what it printed."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), JOB: str(job), "OMP_NUM_THREADS": "1"}
    started, peak, ended = time.monotonic(), [0], threading.Event()
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment, text=True,
                          start_new_session=True) as process:  # fmt: skip

        def watch() -> None:
            while not ended.wait(0.5):
                peak.append(_memory(process.pid))

        watcher = threading.Thread(target=watch)
        watcher.start()
        out, errors = process.communicate()
        ended.set()
        watcher.join()
    if process.returncode:
        raise SystemExit(f"{' '.join(command[:3])} failed:\n{errors[-3000:]}")
    return (time.monotonic() - started) / 60, max(peak) / 1e9, out


def _memory(parent: int) -> int:
    """Proportional bytes of a process and of all below it, or in its session."""
    parents, sessions = {}, {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        parents[int(stat.parent.name)], sessions[int(stat.parent.name)] = int(fields[1]), int(fields[3])
    family = {parent, *(pid for pid, session in sessions.items() if session == parent)}
    while more := {pid for pid, above in parents.items() if above in family} - family:
        family |= more
    total = 0
    for pid in family:
        try:
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        except OSError:
            continue
        total += next((int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:")), 0)
    return total


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--peers", type=Path)
    arguments = parser.parse_args()
    main(arguments.folder, arguments.peers)
