"""The memory of `serve` while replies come in and are averaged, by the number of sites and the model's size.

python -m Testing.benchmarks.server_memory DIR [--sites 2 4 8] [--channels 32 64 128 224]

The coordinator is the real command; all sites live in this process, where training is one small step of each
weight, so that time goes into messages. *Idle* is the resident memory of `serve` when all have joined and the first
round has just begun; *peak* is the highest of the rounds after the first.
"""

from __future__ import annotations

import argparse
import shutil
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from FedSegCore.federation.invitation import read_invitation
from FedSegCore.federation.ledger import read_lines
from FedSegCore.hospital import join, work
from FedSegCore.hospital.guest import Guest, study_of
from FedSegCore.hospital.home import Home
from FedSegCore.learning.train import Trained
from FedSegCore.methods import averaging
from Testing.hospitals import Hospitals, write_study

ROUNDS = 3


def moved(model: nn.Module, *_: Any, **__: Any) -> Trained:
    """Every weight a little further, in place of training; no two sites go the same way."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1 + 0.001 * torch.rand(()))
    return Trained(1.0, {})


def take_part(hospitals: Hospitals, name: str, invitation: Path) -> None:
    """One site, from its invitation to the models."""
    told = read_invitation(invitation)
    study = study_of(told, hospitals.study.parent / name, publish_personal=False)
    home = Home(hospitals.home(name))
    guest = Guest(told, study, home, torch.device("cpu"), lambda event, **fields: None)
    join.claim(guest, invitation)
    join.agree_to(guest, invitation, lambda text: True)
    setting = join.join(guest, join.check(guest))
    cache = work.prepare(guest, setting)
    work.take_part(guest, setting, cache)
    work.fetch(guest, work.bounds(guest, setting, cache))


def measure(folder: Path, sites: int, channels: Sequence[int]) -> tuple[float, float, float, float]:
    """MB of the model, and of `serve`: idle, peak; seconds of a round."""
    names = [f"site{place}" for place in range(sites)]
    study = write_study(folder, dict.fromkeys(names, ""), methods=["fedavg"], rounds=ROUNDS, cases=1,
                        channels=channels, patch=16, shape=(16, 16, 16))  # fmt: skip
    hospitals = Hospitals(folder, study)
    hospitals.serve()
    try:
        threads = [
            threading.Thread(target=take_part, args=(hospitals, name, hospitals.invite(name)), daemon=True)
            for name in names
        ]
        serve = Path(f"/proc/{hospitals.coordinator.popen.pid}")
        for thread in threads:
            thread.start()
        hospitals.coordinator.until("site_state", state="training")
        idle = of(serve, "VmRSS")
        hospitals.coordinator.until("round", number=1)
        (serve / "clear_refs").write_text("5")  # the peak begins anew
        hospitals.coordinator.until("round", number=ROUNDS)
        peak = of(serve, "VmHWM")
        for thread in threads:
            thread.join(120)
    finally:
        hospitals.stop()
    lines = read_lines(hospitals.out / "rounds.jsonl")
    return lines[-1]["bytes_up"] / sites / 1e6, idle, peak, lines[-1]["seconds"]


def of(process: Path, what: str) -> float:
    """MB that a process has."""
    (line,) = (line for line in (process / "status").read_text().splitlines() if line.startswith(what))
    return int(line.split()[1]) * 1024 / 1e6


def main() -> None:
    """A line for each number of sites."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--sites", type=int, nargs="+", default=[2, 4, 8])
    parser.add_argument("--channels", type=int, nargs="+", default=[32, 64, 128, 224])
    arguments = parser.parse_args()
    averaging.train = moved  # type: ignore[assignment]
    print("| Sites | Model, MB | Idle, MB | Peak, MB | More, in models | Seconds a round |")
    print("|---:|---:|---:|---:|---:|---:|", flush=True)
    for sites in arguments.sites:
        folder = arguments.folder / f"sites{sites}"
        size, idle, peak, seconds = measure(folder, sites, arguments.channels)
        more = (peak - idle) / size
        print(f"| {sites} | {size:.1f} | {idle:.0f} | {peak:.0f} | {more:.1f} | {seconds:.1f} |", flush=True)
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
