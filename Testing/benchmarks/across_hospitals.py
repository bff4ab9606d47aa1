"""What a round across hospitals costs besides training: two sites on loopback, TLS and enrolment on, a 20 MB model.

python -m Testing.benchmarks.across_hospitals DIR

Overhead is the coordinator's seconds of a round less the slowest site's own seconds, aggregation and checkpoint
included. Printed besides: from `serve` to an open port, and to the first finished round.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from FedSegCore.federation.ledger import read_lines
from Testing.hospitals import Hospitals, write_study

SITES = ("north", "south")
BIG = {"[4, 8]": "[32, 64, 128, 224]"}
"""Channels of a network of 20 MB; its patches are small, so that training takes about a second."""


def main(folder: Path) -> None:
    """Run the study and print the table."""
    folder.mkdir(parents=True)
    study = write_study(folder, dict.fromkeys(SITES, ""), methods=["fedavg"], rounds=6, cases=2)
    text = study.read_text()
    for small, big in BIG.items():
        text = text.replace(small, big)
    study.write_text(text)
    hospitals, started = Hospitals(folder, study), time.monotonic()
    try:
        hospitals.serve()
        opened = time.monotonic() - started
        for name in SITES:
            hospitals.join(name)
        hospitals.coordinator.until("round", number=1)
        print(f"open after {opened:.1f} s, first round finished after {time.monotonic() - started:.1f} s\n")
        hospitals.finish()
    finally:
        hospitals.stop()
    rounds = read_lines(hospitals.out / "rounds.jsonl")
    own = {
        name: read_lines(hospitals.home(name) / "runs" / "fedavg-seed0" / "rounds.jsonl") for name in SITES
    }
    print("| Round | Seconds | Slowest site | Overhead | MB up |\n|---:|---:|---:|---:|---:|")
    for place, line in enumerate(rounds):
        slowest = max(lines[place]["seconds"] for lines in own.values())
        over, up = line["seconds"] - slowest, line["bytes_up"] / 1e6
        print(f"| {line['round']} | {line['seconds']:.1f} | {slowest:.1f} | {over:.1f} | {up:.0f} |")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
