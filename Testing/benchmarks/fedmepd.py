"""What FedMEPD's parts cost, and what its sites send.

    python Testing/benchmarks/fedmepd.py

Prototypes by pooling the mask against enlarging the features, as the published code does (bar: 20 times as fast);
attention to anchors over one and over eight times as many voxels (bar: linear); a training step of a site with one
modality against one with all four (bar: 0.5 of it); bytes of an update against the theory. CPU seconds of one thread,
the forms taken in turn.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from FedSegCore.learning.anchors import pooled_sums
from FedSegCore.learning.supervision import deep_supervision
from FedSegCore.learning.train import Training, make_optimizer, step
from FedSegCore.methods.fedmepd import FedMEPD
from FedSegCore.nets.attention import Calibration
from FedSegCore.nets.multiencoder import MultiEncoderNet
from FedSegCore.nets.network import Network
from FedSegCore.nets.unet import build

MODALITIES = ("FLAIR", "T1CE", "T1", "T2")
CHANNELS = (8, 32, 64, 128)
PATCH = (40, 56, 40)
PAIRS = 7


def main() -> None:
    """Print the medians."""
    torch.set_num_threads(1)
    print(
        f"prototypes: enlarging takes {_median(_enlarging(), _pooling()):.1f} times as long as pooling (bar 20)"
    )
    print(
        f"attention: 8 times the voxels take {_median(_attention(32), _attention(16)):.1f} times as long (linear: 8)"
    )
    mono, full = _training_step(("T1",)), _training_step(MODALITIES)
    print(f"step: one modality takes {_median(mono, full):.2f} of all four (bar 0.5)")
    net = _net(FedMEPD().network(Network(channels=CHANNELS)))
    state = net.state_dict()
    decoder = sum(state[key].nbytes for key in state if key.partition(".")[0] in ("decoder", "head"))
    for owned in (("T1",), ("FLAIR", "T2"), MODALITIES):
        encoders = sum(state[key].nbytes for key in net.encoder_keys(owned))
        total, every = encoders + decoder, sum(tensor.nbytes for tensor in state.values())
        print(f"update of {'+'.join(owned)}: {total:,} bytes = {len(owned)} encoders + decoder; "
              f"FedAvg of the whole network: {every:,}")  # fmt: skip


def _median(first: Callable[[], object], second: Callable[[], object]) -> float:
    first(), second()
    return statistics.median(_seconds(first) / _seconds(second) for _ in range(PAIRS))


def _seconds(call: Callable[[], object]) -> float:
    started = time.process_time()
    call()
    return time.process_time() - started


def _net(network: Network) -> MultiEncoderNet:
    net = build(network, dims=3, in_channels=4, out_channels=2, generator=torch.Generator().manual_seed(0),
                modalities=MODALITIES)  # fmt: skip
    assert isinstance(net, MultiEncoderNet)
    return net


def _inputs() -> tuple[Tensor, Tensor]:
    """The coarsest level's features and the classes' masks of two patches."""
    features = torch.randn(2, CHANNELS[-1], *(side // 8 for side in PATCH))
    return features, (torch.rand(2, 3, *PATCH) > 0.7).float()


def _pooling() -> Callable[[], object]:
    features, masks = _inputs()
    return lambda: pooled_sums(features, masks)


def _enlarging() -> Callable[[], object]:
    """Each class's features at the image's resolution, masked and summed."""
    features, masks = _inputs()

    def sums() -> Tensor:
        large = F.interpolate(features, size=PATCH, mode="nearest")
        return torch.stack([(large * mask[:, None]).flatten(2).sum(2) for mask in masks.unbind(1)], 1)

    return sums


def _attention(side: int) -> Callable[[], object]:
    level = Calibration(32, heads=8, classes=3, anchors=4, residual=False)
    features = torch.randn(2, 32, side, side, side)
    return lambda: level(features)


def _training_step(owned: tuple[str, ...]) -> Callable[[], object]:
    net = _net(FedMEPD().network(Network(channels=CHANNELS))).train()
    net.own(owned)
    net.calibrated = True
    training = Training(precision="float32")
    optimizer = make_optimizer(list(net.parameters()), training)
    image, known = torch.randn(2, 4, *PATCH), torch.ones(2, 2, dtype=torch.bool)
    target = (image[:, :2] > 1).to(torch.uint8)
    objective = deep_supervision(training)
    return lambda: step(net, optimizer, image, target, known, training=training, objective=objective)


if __name__ == "__main__":
    main()
