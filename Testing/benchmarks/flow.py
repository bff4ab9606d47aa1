"""What the learned augmentation costs beside the training that it serves.

    python Testing/benchmarks/flow.py

On sixteen phantom volumes, in CPU seconds of one thread: a training step of the default 3-D U-Net on two patches of
40 x 56 x 40 voxels, the augmentation of both, and a round of flow training against a round of sixteen cases. Both
modes; then how far the interpolated map is from the exact one, in standard deviations of the image, with trained
flows. The bars: augmentation at most 0.25 of a step, flow training at most 0.10 of a round where feasible.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any, get_args

import numpy as np
import torch
from torch import Tensor

from FedSegCore.data import phantom
from FedSegCore.data.batches import Batches, CachedCase
from FedSegCore.device import choose_device
from FedSegCore.learning.flow.context import context
from FedSegCore.learning.flow.effective import effective_images
from FedSegCore.learning.flow.settings import FlowSettings, Mode
from FedSegCore.learning.flow.style import StyledFlow, apply_flow, draw_flow, draw_noise
from FedSegCore.learning.flow.train import train_flow
from FedSegCore.learning.train import Training, make_optimizer, step
from FedSegCore.nets.unet import Network, build

CASES, PATCH, REPEATS = 16, (40, 56, 40), 5


def main() -> None:
    """Print the table."""
    choose_device("auto")
    torch.set_num_threads(1)  # CPU seconds of one thread hold no waiting
    cases = [_case(place) for place in range(CASES)]
    batches = Batches(cases, patch=PATCH, batch_size=2, dims=3)
    reference = _step(batches)
    print(
        f"training step in float32: {reference:.3f} s; round of {batches.steps}: {reference * batches.steps:.2f} s"
    )
    for mode in get_args(Mode):
        _report(mode, batches, cases, reference=reference)


def _report(mode: Mode, batches: Batches, cases: list[CachedCase], *, reference: float) -> None:
    settings, generator = FlowSettings(mode=mode), torch.Generator().manual_seed(0)
    first, first_seconds = _timed(lambda: train_flow(batches, settings=settings, generator=generator))
    later, seconds = _timed(
        lambda: train_flow(batches, settings=settings, generator=generator, saved=first.weights)
    )
    image = torch.stack([case.image for case in cases[:2]])
    draw = draw_flow(generator, image.shape, probability=1.0)
    every = statistics.median(_timed(lambda: apply_flow(image, draw, later.model))[1] for _ in range(REPEATS))
    count, counting = _timed(lambda: effective_images(later.model, cases, dims=3, generator=generator))
    whole = reference * batches.steps
    print(f"{mode}: L_nll {first.losses['nll']:.3f}, then {later.losses['nll']:.3f}")
    print(f"  augmentation of both samples {every:.3f} s, {every / reference:.3f} of a step")
    print(f"  first round {first_seconds:.2f} s, {first_seconds / whole:.2f} of a round; later ones {seconds:.2f} s,"
          f" {seconds / whole:.3f}")  # fmt: skip
    print(f"  effective images {count:.2f} of {CASES}, {counting:.2f} s, {counting / whole:.3f} of a round")
    _print_errors(later.model, image[:, 0])


@torch.no_grad()
def _print_errors(model: StyledFlow, rows: Tensor) -> None:
    modality = torch.zeros(len(rows), dtype=torch.long)
    u = model.standardize(rows, modality)
    pairs = torch.stack([u.flatten(1), context(u).flatten(1)], dim=-1)
    noise = draw_noise(torch.Generator().manual_seed(1), len(rows))
    exact, seconds = _timed(lambda: model.remap(pairs, modality, noise))
    print(
        f"  exact map of every voxel {seconds:.2f} s; mean change {float((exact - pairs[..., 0]).abs().mean()):.3f}"
    )
    for nodes in (model.settings.training_nodes, (64, 64), model.settings.nodes, (128, 128)):
        error = (model.interpolate(pairs, modality, noise, nodes=nodes) - exact).abs().flatten()
        print(f"  table {nodes}: mean error {float(error.mean()):.5f}, 99 % below {float(error.quantile(0.99)):.5f},"
              f" largest {float(error.max()):.4f}")  # fmt: skip


def _step(batches: Batches) -> float:
    """Median CPU seconds of a training step without augmentation."""
    training = Training(precision="float32")
    generator = torch.Generator().manual_seed(0)
    network = Network(channels=(8, 32, 64, 128))
    net = build(network, dims=3, in_channels=1, out_channels=2, generator=generator)
    optimizer = make_optimizer(list(net.parameters()), training)
    batch = next(batches.epoch(generator))
    net.train()

    def once() -> Tensor:
        return step(net, optimizer, batch.image, batch.target, batch.annotated, training=training)

    once()
    return statistics.median(_timed(once)[1] for _ in range(REPEATS))


def _timed(work: Callable[[], Any]) -> tuple[Any, float]:
    started = time.process_time()
    return work(), time.process_time() - started


def _case(place: int) -> CachedCase:
    rng = np.random.default_rng([0, place])
    anatomy = phantom.draw_anatomy(rng, organs=2, shape=PATCH)
    image = torch.from_numpy(phantom.render(rng, anatomy, phantom.STYLES["mr"]))[None]
    target = torch.stack([torch.from_numpy(anatomy == value) for value in (1, 2)]).to(torch.uint8)
    return CachedCase(str(place), (image - image.mean()) / image.std(), target, torch.tensor([True, True]))


if __name__ == "__main__":
    main()
