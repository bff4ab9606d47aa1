from __future__ import annotations

import pytest
import torch
from torch import nn

from FedSegCore.errors import StudyError
from FedSegCore.nets.parts import PARTS, norm_keys, part_of, private_keys
from FedSegCore.nets.unet import Network, build


def network(norm: str = "batch") -> nn.Module:
    table = Network.from_dict({"channels": [2, 4, 6], "norm": norm})
    return build(table, dims=2, in_channels=1, out_channels=2, generator=torch.Generator())


def test_parts_are_a_disjoint_cover_of_the_state() -> None:
    net = network()
    parts = part_of(net)
    assert list(parts) == list(net.state_dict())
    assert set(parts.values()) == set(PARTS)


def test_norm_keys_hold_scale_shift_statistics_and_counter_of_every_norm_layer() -> None:
    net = network("batch")
    layers = [name for name, module in net.named_modules() if isinstance(module, nn.BatchNorm2d)]
    tensors = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    assert layers
    assert norm_keys(net) == {f"{layer}.{tensor}" for layer in layers for tensor in tensors}


def test_instance_norms_have_scale_and_shift_and_no_statistics() -> None:
    endings = {key.rsplit(".", 1)[1] for key in norm_keys(network("instance"))}
    assert endings == {"weight", "bias"}


@pytest.mark.parametrize(
    "layer",
    [
        nn.BatchNorm1d(2), nn.BatchNorm3d(2), nn.SyncBatchNorm(2), nn.InstanceNorm2d(2, affine=True),
        nn.GroupNorm(1, 2), nn.LayerNorm(2),
    ],
)  # fmt: skip
def test_norm_layers_are_found_by_type_whatever_their_name(layer: nn.Module) -> None:
    net = nn.ModuleDict({"adn_conv": layer, "norm": nn.Linear(2, 2)})
    assert norm_keys(net) == set(layer.state_dict(prefix="adn_conv."))


def test_a_norm_layer_alone_has_keys_without_a_dot() -> None:
    assert norm_keys(nn.GroupNorm(1, 2)) == {"weight", "bias"}


def test_private_keys_are_the_union_of_the_named_parts_and_norms() -> None:
    net = network()
    head = {key for key, part in part_of(net).items() if part == "head"}
    assert private_keys(net, ["head"]) == head
    assert private_keys(net, ["head", "norm"]) == head | norm_keys(net)
    assert private_keys(net, PARTS) == set(net.state_dict())
    assert private_keys(net, []) == frozenset()


def test_an_unknown_token_names_the_nearest() -> None:
    with pytest.raises(StudyError) as raised:
        private_keys(network(), ["heat"])
    assert '"head"' in raised.value.fix


def test_a_network_with_tensors_outside_its_parts_is_refused() -> None:
    net = network()
    net.stray = nn.Linear(1, 1)
    with pytest.raises(ValueError, match="stray"):
        part_of(net)
