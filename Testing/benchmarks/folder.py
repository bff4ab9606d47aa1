"""A folder of volumes, each read ahead and written behind, against one after the other.

    python -m Testing.benchmarks.folder FOLDER [LATE_S]

segments CT-like volumes of 192 x 192 x 96 voxels, which it makes in FOLDER, with an untrained, small network on one
thread, in both ways in turn, in one process. With LATE_S every image arrives so many seconds late, as from a slow
share; without, it is in the system's cache. The results must be the same files.
"""

from __future__ import annotations

import io
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import Any, Final
from unittest.mock import patch

import torch

from FedSegCore.cli import main as fedseg
from FedSegCore.data.plan import Plan
from FedSegCore.data.volume import Volume
from FedSegCore.inference.modelfile import ModelHeader, blank_net, save_model
from FedSegCore.nets.unet import Network
from FedSegCore.verbs import line
from Testing.benchmarks.real_size import write_case

CASES: Final = 6
PAIRS: Final = 5


def main(folder: Path, late_s: float) -> None:
    """Print the seconds of each pair and the median ratio."""
    torch.set_num_threads(1)
    header = ModelHeader(
        study="a folder", method="local", name="local", labels=(("Organ", 1), ("Lesion", 2)),
        known=("Organ", "Lesion"), overlapping=False, inputs=(("CT",),), owned=("CT",),
        plan=Plan(3, patch=(64, 64, 64)), network=Network(channels=(4, 8)),
    )  # fmt: skip
    model = folder / "model.safetensors"
    save_model(model, blank_net(header).state_dict(), header)
    for number in range(CASES):
        image = folder / "images" / f"case_{number}.nii.gz"
        if not image.is_file():
            write_case(image, folder / "labels" / image.name, shape=(192, 192, 96), seed=number)
    ratios, read = [], line.read_case

    def read_late(paths: Mapping[str, Path]) -> dict[str, Volume]:
        time.sleep(late_s)
        return read(paths)

    line.read_case = read_late
    for pair in range(PAIRS):
        together = segmented(folder, model, "together")
        with patch.object(line, "_apart", at_once), patch.object(line.Line, "_compute", one_by_one):
            alone = segmented(folder, model, "alone")
        ratios.append(alone / together)
        print(f"pair {pair + 1}: one by one {alone:.1f} s, overlapped {together:.1f} s, {ratios[-1]:.2f}x")
    same = [
        (folder / "together" / path.name).read_bytes() == path.read_bytes()
        for path in (folder / "alone").iterdir()
    ]
    print(f"median {statistics.median(ratios):.2f}x; {sum(same)} of {CASES} results are the same files")


def segmented(folder: Path, model: Path, name: str) -> float:
    """Seconds that the whole folder takes."""
    started = time.perf_counter()
    words = ["segment", str(folder / "images"), "--model", str(model), "-o", str(folder / name)]
    with patch("sys.stderr", io.StringIO()), patch("sys.stdout", io.StringIO()):
        code = fedseg(words)
    assert code == 0
    return time.perf_counter() - started


def at_once(work: Callable[[], Any]) -> Future[Any]:
    """In place of a thread: read only when it is asked for."""

    class Later(Future[Any]):
        def result(self, timeout: float | None = None) -> Any:
            return work()

    return Later()


_compute = line.Line._compute


def one_by_one(self: line.Line, case: line.Case, volumes: Any) -> None:
    """Compute a case and wait until its result is written."""
    _compute(self, case, volumes)
    self._settle()


if __name__ == "__main__":
    main(Path(sys.argv[1]), float(sys.argv[2]) if len(sys.argv) > 2 else 0.0)
