from __future__ import annotations

import json

import pytest
import torch

from FedSegCore.errors import DataError, StudyError
from FedSegCore.nets.unet import Network, SegmentationNet, build, default_channels

TINY = Network(channels=(2, 4, 6))


def small(dims: int, *, norm: str = "instance", seed: int = 0) -> SegmentationNet:
    network = Network.from_dict({"channels": [2, 4, 6], "norm": norm})
    generator = torch.Generator().manual_seed(seed)
    return build(network, dims=dims, in_channels=2, out_channels=3, generator=generator)


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("norm", ["instance", "batch"])
def test_logits_come_out_at_the_input_resolution_one_channel_a_structure(dims: int, norm: str) -> None:
    sides = (8, 12, 16)[:dims]
    assert small(dims, norm=norm)(torch.randn(2, 2, *sides)).shape == (2, 3, *sides)


def test_a_network_has_exactly_three_named_parts() -> None:
    assert [name for name, _ in small(3).named_children()] == ["encoder", "decoder", "head"]


def test_equal_generators_give_equal_weights_and_other_seeds_other_weights() -> None:
    first, second, other = (small(2, seed=seed).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert not torch.equal(first["head.conv.weight"], other["head.conv.weight"])


def test_building_leaves_the_global_random_state_as_it_was() -> None:
    before = torch.get_rng_state()
    small(2)
    assert torch.equal(before, torch.get_rng_state())


def test_one_generator_gives_different_networks_in_a_row() -> None:
    generator = torch.Generator().manual_seed(0)
    one, two = (build(TINY, dims=2, in_channels=1, out_channels=1, generator=generator) for _ in range(2))
    assert not torch.equal(one.head.conv.weight, two.head.conv.weight)


@pytest.mark.parametrize("shape", [(1, 2, 8, 8, 10), (1, 2, 8, 8), (1, 2, 4, 4, 4), (1, 2, 0, 8, 8)])
def test_a_size_that_the_levels_cannot_halve_is_refused_with_the_fix(shape: tuple[int, ...]) -> None:
    with pytest.raises(DataError, match="multiple of 4") as raised:
        small(3)(torch.zeros(shape))
    assert "patch" in raised.value.fix


def test_a_network_survives_json() -> None:
    network = Network(channels=(8, 16), norm="batch")
    assert Network.from_dict(json.loads(json.dumps(network.to_dict()))) == network


@pytest.mark.parametrize(
    ("raw", "hint"),
    [
        ({"chanels": [8, 16]}, "channels"),
        ({"norm": "instanse"}, "instance"),
        ({"kind": "unit"}, "unet"),
        ({"channels": [8]}, "channels ="),
        ({"channels": [8, -1]}, "channels ="),
        ({"channels": [8, 1.5]}, "channels ="),
        ({"channels": [8, True]}, "channels ="),
        ({"channels": 8}, "channels ="),
        ({"norm": ["batch"]}, "batch"),
    ],
)
def test_a_wrong_network_table_is_refused_with_what_to_write(raw: dict[str, object], hint: str) -> None:
    with pytest.raises(StudyError) as raised:
        Network.from_dict(raw)
    assert hint in raised.value.fix


def test_dims_other_than_two_and_three_are_refused() -> None:
    with pytest.raises(StudyError, match="dims"):
        build(TINY, dims=4, in_channels=1, out_channels=1, generator=torch.Generator())


@pytest.mark.parametrize("norm", ["instance", "batch"])
def test_a_step_runs_on_the_meta_device(norm: str) -> None:
    net = small(3, norm=norm).to("meta")
    net(torch.zeros(1, 2, 8, 8, 8, device="meta")).sum().backward()
    assert all(parameter.grad is not None for parameter in net.parameters())


def test_every_parameter_of_the_network_is_used() -> None:
    net = small(3)
    net(torch.randn(1, 2, 8, 8, 8)).square().sum().backward()
    assert all(parameter.grad is not None for parameter in net.parameters())


def test_default_channels_double_below_the_finest_level_which_has_few_in_3d() -> None:
    assert default_channels(dims=3, depth=4) == (8, 32, 64, 128)
    assert default_channels(dims=2, depth=4) == (16, 32, 64, 128)
    assert default_channels(dims=3, depth=6) == (8, 32, 64, 128, 256, 256)
