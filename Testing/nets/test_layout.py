from __future__ import annotations

import torch
from torch import nn

from FedSegCore.nets.layout import keep_layout
from FedSegCore.nets.norm import SampleNorm2d, SampleNorm3d
from FedSegCore.nets.pointwise import Pointwise2d, Pointwise3d


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


def test_only_convolutions_of_one_voxel_without_groups_or_padding_are_replaced_and_tensors_kept() -> None:
    kept = [
        nn.Conv3d(2, 2, 3, padding=1),
        nn.Conv3d(2, 2, 1, groups=2),
        nn.Conv2d(2, 2, 1, padding=1),
        nn.ConvTranspose3d(2, 2, 1),
    ]
    net = nn.Sequential(nn.Conv3d(2, 3, 1, stride=2), nn.Conv2d(2, 3, 1, bias=False), *kept)
    before = {key: tensor.clone() for key, tensor in net.state_dict().items()}
    keep_layout(net)
    assert (type(net[0]), type(net[1])) == (Pointwise3d, Pointwise2d)
    assert net[0].stride == (2, 2, 2)
    assert list(net)[2:] == kept
    assert list(net.state_dict()) == list(before)
    assert all(torch.equal(net.state_dict()[key], tensor) for key, tensor in before.items())
