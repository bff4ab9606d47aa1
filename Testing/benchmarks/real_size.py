"""Volumes of real size: what training on them and segmenting them takes.

    python -m Testing.benchmarks.real_size FOLDER [train] [wait] [segment] [small]

makes a study of ten CT-like volumes of 512 x 512 x 300 voxels in FOLDER (4 GB while it runs; kept there for the next
time), trains one round with `fedseg simulate` as a process of its own and tells its largest resident memory; then the
same patches again in this process, for the share of a step that waits for data; then segments one volume with
`fedseg segment`. `small` segments one of 256 x 256 x 128. Lesions fill less than 0.1 % of the voxels.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import nibabel as nib
import numpy as np
import torch

from FedSegCore.data.batches import Batch, Batches
from FedSegCore.data.casefiles import CaseFiles
from FedSegCore.device import choose_device
from FedSegCore.learning.train import train
from FedSegCore.methods.registry import named
from FedSegCore.nets.unet import build
from FedSegCore.setting import read_setting
from FedSegCore.simulation.run import read_cache
from FedSegCore.study import read_study

SHAPE: Final = (512, 512, 300)
SPACING_MM: Final = (0.8, 0.8, 1.0)
CASES: Final = 10
STUDY: Final = """
name = "ten volumes of real size"
method = "local"
rounds = 1
[train]
epochs = {epochs}
[[site]]
name = "ct"
data = "ct"
"""


def make_study(folder: Path, *, cases: int = CASES, shape: tuple[int, int, int] = SHAPE) -> Path:
    """Write the dataset, where it is not there yet, and the study."""
    site = folder / "ct"
    names = [f"case_{number:02d}" for number in range(cases)]
    for number, name in enumerate(names):
        image, label = site / "imagesTr" / f"{name}.nii.gz", site / "labelsTr" / f"{name}.nii.gz"
        if not label.is_file():
            write_case(image, label, shape=shape, seed=number)
    listed = [{"image": f"imagesTr/{name}.nii.gz", "label": f"labelsTr/{name}.nii.gz"} for name in names]
    described = {
        "channel_names": {"0": "CT"},
        "labels": {"background": 0, "Organ": 1, "Lesion": 2},
        "training": listed,
        "validation": [],
    }
    (site / "dataset.json").write_text(json.dumps(described))
    study = folder / "study.toml"
    study.write_text(STUDY.format(epochs=2))
    return study


def write_case(image: Path, label: Path, *, shape: tuple[int, int, int], seed: int) -> None:
    """One phantom in HU: air, a body with noise and a bright column, an organ, and three small lesions in it."""
    random = np.random.default_rng(seed)
    x, y = np.meshgrid(*(np.linspace(-1, 1, side, dtype=np.float32) for side in shape[:2]), indexing="ij")
    body = (x / 0.85) ** 2 + (y / 0.6) ** 2 < 1
    voxels = np.full(shape, -1000, dtype=np.int16)
    drawn = np.zeros(shape, dtype=np.uint8)
    noise = random.normal(0, 12, (*shape[:2], 8)).astype(np.int16)
    lesions = [
        (random.uniform(-0.45, -0.15), random.uniform(-0.2, 0.2), random.uniform(-0.4, 0.4)) for _ in range(3)
    ]
    for place, z in enumerate(np.linspace(-1, 1, shape[2])):
        plane = np.where(body, 40, -1000)
        plane[x**2 + (y - 0.4) ** 2 < 0.01] = 700
        organ = ((x + 0.3) / 0.35) ** 2 + (y / 0.35) ** 2 + (z / 0.7) ** 2 < 1
        plane[organ], drawn[..., place][organ] = 90, 1
        for at in lesions:
            inside = (x - at[0]) ** 2 + (y - at[1]) ** 2 + (z - at[2]) ** 2 < 0.025**2
            plane[inside], drawn[..., place][inside] = 55, 2
        voxels[..., place] = plane + noise[..., place % 8] * body
    affine = np.diag([*SPACING_MM, 1.0])
    for path, array in ((image, voxels), (label, drawn)):
        path.parent.mkdir(parents=True, exist_ok=True)
        nib.openers.Opener.default_compresslevel = 1
        nib.Nifti1Image(array, affine).to_filename(path)


def measured(*words: object) -> tuple[float, float]:
    """Run `fedseg`; seconds, and the largest resident memory in GiB, of it and all that it started."""
    started = time.perf_counter()
    with subprocess.Popen([sys.executable, "-m", "FedSegCore", *map(str, words)]) as process:
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"fedseg {words[0]} ended with {process.returncode}")
    return time.perf_counter() - started, usage.ru_maxrss / 2**20


def waiting(study: Path, folder: Path, *, epochs: int) -> tuple[float, int]:
    """The share of a training's seconds that waits for patches from files, and its number of steps."""
    choose_device("cpu")
    setting = read_setting(read_study(study))
    cache = read_cache(setting, setting.sites, files=CaseFiles(folder / "cache"))
    entry = named("local", {})
    network, training = setting.network(entry.norm), setting.study.train
    plan = setting.plan
    batches = Batches(
        cache.training["ct"], patch=plan.patch, batch_size=training.batch(plan.dims), dims=plan.dims
    )
    waited = 0.0
    draw = batches.epoch

    def timed(generator: torch.Generator) -> Iterator[Batch]:
        nonlocal waited
        drawn = draw(generator)
        while True:
            started = time.perf_counter()
            batch = next(drawn, None)
            waited += time.perf_counter() - started
            if batch is None:
                return
            yield batch

    batches.epoch = timed  # type: ignore[method-assign]
    net = build(network, dims=3, in_channels=1, out_channels=2, generator=torch.Generator().manual_seed(0))
    started = time.perf_counter()
    train(net, batches, training=training, generator=torch.Generator().manual_seed(0), epochs=epochs)
    cache.drop()
    return waited / (time.perf_counter() - started), epochs * batches.steps


def main(folder: Path, *parts: str) -> None:
    """Print the figures of some parts, or of all."""
    todo: Any = parts or ("train", "wait", "segment", "small")
    study = make_study(folder)
    model = folder / "out" / "models" / "local-ct.safetensors"
    if "train" in todo:
        seconds, gib = measured("simulate", study, "--out", folder / "out")
        print(f"| train, {CASES} volumes of 512 x 512 x 300 | {gib:.2f} GiB | {seconds:.0f} s |", flush=True)
    if "wait" in todo:
        share, steps = waiting(study, folder, epochs=1)
        print(f"| waiting for data | {share:.1%} of {steps} steps | |", flush=True)
    if "segment" in todo:
        scan = folder / "ct" / "imagesTr" / "case_00.nii.gz"
        seconds, gib = measured("segment", scan, "--model", model, "-o", folder / "found.nii.gz")
        print(f"| segment 512 x 512 x 300 | {gib:.2f} GiB | {seconds:.0f} s |", flush=True)
    if "small" in todo:
        scan = folder / "small" / "image.nii.gz"
        write_case(scan, folder / "small" / "label.nii.gz", shape=(256, 256, 128), seed=0)
        seconds, gib = measured("segment", scan, "--model", model, "-o", folder / "small" / "found.nii.gz")
        print(f"| segment 256 x 256 x 128 | {gib:.2f} GiB | {seconds:.0f} s |", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
