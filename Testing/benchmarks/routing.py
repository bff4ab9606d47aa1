"""What a step of test-time routing costs, against a plain training step and against a per-sample Python loop.

    python Testing/benchmarks/routing.py

Six experts of the default 3-D network, a scan of 40 x 56 x 40 voxels, CPU seconds of one thread, the forms taken in
turn. The bars: a step at `batch` granularity at most four plain training steps (which see two patches), and at least
three times as fast as a Python loop that mixes and convolves sample by sample, as the official code does.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from FedSegCore.inference.adapt import Adaptation, _loss
from FedSegCore.learning.train import Training, make_optimizer, step
from FedSegCore.nets.convolve import convolve, mixed
from FedSegCore.nets.routing import Granularity, Routed, norm_parameters, route
from FedSegCore.nets.unet import Network, SegmentationNet, build

EXPERTS = 6
PATCH = (40, 56, 40)
SAMPLES = 8
PAIRS = 7


def main() -> None:
    """Print the ratio of each pair and their medians."""
    torch.set_num_threads(1)
    plain, adapting = _training_step(), _adapting_step("batch")
    first = _ratios("one step of routing / one training step", adapting, plain)
    batch, looped = _pass("batch"), _pass("sample", by_loop=True)
    second = _ratios(f"Python loop / `batch`, {SAMPLES} patches", looped, batch)
    third = _ratios(f"Python loop / `sample`, {SAMPLES} patches", looped, _pass("sample"))
    held = _held()
    print(f"median: a step of routing costs {first:.2f} plain training steps (bar 4)")
    print(
        f"median: a Python loop takes {second:.2f} times as long as `batch` (bar 3), {third:.2f} as `sample`"
    )
    print(f"weights held: {held:.3f} times those of {EXPERTS} experts (routers included)")


def _ratios(title: str, first: Callable[[], object], second: Callable[[], object]) -> float:
    first(), second()
    ratios = []
    for pair in range(PAIRS):
        one, two = _seconds(first), _seconds(second)
        ratios.append(one / two)
        print(f"{title}: pair {pair + 1}: {one:.3f} s, {two:.3f} s, ratio {one / two:.2f}")
    return statistics.median(ratios)


def _seconds(call: Callable[[], object]) -> float:
    started = time.process_time()
    call()
    return time.process_time() - started


def _net(seed: int, *, dims: int) -> SegmentationNet:
    channels = (8, 32, 64, 128) if dims == 3 else (16, 32, 64, 128)
    generator = torch.Generator().manual_seed(seed)
    return build(Network(channels=channels), dims=dims, in_channels=1, out_channels=2, generator=generator)


def _routed(granularity: Granularity, *, dims: int) -> tuple[nn.Module, dict[str, Routed]]:
    net = _net(0, dims=dims)
    experts = (_net(seed, dims=dims).state_dict() for seed in range(EXPERTS))
    layers = route(net, experts, [1 / EXPERTS] * EXPERTS, generator=torch.Generator(), granularity=granularity,
                   dropout=0.0)  # fmt: skip
    return net.eval(), layers


def _training_step() -> Callable[[], object]:
    net, training = _net(0, dims=3).train(), Training(precision="float32")
    optimizer = make_optimizer(list(net.parameters()), training)
    image = torch.randn(2, 1, *PATCH)
    target = (image > 1).to(torch.uint8).expand(-1, 2, -1, -1, -1)
    known = torch.ones(2, 2, dtype=torch.bool)
    return lambda: step(net, optimizer, image, target, known, training=training)


def _adapting_step(granularity: Granularity) -> Callable[[], object]:
    net, layers = _routed(granularity, dims=3)
    routers = [parameter for layer in layers.values() for parameter in layer.router.parameters()]
    adam = torch.optim.Adam([*routers, *norm_parameters(net)], lr=1e-3)
    image, generator = torch.randn(1, 1, *PATCH), torch.Generator().manual_seed(0)

    def one() -> None:
        loss = _loss(net, image, Adaptation(), 1, generator)
        adam.zero_grad(set_to_none=True)
        loss.backward()
        adam.step()

    return one


def _pass(granularity: Granularity, *, by_loop: bool = False) -> Callable[[], object]:
    """Forwards and backwards over a batch of patches."""
    net, layers = _routed(granularity, dims=3)
    images = torch.randn(SAMPLES, 1, *PATCH)
    if by_loop:
        for layer in layers.values():
            layer.forward = _looped(layer)  # type: ignore[method-assign]
    return lambda: net(images).square().mean().backward()


def _looped(layer: Routed) -> Callable[[Tensor], Tensor]:
    """The straightforward form: each sample's kernel and convolution on its own, as in the official code."""

    def forward(input: Tensor) -> Tensor:
        rho = layer.router(input)
        outputs = []
        for sample, gates in zip(input.split(1), rho, strict=True):
            bias = None if layer.biases is None else mixed(gates, layer.biases)
            outputs.append(convolve(layer.shape, sample, mixed(gates, layer.kernels), bias))
        return torch.cat(outputs)

    return forward


def _held() -> float:
    """Bytes of the routed network, over those of the experts."""
    net, layers = _routed("static", dims=3)
    held = sum(p.numel() for p in net.parameters())
    held += sum(
        layer.kernels.numel() + (0 if layer.biases is None else layer.biases.numel())
        for layer in layers.values()
    )
    return held / (EXPERTS * sum(p.numel() for p in _net(0, dims=3).parameters()))


if __name__ == "__main__":
    main()
