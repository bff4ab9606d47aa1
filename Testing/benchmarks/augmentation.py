"""What intensity augmentation costs beside the training step that it serves.

    python -m Testing.benchmarks.augmentation

Batches of 4 x 1 x 40 x 56 x 40 voxels, CPU seconds of one thread, over draws: GIN as it is applied here, against each
sample's random network run by itself, and against one grouped convolution for all samples in every layer, pointwise
kernels included. All three see the same draws, and their results are compared. Then every augmentation as a share of
a training step of the same batch. The bars: 3 times faster in the mean; 10 % of a step.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from FedSegCore.learning.gin import GinDraw, apply_gin, draw_gin
from FedSegCore.learning.intensity import apply_intensity, draw_intensity
from FedSegCore.learning.spatial import apply_spatial, draw_spatial
from FedSegCore.learning.train import Training, make_optimizer, step
from FedSegCore.nets.unet import Network, build
from Testing.benchmarks.machine import described

SHAPE, DRAWS = (4, 1, 40, 56, 40), 60


def main() -> None:
    """Print the table."""
    torch.set_num_threads(1)
    print(described(), "\n")
    image = torch.randn(SHAPE, generator=torch.Generator().manual_seed(0))
    target = (image.expand(-1, 2, -1, -1, -1) > 1).to(torch.uint8)
    draws = [draw_gin(torch.Generator().manual_seed(place), SHAPE, probability=1.0) for place in range(DRAWS)]
    forms = {"FedSeg": apply_gin, "sample by sample": _sample_by_sample, "one grouped convolution": _grouped}
    print("| Form of GIN | mean ms | median ms | most ms | times as long | largest difference |")
    print("|---|---:|---:|---:|---:|---:|")
    fastest = 0.0
    for name, form in forms.items():
        seconds = [_seconds(lambda draw=draw, form=form: form(image, draw)) for draw in draws]
        mean = statistics.mean(seconds)
        fastest = fastest or mean
        apart = max(float((form(image, draw) - apply_gin(image, draw)).abs().max()) for draw in draws[:10])
        print(f"| {name} | {mean * 1e3:.1f} | {statistics.median(seconds) * 1e3:.1f} | {max(seconds) * 1e3:.1f}"
              f" | {mean / fastest:.1f} | {apart:.1e} |")  # fmt: skip
    whole = _step(image, target)
    print(
        f"\nA training step of the same batch takes {whole * 1e3:.0f} ms. Drawing and applying, share of it:\n"
    )
    for name, work in _kinds(image, target).items():
        mean = statistics.mean(_seconds(lambda work=work, seed=seed: work(seed)) for seed in range(DRAWS))
        print(f"- {name}: {mean * 1e3:.1f} ms, {mean / whole:.1%}")


def _kinds(image: Tensor, target: Tensor) -> dict[str, Callable[[int], object]]:
    def generator(seed: int) -> torch.Generator:
        return torch.Generator().manual_seed(seed)

    return {
        "gin, every image": lambda seed: apply_gin(image, draw_gin(generator(seed), SHAPE, probability=1.0)),
        "gin, half of them (default)": lambda seed: apply_gin(image, draw_gin(generator(seed), SHAPE)),
        "classic, half of them (default)": lambda seed: apply_intensity(
            image, draw_intensity(generator(seed), SHAPE)
        ),
        "spatial, nine in ten (default)": lambda seed: apply_spatial(
            image, target, draw_spatial(generator(seed), SHAPE)
        ),
    }


@torch.no_grad()
def _sample_by_sample(image: Tensor, draw: GinDraw) -> Tensor:
    """Each sample's network as convolutions of its own."""
    new = []
    for place, row in enumerate(image):
        features = row[None]
        for layer, (weight, shift) in enumerate(zip(draw.weights, draw.shifts, strict=True)):
            features = F.leaky_relu(features, 0.01) if layer else features
            own, side = weight.chunk(len(image))[place], weight.shape[-1]
            features = F.conv3d(features, own, shift.chunk(len(image))[place], padding=side // 2)
        new.append(features)
    return _mixed(image, torch.cat(new), draw.alpha)


@torch.no_grad()
def _grouped(image: Tensor, draw: GinDraw) -> Tensor:
    """All samples' networks as one grouped convolution a layer, pointwise ones too."""
    features = image.view(1, -1, *image.shape[2:])
    for layer, (weight, shift) in enumerate(zip(draw.weights, draw.shifts, strict=True)):
        features = F.leaky_relu(features, 0.01) if layer else features
        features = F.conv3d(features, weight, shift, padding=weight.shape[-1] // 2, groups=len(image))
    return _mixed(image, features.view_as(image), draw.alpha)


def _mixed(image: Tensor, new: Tensor, alpha: Tensor) -> Tensor:
    alpha = alpha.view(-1, 1, 1, 1, 1)
    mixed = alpha * new + (1 - alpha) * image
    norm, renewed = (torch.linalg.vector_norm(one.flatten(1), dim=1) for one in (image, mixed))
    return mixed * (norm / (renewed + 1e-5)).view(-1, 1, 1, 1, 1)


def _step(image: Tensor, target: Tensor) -> float:
    """Median seconds of a training step in float32, without augmentation."""
    training = Training(precision="float32")
    net = build(Network(), dims=3, in_channels=1, out_channels=2, generator=torch.Generator().manual_seed(0))
    optimizer = make_optimizer(list(net.parameters()), training)
    annotated = torch.ones(len(image), 2, dtype=torch.bool)
    net.train()

    def once() -> None:
        step(net, optimizer, image, target, annotated, training=training)

    once()
    return statistics.median(_seconds(once) for _ in range(7))


def _seconds(work: Callable[[], object]) -> float:
    """CPU seconds of one thread: they hold no waiting for others."""
    started = time.process_time()
    work()
    return time.process_time() - started


if __name__ == "__main__":
    main()
