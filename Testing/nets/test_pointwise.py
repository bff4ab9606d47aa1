from __future__ import annotations

import pytest
import torch
from torch import nn

from FedSegCore.nets.layout import memory_format
from FedSegCore.nets.pointwise import Pointwise2d, Pointwise3d

PAIRS = {2: (nn.Conv2d, Pointwise2d), 3: (nn.Conv3d, Pointwise3d)}


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("stride", [1, 2, 3])
def test_values_and_gradients_are_those_of_torch(dims: int, last: bool, bias: bool, stride: int) -> None:
    generator = torch.Generator().manual_seed(0)
    layout = memory_format(dims) if last else torch.contiguous_format
    image = torch.randn(2, 3, *(4, 5, 6)[:dims], generator=generator).to(memory_format=layout)
    weight = torch.randn(5, 3, *[1] * dims, generator=generator)
    found = []
    for kind, step in zip(PAIRS[dims], (1, stride), strict=True):
        layer = kind(3, 5, 1, bias=bias, stride=step)
        own = image.clone().requires_grad_()
        with torch.no_grad():
            layer.weight.copy_(weight)
            if bias:
                layer.bias.fill_(0.5)
        new = layer(own) if step == stride else layer(own)[(..., *[slice(None, None, stride)] * dims)]
        new.pow(3).sum().backward()
        found.append([new, own.grad, layer.weight.grad, *([layer.bias.grad] if bias else [])])
    for slow, quick in zip(*found, strict=True):
        assert quick.shape == slow.shape
        torch.testing.assert_close(quick, slow, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("dims", [2, 3])
def test_a_channels_last_image_stays_so(dims: int) -> None:
    image = torch.randn(2, 3, *(4, 5, 6)[:dims]).to(memory_format=memory_format(dims))
    assert PAIRS[dims][1](3, 5, 1)(image).is_contiguous(memory_format=memory_format(dims))
