"""The memory layout that convolutions like, kept from layer to layer on CPUs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import torch
from torch import nn

from FedSegCore.nets.norm import SampleNorm2d, SampleNorm3d
from FedSegCore.nets.pointwise import Pointwise2d, Pointwise3d, is_pointwise

_NORMS: Final[Mapping[type[nn.Module], type[SampleNorm2d] | type[SampleNorm3d]]] = {
    nn.InstanceNorm2d: SampleNorm2d,
    nn.InstanceNorm3d: SampleNorm3d,
}
_CONVOLUTIONS: Final[Mapping[type[nn.Module], type[Pointwise2d] | type[Pointwise3d]]] = {
    nn.Conv2d: Pointwise2d,
    nn.Conv3d: Pointwise3d,
}


def memory_format(dims: int) -> torch.memory_format:
    """The layout that convolutions like: channels last."""
    return torch.channels_last_3d if dims == 3 else torch.channels_last


def keep_layout(net: nn.Module) -> None:
    """Replace, in place, the layers that would copy channels-last tensors by twins that do not.

    These are instance norms without statistics and convolutions of one voxel; names and tensors stay.
    """
    for module in list(net.modules()):
        for name, child in list(module.named_children()):
            twin = _twin(child)
            if twin is not None:
                twin.load_state_dict(child.state_dict())
                setattr(module, name, twin)


def _twin(layer: nn.Module) -> nn.Module | None:
    norm, convolution = _NORMS.get(type(layer)), _CONVOLUTIONS.get(type(layer))
    if norm and not layer.track_running_stats:
        return norm(layer.num_features, eps=layer.eps, affine=layer.affine)  # type: ignore[arg-type]
    if convolution and is_pointwise(layer):  # type: ignore[arg-type]
        return convolution(
            layer.in_channels,  # type: ignore[arg-type]
            layer.out_channels,  # type: ignore[arg-type]
            1,
            stride=layer.stride,  # type: ignore[arg-type]
            bias=layer.bias is not None,
        )
    return None
