"""What a round across hospitals costs besides training: two sites on loopback, TLS and enrolment on, a 20 MB model.

python -m Testing.benchmarks.across_hospitals DIR [--peers] [--nvflare PYTHON]

Overhead is the coordinator's seconds of a round less the slowest site's own seconds, aggregation and checkpoint
included. Printed besides: from `serve` to an open port, to the first finished round, and where the seconds of a
round go, along the way of the site whose reply came last (so that the steps add up to the round). With `--peers`
plain Flower and, where a Python that has it is given, NVFlare carry a state of the same size, in the same run.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import subprocess
import time
from pathlib import Path

from FedSegCore.federation.ledger import read_lines
from Testing.benchmarks.peers import plain_flower
from Testing.benchmarks.spans import STEPS, inner, steps_of
from Testing.hospitals import Hospitals, write_study

SITES = ("north", "south")
ROUNDS = 5
CHANNELS = (32, 64, 128, 224)
"""Of a network of 20 MB; its patches are small, so that training takes about a second."""


def measure(folder: Path) -> tuple[Hospitals, float, float]:
    """Run the study; seconds from `serve` to the open port and to the end of the first round."""
    folder.mkdir(parents=True)
    study = write_study(folder, dict.fromkeys(SITES, ""), methods=["fedavg"], rounds=ROUNDS, cases=2,
                        channels=CHANNELS, patch=16, shape=(40, 48, 40))  # fmt: skip
    traced = {
        verb: ["Testing.benchmarks.traced", str(folder / f"{verb}.spans")] for verb in ("serve", "join")
    }
    hospitals, started = Hospitals(folder, study, programs=traced), time.monotonic()
    try:
        hospitals.serve()
        opened = time.monotonic() - started
        for name in SITES:
            hospitals.join(name)
        hospitals.coordinator.until("round", number=1)
        first = time.monotonic() - started
        hospitals.finish()
    finally:
        hospitals.stop()
    return hospitals, opened, first


def overheads(hospitals: Hospitals) -> str:
    """A line for each round."""
    own = {
        name: read_lines(hospitals.home(name) / "runs" / "fedavg-seed0" / "rounds.jsonl") for name in SITES
    }
    rows = ["| Round | Seconds | Slowest site | Overhead | MB up |", "|---:|---:|---:|---:|---:|"]
    for place, line in enumerate(read_lines(hospitals.out / "rounds.jsonl")):
        slowest = max(lines[place]["seconds"] for lines in own.values())
        over, up = line["seconds"] - slowest, line["bytes_up"] / 1e6
        rows.append(f"| {line['round']} | {line['seconds']:.1f} | {slowest:.1f} | {over:.1f} | {up:.0f} |")
    return "\n".join(rows)


def breakdown(folder: Path) -> str:
    """A line for each step: seconds in each round, and their median."""
    rounds = steps_of(folder)
    numbers = range(1, len(rounds) + 1)
    head = "| Step | " + " | ".join(f"{number}" for number in numbers) + " | median |"
    rows = [head, "|---|" + "---:|" * (len(rounds) + 1)]
    for step in STEPS:
        seconds = [steps[step] for steps in rounds]
        told = [f"{value:.2f}" for value in (*seconds, statistics.median(seconds))]
        rows.append(f"| {step} | " + " | ".join(told) + " |")
    own = inner(folder)
    rows += [
        "",
        "Of a site's own seconds, median: " + ", ".join(f"{n} {s:.2f}" for n, s in own.items()) + ".",
    ]
    return "\n".join(rows)


def peers(folder: Path, hospitals: Hospitals, first: float, nvflare: Path | None) -> str:
    """A line for each engine: what a round takes besides training, from the second on."""
    update = next(line for line in read_lines(hospitals.out / "ledger.jsonl") if line["kind"] == "update")
    shapes = list(update["tensors"].values())
    own = [float(row.split("|")[4]) for row in overheads(hospitals).splitlines()[2:]]
    found = [("FedSeg", first, own)]
    if plain_flower.version():
        found.append((plain_flower.version(), *plain_flower.seconds(folder / "flower", shapes, ROUNDS)))
    if nvflare is not None:
        size = sum(4 * math.prod(shape) for shape in shapes)
        script = Path(__file__).parent / "peers" / "nvflare_fedavg.py"
        words = [str(nvflare), str(script), str(folder / "nvflare"), str(size), str(ROUNDS)]
        done = subprocess.run(words, capture_output=True, text=True, check=True)
        told = json.loads(done.stdout.splitlines()[-1])
        found.append((told["version"], told["first"], told["rounds"]))
    rows = ["| | First round done after | Rounds 2 on, each | median |", "|---|---:|---|---:|"]
    for name, start, seconds in found:
        each = ", ".join(f"{value:.1f}" for value in seconds[1:])
        rows.append(f"| {name} | {start:.1f} | {each} | {statistics.median(seconds[1:]):.1f} |")
    return "\n".join(rows)


def main() -> None:
    """Run the study and print the tables."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--peers", action="store_true")
    parser.add_argument("--nvflare", type=Path, metavar="PYTHON")
    arguments = parser.parse_args()
    hospitals, opened, first = measure(arguments.folder)
    print(f"open after {opened:.1f} s, first round finished after {first:.1f} s\n")
    print(overheads(hospitals), breakdown(arguments.folder), sep="\n\n", flush=True)
    if arguments.peers:
        print("", peers(arguments.folder, hospitals, first, arguments.nvflare), sep="\n")


if __name__ == "__main__":
    main()
