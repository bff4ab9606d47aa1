from __future__ import annotations

import pytest
import torch
from torch import nn

from FedSegCore.nets.norm import SampleNorm2d, SampleNorm3d, keep_layout, memory_format
from FedSegCore.nets.parts import norm_keys

PAIRS = {2: (nn.InstanceNorm2d, SampleNorm2d), 3: (nn.InstanceNorm3d, SampleNorm3d)}


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("mode", ["train", "eval"])
def test_values_and_gradients_are_those_of_torch(dims: int, last: bool, mode: str) -> None:
    layout = memory_format(dims) if last else torch.contiguous_format
    image = torch.randn(2, 3, *(4, 5, 6)[:dims], generator=torch.Generator().manual_seed(0))
    found = []
    for kind in PAIRS[dims]:
        norm = kind(3, affine=True)
        nn.init.constant_(norm.weight, 1.5)
        nn.init.constant_(norm.bias, -0.5)
        own = image.to(memory_format=layout).clone().requires_grad_()
        new = norm.train(mode == "train")(own)
        new.pow(3).sum().backward()
        found.append((new, own.grad, norm.weight.grad, norm.bias.grad))
    for slow, quick in zip(*found, strict=True):
        torch.testing.assert_close(quick, slow, rtol=1e-4, atol=1e-4)


def test_only_instance_norms_without_statistics_are_replaced_and_tensors_kept() -> None:
    kept = [nn.BatchNorm3d(3), nn.InstanceNorm3d(3, track_running_stats=True), nn.GroupNorm(1, 3)]
    inside = nn.Sequential(nn.InstanceNorm2d(3, affine=True))
    net = nn.Sequential(nn.InstanceNorm3d(3, affine=True), inside, *kept)
    before = {key: tensor.clone() for key, tensor in net.state_dict().items()}
    keep_layout(net)
    assert (type(net[0]), type(inside[0])) == (SampleNorm3d, SampleNorm2d)
    assert list(net)[2:] == kept
    assert list(net.state_dict()) == list(before)
    assert all(torch.equal(net.state_dict()[key], tensor) for key, tensor in before.items())


def test_the_twins_are_still_norm_layers() -> None:
    assert norm_keys(SampleNorm3d(3, affine=True)) == {"weight", "bias"}
