"""How long a user waits for the panel: measured as one meets it, for tests with bounds and for the benchmark."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from FedSegCore.data.io import write_volume
from FedSegCore.data.phantom import STYLES, write_phantom_dataset
from FedSegCore.data.plan import Intensity, Plan
from FedSegCore.data.volume import Volume
from FedSegCore.inference.modelfile import ModelHeader, save_model
from FedSegCore.nets.unet import Network, build
from FedSegCore.tensors.tensorfile import load
from Testing.hospitals import ROOT, validate
from Testing.processes import gone, tree
from Testing.slicer_harness.app import App

BEAT_MS = 2
LONGEST_S = 240.0
SHAPE = (40, 56, 40)
HEADER = ModelHeader(
    study="figures",
    method="fedavg",
    name="global",
    labels=(("Liver", 1), ("Kidney", 2)),
    known=("Liver", "Kidney"),
    overlapping=False,
    inputs=(("CT",),),
    owned=("CT",),
    plan=Plan(
        dims=3, spacing_mm=(1.0, 1.0, 1.0), patch=SHAPE, intensity={"CT": Intensity("window", -100.0, 200.0)}
    ),
    network=Network(),
    sites=(("north", 3),),
    licences=("CC0 1.0",),
)


@dataclass
class Heart:
    """Beats in the application's event loop.

    Args:
        longest: the longest time between two beats, in s, in which the user saw nothing move.
    """

    longest: float = 0.0
    beats: int = 0
    _last: float | None = None

    def beat(self) -> None:
        """The timer's slot."""
        now = time.perf_counter()
        if self._last is not None:
            self.longest = max(self.longest, now - self._last)
        self._last = now
        self.beats += 1


@contextmanager
def heartbeat(app: App) -> Iterator[Heart]:
    """A heart for as long as the `with` lasts."""
    heart, timer = Heart(), app.qt.QTimer()
    timer.setInterval(BEAT_MS)
    timer.connect("timeout()", heart.beat)
    timer.start()
    try:
        yield heart
    finally:
        timer.stop()


def opening(app: App) -> tuple[float, float]:
    """Seconds from the choice of the module to its panel, and how many of them the processor worked for it."""
    started, worked = time.perf_counter(), time.thread_time()
    app.open()
    return time.perf_counter() - started, time.thread_time() - worked


def write_scan(folder: Path) -> tuple[Path, Path]:
    """An image of 40 x 56 x 40 voxels, and a model of the default network that has learnt nothing."""
    voxels = np.random.default_rng(0).normal(50, 100, SHAPE).astype(np.float32)
    write_volume(folder / "scan.nrrd", Volume(voxels, np.eye(4), None))
    generator = torch.Generator().manual_seed(0)
    net = build(HEADER.network, dims=3, in_channels=1, out_channels=2, generator=generator)
    save_model(folder / "models" / "global.safetensors", net.state_dict(), HEADER)
    return folder / "scan.nrrd", folder / "models" / "global.safetensors"


def bare(scan: Path, model: Path) -> float:
    """Seconds of `fedseg segment` alone."""
    words = ["segment", str(scan), "--model", str(model), "-o", str(scan.with_name("bare.seg.nrrd"))]
    started = time.perf_counter()
    subprocess.run([sys.executable, "-m", "FedSegCore", *words], cwd=ROOT, check=True, capture_output=True)
    return time.perf_counter() - started


class Segmenting:
    """The panel with the scan and the only model of a folder, ready for a click."""

    def __init__(self, app: App, scan: Path, models: Path) -> None:
        self.app = app
        app.load(scan)
        self.panel = app.open()
        self.panel.ui.modelFolderLineEdit.currentPath = str(models)
        app.wait(lambda: self.panel.ui.segmentButton.enabled, LONGEST_S)

    def click(self) -> float:
        """Seconds from the click to the segmentation in the scene and the panel at rest, and no result after that."""
        ui, started = self.panel.ui, time.perf_counter()
        self.app.click(ui.segmentButton)
        self.app.wait(lambda: ui.segmentButton.text == "Segment", LONGEST_S)
        seconds = time.perf_counter() - started
        (made,) = self.app.nodes("vtkMRMLSegmentationNode")
        self.app.scene.RemoveNode(made)
        return seconds


class Training:
    """The panel with a dataset of generated images, of which a round takes less than a second.

    Args:
        command: the `fedseg` program, or a Python that has it.
    """

    def __init__(self, app: App, folder: Path, command: Path) -> None:
        self.app, self.out = app, folder / "mine-training" / "training-001"
        dataset = write_phantom_dataset(
            folder / "mine", cases=3, seed=0, style=STYLES["ct"], shape=(16, 16, 12)
        )
        validate(dataset)
        app.settings.setValue("FedSeg/command", str(command))
        app.environment["OMP_NUM_THREADS"] = "1"
        self.panel = app.open()
        self.panel.ui.tabWidget.currentIndex = app.module.DATA_TAB
        self.panel.ui.datasetLineEdit.currentPath = str(dataset)

    def begin(self) -> None:
        """Click, and wait for a round."""
        self.app.click(self.panel.ui.trainButton)
        self.app.wait(lambda: "Round " in self.panel.ui.trainLabel.text, LONGEST_S)

    def end(self) -> None:
        """Wait for the panel to rest."""
        self.app.wait(lambda: self.panel.ui.trainButton.text == "Train", LONGEST_S)

    def cancel(self) -> tuple[float, int]:
        """Seconds from the click to the end of the last process, and how many processes there were."""
        pids = tree(self.panel._training._job._process.pid)
        started = time.perf_counter()
        self.app.click(self.panel.ui.trainButton)
        self.end()
        assert gone(pids, within_s=LONGEST_S)
        return time.perf_counter() - started, len(pids)

    def broken(self) -> list[Path]:
        """The files that it left and that cannot be read whole."""
        return [path for path in self.out.rglob("*") if path.is_file() and not _is_whole(path)]


def _is_whole(path: Path) -> bool:
    readers: dict[str, Any] = {
        ".safetensors": load,
        ".json": lambda path: json.loads(path.read_text()),
        ".jsonl": lambda path: [json.loads(line) for line in path.read_text().splitlines()],
    }
    try:
        readers[path.suffix](path)
    except Exception:  # whatever a reader says, and a kind of file that a training does not leave
        return False
    return True


def launcher(folder: Path) -> Path:
    """A `fedseg` that starts the real one as a child, as PythonSlicer and Windows' launchers do."""
    path = folder / "fedseg"
    path.write_text(f'#!/bin/sh\nPYTHONPATH="{ROOT}" "{sys.executable}" -m FedSegCore "$@"\nexit $?\n')
    path.chmod(0o755)
    return path
