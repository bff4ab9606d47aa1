from __future__ import annotations

import pytest
import torch
from torch import nn

from FedSegCore.nets.layout import memory_format
from FedSegCore.nets.norm import SampleNorm2d, SampleNorm3d
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


def test_the_twins_are_still_norm_layers() -> None:
    assert norm_keys(SampleNorm3d(3, affine=True)) == {"weight", "bias"}
