from __future__ import annotations

import pytest
import torch

from FedSegCore.nets.attention import Calibration


def calibration(*, residual: bool = False, anchors: int = 3, heads: int = 2) -> Calibration:
    torch.manual_seed(0)
    layer = Calibration(4, heads=heads, classes=2, anchors=anchors, residual=residual)
    layer.anchors.normal_()
    return layer


@pytest.mark.parametrize("sides", [(5, 6), (5, 6, 4)])
def test_every_head_of_every_voxel_shares_its_attention_among_all_anchors(sides: tuple[int, ...]) -> None:
    attention = calibration().attend(torch.randn(2, 4, *sides))
    assert attention.shape == (2, *sides, 2, 6)
    assert torch.allclose(attention.sum(-1), torch.ones(2, *sides, 2))


@pytest.mark.parametrize("sides", [(5, 6), (5, 6, 4)])
@pytest.mark.parametrize("residual", [False, True])
def test_features_keep_their_shape(sides: tuple[int, ...], residual: bool) -> None:
    features = torch.randn(2, 4, *sides)
    assert calibration(residual=residual)(features).shape == features.shape


def test_the_order_of_the_anchors_does_not_matter() -> None:
    layer, features = calibration(), torch.randn(1, 4, 3, 3)
    before = layer(features)
    order = torch.randperm(6)
    layer.anchors.copy_(layer.anchors.flatten(0, 1)[order].view(3, 2, 4))
    assert torch.allclose(layer(features), before, atol=1e-6)


def test_folding_keys_and_values_changes_nothing() -> None:
    """The plain form of the docstring: every voxel is projected into H · C numbers."""
    layer, features = calibration(), torch.randn(2, 4, 3, 3)
    torch.nn.init.normal_(layer.query.bias)
    voxels, anchors = features.flatten(2).mT, layer.anchors.flatten(0, 1)
    query = layer.query(voxels).unflatten(-1, (2, 4)).transpose(1, 2)
    key, value = (one(anchors).unflatten(-1, (2, 4)).transpose(0, 1) for one in (layer.key, layer.value))
    mixed = torch.softmax(query @ key.mT / 4**0.5, -1) @ value
    plain = layer.output(mixed.transpose(1, 2).flatten(2)).mT.view(features.shape)
    assert torch.allclose(layer(features), plain, atol=1e-5)


def test_a_class_that_no_case_has_shown_is_never_looked_at() -> None:
    layer, features = calibration(), torch.randn(1, 4, 3, 3)
    layer.anchors[:, 1] = 0
    attention = layer.attend(features).unflatten(-1, (3, 2))
    assert float(attention[..., 1].detach().abs().max()) == 0.0
    assert bool(torch.isfinite(layer(features)).all())


def test_with_a_residual_features_begin_as_they_were() -> None:
    features = torch.randn(1, 4, 3, 3)
    assert torch.equal(calibration(residual=True)(features), features)


def test_without_a_residual_voxels_differ_from_the_start() -> None:
    """The published weights begin so small that every voxel comes out as one constant."""
    calibrated = calibration()(torch.randn(1, 4, 8, 8)).detach()
    assert float(calibrated.flatten(2).std(2).min()) > 1e-2


def test_the_entropy_is_one_where_all_anchors_are_alike_and_small_where_one_stands_out() -> None:
    layer, features = calibration(), torch.randn(1, 4, 3, 3)
    layer.anchors.fill_(1.0)
    assert layer.entropy(features).item() == pytest.approx(1.0)
    layer.anchors.normal_().mul_(100.0)
    assert layer.entropy(features).item() < 0.5
