from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from FedSegCore.data.batches import Batches
from FedSegCore.learning.anchors import (
    Prototypes,
    case_prototypes,
    choose_members,
    class_masks,
    kmeans,
    move_anchors,
    movement,
    pooled_sums,
)
from Testing.multimodal import multi_case, multi_net
from Testing.phantoms import SIDE, seeded

pytestmark = pytest.mark.usefixtures("one_thread")


def prototypes(values: Tensor, shown: Tensor | None = None) -> Prototypes:
    """One level's prototypes (P, classes, C)."""
    return Prototypes((values,), torch.ones(values.shape[:2], dtype=torch.bool) if shown is None else shown)


# Prototypes.


@pytest.mark.parametrize("dims", [2, 3])
@given(scale=st.sampled_from([1, 2, 4]), seed=st.integers(0, 10**6))
def test_pooling_the_mask_is_enlarging_the_features(dims: int, scale: int, seed: int) -> None:
    generator = seeded(seed)
    features = torch.randn(2, 3, *[2] * dims, generator=generator)
    masks = (torch.rand(2, 4, *[2 * scale] * dims, generator=generator) > 0.5).float()
    sums, voxels = pooled_sums(features, masks)
    large = F.interpolate(features, scale_factor=scale, mode="nearest") if scale > 1 else features
    enlarged, number = masks.flatten(2) @ large.flatten(2).mT, masks.flatten(2).sum(2)
    assert torch.allclose(voxels, number)
    size = number.clamp(min=1)[..., None]
    assert torch.allclose(sums / size, enlarged / size, atol=1e-5)


def test_background_is_where_no_structure_is_and_structures_may_overlap() -> None:
    target = torch.tensor([[[1, 1, 0]], [[0, 1, 0]]], dtype=torch.uint8)[None]
    assert class_masks(target)[0, :, 0].tolist() == [[0, 0, 1], [1, 1, 0], [0, 1, 0]]


def batches(*, annotated: tuple[bool, bool] = (True, True), dims: int = 2, cases: int = 3) -> Batches:
    depth = 2 if dims == 2 else SIDE
    made = [multi_case(str(k), seed=k, annotated=annotated, depth=depth) for k in range(cases)]
    return Batches(made, patch=(SIDE,) * dims, batch_size=2, dims=dims)


@pytest.mark.parametrize("dims", [2, 3])
def test_every_case_has_a_prototype_of_each_class_at_each_level(dims: int) -> None:
    found = case_prototypes(multi_net(dims=dims), batches(dims=dims))
    assert [tuple(level.shape) for level in found.levels] == [(3, 3, 4), (3, 3, 8)]
    assert found.shown.all()


def test_the_slices_of_a_case_have_one_prototype_together() -> None:
    """The mean over both slices' voxels, not the mean of two means."""
    net, held = multi_net(), batches(cases=1)
    net.eval()
    found = case_prototypes(net, held)
    (_, batch), *_ = held.sweep()
    with torch.no_grad():
        features = net.fused(batch.image)[0]
    inside = batch.target[:, 0].bool()
    mean = features.movedim(1, -1)[inside].mean(0)
    assert torch.allclose(found.levels[0][0, 1], mean, atol=1e-5)


def test_a_class_that_a_case_does_not_show_has_no_prototype_and_no_nan() -> None:
    found = case_prototypes(multi_net(), batches(annotated=(True, False)))
    assert found.shown.tolist() == [[True, True, False]] * 3
    assert all(bool(torch.isfinite(level).all()) for level in found.levels)
    assert float(found.levels[0][:, 2].abs().max()) == 0.0


def test_prototypes_are_the_same_each_time_and_touch_no_global_generator() -> None:
    net, held, before = multi_net(), batches(), torch.get_rng_state()
    first, second = (case_prototypes(net, held) for _ in range(2))
    assert all(torch.equal(one, two) for one, two in zip(first.levels, second.levels, strict=True))
    assert torch.equal(torch.get_rng_state(), before)


# Clusters.


def test_clusters_that_lie_apart_are_found() -> None:
    centres = torch.tensor([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0]])
    points = (centres[:, None] + 0.1 * torch.randn(3, 5, 2, generator=seeded())).flatten(0, 1)
    found = kmeans(points, 3, generator=seeded(1)).view(3, 5)
    assert bool((found == found[:, :1]).all())
    assert len(found[:, 0].unique()) == 3


@given(number=st.integers(1, 8), clusters=st.integers(1, 4), kinds=st.integers(1, 3), seed=st.integers(0, 99))
def test_no_cluster_is_empty_while_there_are_points_even_equal_ones(
    number: int, clusters: int, kinds: int, seed: int
) -> None:
    clusters = min(clusters, number)
    points = torch.randint(0, kinds, (number, 2), generator=seeded(seed)).float()
    assert len(kmeans(points, clusters, generator=seeded(seed)).unique()) == clusters


def test_equal_generators_give_equal_clusters() -> None:
    points = torch.randn(12, 3, generator=seeded())
    first, second = (kmeans(points, 4, generator=seeded(5)) for _ in range(2))
    assert torch.equal(first, second)


