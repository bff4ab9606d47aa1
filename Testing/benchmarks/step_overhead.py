"""What a local step costs through FedSeg's stack, against a bare torch loop over the same tensors.

    python Testing/benchmarks/step_overhead.py

Both run the same network, loss, optimizer and batches (no augmentation), epoch by epoch in turn; the ratio of each
pair is taken in CPU seconds, so that a machine whose speed drifts or is shared matters less. The bar is a median of
at most 1.05.
"""

from __future__ import annotations

import statistics
import time

import torch

from FedSegCore.data.batches import Batch, Batches, CachedCase
from FedSegCore.device import choose_device
from FedSegCore.learning.losses import dice_ce
from FedSegCore.learning.train import Training, make_optimizer, train
from FedSegCore.nets.unet import Network, SegmentationNet, build

PAIRS = 15
PATCH = (40, 56, 40)


def main() -> None:
    """Print the CPU seconds of each pair and the median ratio."""
    choose_device("auto")
    torch.set_num_threads(1)  # CPU seconds of one thread hold no waiting
    cases = [_case(place) for place in range(16)]
    batches = Batches(cases, patch=PATCH, batch_size=2, dims=3)
    kept = list(batches.epoch(torch.Generator().manual_seed(0)))
    training = Training(augment="none", spatial=False, clip_norm=1.0)
    net = build(Network(), dims=3, in_channels=1, out_channels=2, generator=torch.Generator().manual_seed(0))
    _bare(net, kept, training)
    ratios = []
    for pair in range(PAIRS):
        bare = _bare(net, kept, training)
        stack = _stack(net, batches, training)
        ratios.append(stack / bare)
        print(f"pair {pair + 1}: bare {bare:.3f} s, stack {stack:.3f} s, ratio {ratios[-1]:.3f}")
    print(f"median ratio {statistics.median(ratios):.3f} over {PAIRS} pairs of {len(kept)} steps")


def _case(place: int) -> CachedCase:
    generator = torch.Generator().manual_seed(place)
    image = torch.randn(1, *PATCH, generator=generator)
    return CachedCase(
        str(place), image, (image > 1).to(torch.uint8).expand(2, -1, -1, -1), torch.tensor([True] * 2)
    )


def _stack(net: SegmentationNet, batches: Batches, training: Training) -> float:
    started = time.process_time()
    train(net, batches, training=training, generator=torch.Generator().manual_seed(0))
    return time.process_time() - started


def _bare(net: SegmentationNet, batches: list[Batch], training: Training) -> float:
    started = time.process_time()
    optimizer = make_optimizer(list(net.parameters()), training)
    parameters = list(net.parameters())
    net.train()
    for batch in batches:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            logits = net(batch.image)
        loss = dice_ce(logits.float(), batch.target, batch.annotated)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, training.clip_norm)
        optimizer.step()
    return time.process_time() - started


if __name__ == "__main__":
    main()
