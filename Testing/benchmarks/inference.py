"""How quickly a trained model goes over whole volumes, against MONAI's sliding window, at which Dice.

    fedseg simulate Testing/benchmarks/inference.toml --out runs/inference
    python -m Testing.benchmarks.inference runs/inference/models/central.safetensors

The test cases of `inference.toml`, of several windows each, go through the same network in each way, in turn. The
ratio is that of CPU seconds to MONAI's default, the median over cases and repetitions.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import torch
from monai.inferers import SlidingWindowInferer
from torch import Tensor, nn

from FedSegCore.data.case import read_dataset
from FedSegCore.data.labels import annotate
from FedSegCore.data.reading import read_labelled_case
from FedSegCore.device import choose_device
from FedSegCore.inference.modelfile import Model, load_model
from FedSegCore.inference.segment import restore
from FedSegCore.learning.predict import overlap, predict
from FedSegCore.study import read_study

STUDY: Final = Path(__file__).with_suffix(".toml")
REPETITIONS: Final = 2
DEFAULT: Final = "MONAI's default: overlap 0.25, constant, windows one by one"


class Counting(nn.Module):
    """Counts the windows that a network is asked for."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net, self.windows = net, 0

    def forward(self, image: Tensor) -> Tensor:
        """As the network."""
        self.windows += len(image)
        logits: Tensor = self.net(image)
        return logits


def ways(patch: tuple[int, ...]) -> dict[str, Callable[[nn.Module, Tensor], Tensor]]:
    """Probabilities of a prepared image, by the way's name."""

    def monai(**settings: Any) -> Callable[[nn.Module, Tensor], Tensor]:
        inferer = SlidingWindowInferer(patch, **settings)

        def answer(net: nn.Module, image: Tensor) -> Tensor:
            with torch.inference_mode():
                return torch.sigmoid(inferer(image[None], net)[0])

        return answer

    return {
        DEFAULT: monai(),
        "MONAI: overlap 0.25, Gaussian, four at once": monai(sw_batch_size=4, mode="gaussian"),
        "MONAI: overlap 0.5, Gaussian, four at once (FedSeg before)": monai(
            sw_batch_size=4, overlap=0.5, mode="gaussian"
        ),
        "FedSeg": lambda net, image: predict(net, image, patch=patch),
    }


def main(path: Path) -> None:
    """Print the table."""
    choose_device("cpu")
    threads = torch.get_num_threads()
    model = load_model(path)
    patch = model.header.plan.patch
    cases = list(_cases(model))
    print(f"{len(cases)} volumes, patch {patch}, {threads} threads, torch {torch.__version__}\n")
    seconds: dict[str, list[tuple[float, ...]]] = {name: [] for name in ways(patch)}
    dices: dict[str, list[float]] = {name: [] for name in seconds}
    asked = dict.fromkeys(seconds, 0)
    net = Counting(model.net).eval()
    for repetition in range(REPETITIONS):
        for image, geometry, truth in cases:
            spent = {}
            for name, way in ways(patch).items():
                net.windows, wall, cpu = 0, time.perf_counter(), time.process_time()
                probabilities = way(net, image)
                spent[name] = (time.perf_counter() - wall, time.process_time() - cpu)
                if repetition == 0:
                    asked[name] += net.windows
                    found = torch.from_numpy(restore(model.header, probabilities, geometry))
                    dices[name].append(float(overlap(found, truth).nanmean()))
            for name, both in spent.items():
                seconds[name].append((*both, spent[DEFAULT][0] / both[0], spent[DEFAULT][1] / both[1]))
    print("| way | windows asked | CPU s a volume | as fast as MONAI's default, CPU (wall clock) | Dice |")
    print("|---|---:|---:|---:|---:|")
    for name, rows in seconds.items():
        _, cpu, by_wall, by_cpu = (statistics.median(column) for column in zip(*rows, strict=True))
        dice = statistics.mean(dices[name])
        print(f"| {name} | {asked[name]} | {cpu:.2f} | {by_cpu:.2f}x ({by_wall:.2f}x) | {dice:.4f} |")


def _cases(model: Model) -> Any:
    """Image, geometry and structures of each test case of the study."""
    (site,) = read_study(STUDY).sites
    dataset = read_dataset(site.data)
    annotation = annotate(model.header.label_names, dataset.labels)
    for case in dataset.training + dataset.validation:
        if case.name in (site.test_cases or ()):
            read = read_labelled_case(case, dataset, model.header.plan, annotation, channels=(0,))
            yield read.image, read.geometry, torch.from_numpy(read.structures)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
