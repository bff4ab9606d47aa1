"""How long a user of the panel waits, over the harness in place of 3D Slicer, with the real command.

    python -m Testing.benchmarks.panels

The bars: the module opens within 1 s; from the click to the segmentation of 40 x 56 x 40 voxels it takes at most
1.5 s longer than `fedseg segment` alone; the window stalls for less than 0.1 s while a training runs; a cancelled
training ends with all its processes within 2 s.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
from pathlib import Path

from Testing.extension import figures
from Testing.slicer_harness.app import App, start

PAIRS = 5


def main(folder: Path) -> None:
    """Print a line for each figure."""
    app = start(folder / "slicer")
    with app.session():
        seconds, worked = figures.opening(app)
        print(f"the module opens in {seconds:.2f} s, of which {worked:.2f} s are work (bar 1)", flush=True)
    with app.session():
        _segment(app, folder)
    with app.session():
        _train(app, folder / "stalls")
    with app.session():
        _cancel(app, folder / "cancel")


def _segment(app: App, folder: Path) -> None:
    scan, model = figures.write_scan(folder)
    app.settings.setValue("FedSeg/command", sys.executable)
    panel = figures.Segmenting(app, scan, model.parent)
    pairs = [(panel.click(), figures.bare(scan, model)) for _pair in range(PAIRS)]
    for clicked, bare in pairs:
        print(f"from click to segmentation {clicked:.2f} s, bare command {bare:.2f} s", flush=True)
    over = statistics.median(clicked - bare for clicked, bare in pairs)
    print(f"median: the panel takes {over:.2f} s longer (bar 1.5)", flush=True)


def _train(app: App, folder: Path) -> None:
    training = figures.Training(app, folder, Path(sys.executable))
    with figures.heartbeat(app) as heart:
        training.begin()
        training.end()
    longest = 1000 * heart.longest
    print(
        f"longest stall while a training of 20 rounds runs {longest:.0f} ms, {heart.beats} beats (bar 100)",
        flush=True,
    )


def _cancel(app: App, folder: Path) -> None:
    folder.mkdir(parents=True)
    training = figures.Training(app, folder, figures.launcher(folder))
    for _time in range(3):
        training.begin()
        seconds, processes = training.cancel()
        print(
            f"cancelled: {processes} processes ended in {seconds:.2f} s (bar 2), files that cannot be read: "
            f"{len(training.broken())}",
            flush=True,
        )


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as made:
        main(Path(made))
    os._exit(0)  # Qt and VTK may not agree on who is destroyed first