@given(cases=st.integers(1, 7), anchors=st.integers(1, 4), seed=st.integers(0, 99))
def test_every_case_belongs_to_one_anchor_of_each_class_that_it_shows(
    cases: int, anchors: int, seed: int
) -> None:
    generator = seeded(seed)
    values = torch.randn(cases, 3, 5, generator=generator)
    shown = torch.rand(cases, 3, generator=generator) > 0.4
    members = choose_members(prototypes(values, shown), anchors, generator=generator)
    assert members.shape == (anchors, 3, cases)
    enough = shown.sum(0) >= anchors
    assert torch.equal(members.sum(0)[enough], shown.T[enough].long())
    assert bool((members.any(0) == shown.T).all())
    assert bool((members.any(2) == shown.any(0)).all()), "an anchor of a class that is shown has a member"


def test_the_clusters_are_those_of_the_coarsest_level() -> None:
    coarse = torch.tensor([0.0, 0.0, 9.0, 9.0]).view(4, 1, 1)
    fine = torch.tensor([0.0, 9.0, 0.0, 9.0]).view(4, 1, 1)
    found = Prototypes((fine, coarse), torch.ones(4, 1, dtype=torch.bool))
    members = choose_members(found, 2, generator=seeded())[:, 0].int()
    assert torch.equal(members[:, 0], members[:, 1])
    assert not torch.equal(members[:, 0], members[:, 2])


# Anchors.


def test_anchors_have_a_shape_for_each_level_and_no_nan_with_absent_classes() -> None:
    found = case_prototypes(multi_net(), batches(annotated=(True, False)))
    members = choose_members(found, 2, generator=seeded())
    anchors = move_anchors({}, found, members, 0.0)
    assert {name: tuple(one.shape) for name, one in anchors.items()} == {"0": (2, 3, 4), "1": (2, 3, 8)}
    assert all(bool(torch.isfinite(one).all()) for one in anchors.values())
    assert float(anchors["1"][:, 2].abs().max()) == 0.0


def test_the_anchor_of_a_constant_is_that_constant() -> None:
    values = torch.tensor([1.0, 2.0, 3.0]).view(1, 3, 1).repeat(5, 1, 4)
    found = prototypes(values)
    members = choose_members(found, 2, generator=seeded())
    anchors = move_anchors({}, found, members, 0.0)["0"]
    assert torch.equal(anchors, torch.tensor([1.0, 2.0, 3.0]).view(1, 3, 1).repeat(2, 1, 4))


def test_without_momentum_anchors_are_the_current_means_and_with_all_of_it_they_stay() -> None:
    first, second = (prototypes(torch.randn(4, 2, 3, generator=seeded(k))) for k in range(2))
    members = choose_members(first, 2, generator=seeded())
    old = move_anchors({}, first, members, 0.0)
    assert torch.equal(
        move_anchors(old, second, members, 0.0)["0"], move_anchors({}, second, members, 0.0)["0"]
    )
    assert torch.equal(move_anchors(old, second, members, 1.0)["0"], old["0"])
    half = move_anchors(old, second, members, 0.5)["0"]
    assert torch.allclose(half, (old["0"] + move_anchors({}, second, members, 0.0)["0"]) / 2)


def test_a_mean_counts_only_cases_that_show_the_class() -> None:
    """The published code averages the zeros of the others in."""
    shown = torch.tensor([[True], [False]])
    values = torch.tensor([[[6.0]], [[0.0]]])
    members = torch.ones(1, 1, 2, dtype=torch.bool)
    assert move_anchors({}, prototypes(values, shown), members, 0.0)["0"].item() == 6.0


def test_an_anchor_without_members_keeps_its_value() -> None:
    old = {"0": torch.full((2, 1, 3), 7.0)}
    members = torch.zeros(2, 1, 4, dtype=torch.bool)
    members[0] = True
    moved = move_anchors(old, prototypes(torch.zeros(4, 1, 3)), members, 0.5)["0"]
    assert moved.flatten(1).unique(dim=1).tolist() == [[3.5], [7.0]]


def test_fewer_prototypes_than_anchors_are_dealt_out_again() -> None:
    found = prototypes(torch.tensor([1.0, 2.0]).view(2, 1, 1))
    anchors = move_anchors({}, found, choose_members(found, 5, generator=seeded()), 0.0)["0"]
    assert anchors.flatten().tolist() == [1.0, 2.0, 1.0, 2.0, 1.0]


def test_movement_is_relative_to_where_the_anchors_were() -> None:
    old, new = {"0": torch.tensor([3.0, 4.0])}, {"0": torch.tensor([3.0, 5.0])}
    assert movement(old, new) == pytest.approx(0.2)
    assert movement({}, {}) == 0.0


def test_a_sweep_visits_every_sample_once_with_its_foreground_in_the_middle() -> None:
    case = multi_case("wide", seed=0)
    image, target = torch.zeros(4, 32, 32, 2), torch.zeros(2, 32, 32, 2, dtype=torch.uint8)
    target[0, 20:23, 25:28] = 1
    held = Batches(
        [case, replace(case, image=image, target=target)], patch=(SIDE, SIDE), batch_size=3, dims=2
    )
    seen = list(held.sweep())
    assert [cases for cases, _ in seen] == [(0, 0, 1), (1,)]
    assert int(seen[1][1].target.sum()) == 9
    assert int(seen[1][1].target[0, 0, 3:6, 3:6].sum()) == 9
