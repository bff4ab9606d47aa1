"""What worker processes gain: the same study of four equal sites, its sites one after the other or side by side.

    python -m Testing.benchmarks.workers DIR

Rounds a minute from rounds.jsonl, the first round left out: in it every process reads its sites' data. The bar: two
workers 1.6 times as fast as one at equal threads, with the same final model bit for bit.
"""

from __future__ import annotations

import json
import shutil
import statistics
import subprocess
import sys
from pathlib import Path

from FedSegCore.federation.ledger import read_lines
from Testing.benchmarks.machine import described
from Testing.hospitals import write_study

SITES, ROUNDS = ("east", "north", "south", "west"), 4
SETTINGS = ((1, 1, "float32"), (2, 1, "float32"), (1, 2, "float32"), (1, 1, "bfloat16"), (2, 1, "bfloat16"))
"""Workers, threads of each site's training, precision."""


def main(folder: Path) -> None:
    """Print the table."""
    study = write_study(
        folder, dict.fromkeys(SITES, ""), methods=["fedavg"], rounds=ROUNDS, cases=8, channels=(16, 32, 64),
        patch=32, shape=(40, 40, 40), train=f'precision = "float32"\nvalidate_every = {ROUNDS}',
    )  # fmt: skip
    text = study.read_text().replace("validate_every = 2\n", "")
    print(described(), "\n")
    print("| Workers | Threads a site | Precision | Rounds a minute | Times the first | Model |")
    print("|---:|---:|---|---:|---:|---|")
    first = 0.0
    for workers, threads, precision in SETTINGS:
        changed = text.replace("threads = 1", f"threads = {threads}").replace('"float32"', f'"{precision}"')
        study.write_text(changed)
        out = folder / f"{workers}-{threads}-{precision}"
        shutil.rmtree(out, ignore_errors=True)
        command = [
            sys.executable,
            "-m",
            "FedSegCore",
            "simulate",
            str(study),
            "--out",
            str(out),
            "--workers",
            str(workers),
        ]
        subprocess.run(command, check=True, capture_output=True)
        seconds = statistics.mean(line["seconds"] for line in read_lines(out / "rounds.jsonl")[1:])
        first = first or seconds
        model = json.loads((out / "models" / "index.json").read_text())["global.safetensors"]["sha256"][:12]
        speed = f"{60 / seconds:.1f} | {first / seconds:.2f}"
        print(f"| {workers} | {threads} | {precision} | {speed} | {model} |", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
