from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from FedSegCore.nets.filters import (
    FilterLayer,
    contribution,
    disagreements,
    filter_layers,
    kernels,
    pick,
    spread,
)


class Parts(nn.Module):
    """A decoder with a convolution, a transposed one and a linear layer; three filters each."""

    def __init__(self) -> None:
        super().__init__()
        self.decoder = nn.ModuleDict(
            {
                "up": nn.ConvTranspose2d(2, 3, 2),
                "conv": nn.Conv2d(4, 3, 3),
                "line": nn.Linear(5, 3, bias=False),
            }
        )
        self.head = nn.Conv3d(2, 3, 1)


NET = Parts()
LAYERS = filter_layers(NET, ("decoder", "head"))
WEIGHTS = NET.state_dict()


def test_filters_are_counted_along_the_outputs_of_each_kind_of_layer() -> None:
    assert (
        FilterLayer("decoder.up", (("decoder.up.weight", 1), ("decoder.up.bias", 0)), 3),
        FilterLayer("decoder.conv", (("decoder.conv.weight", 0), ("decoder.conv.bias", 0)), 3),
        FilterLayer("decoder.line", (("decoder.line.weight", 0),), 3),
        FilterLayer("head", (("head.weight", 0), ("head.bias", 0)), 3),
    ) == LAYERS


def test_a_norm_layer_with_weights_is_in_no_filter_and_refused() -> None:
    net = Parts()
    net.decoder["norm"] = nn.InstanceNorm2d(3, affine=True)
    with pytest.raises(ValueError, match=r"decoder\.norm\.bias"):
        filter_layers(net, ("decoder",))


@given(st.lists(st.booleans(), min_size=3, max_size=3))
def test_kernel_and_bias_of_a_filter_come_from_the_same_place(shared: list[bool]) -> None:
    mask = {layer.name: torch.tensor(shared) for layer in LAYERS}
    ones, zeros = ({n: torch.full_like(t, value) for n, t in WEIGHTS.items()} for value in (1.0, 0.0))
    picked = pick(mask, LAYERS, ones, zeros)
    assert picked.keys() == WEIGHTS.keys()
    for layer in LAYERS:
        for name, axis in layer.tensors:
            rows = (
                picked[name].movedim(axis, 0).flatten(1) if picked[name].ndim > 1 else picked[name][:, None]
            )
            assert [set(row.tolist()) for row in rows] == [{float(known)} for known in shared]


def test_spread_values_broadcast_along_the_filters_axis() -> None:
    values = {layer.name: torch.tensor([1.0, 2.0, 3.0]) for layer in LAYERS}
    shaped = spread(values, LAYERS, WEIGHTS)
    assert shaped["decoder.up.weight"].shape == (1, 3, 1, 1)
    assert shaped["decoder.conv.weight"].shape == (3, 1, 1, 1)
    assert shaped["head.bias"].shape == (3,)


def test_a_filters_move_is_its_whole_kernel_in_one_row() -> None:
    after = {name: tensor.clone() for name, tensor in WEIGHTS.items()}
    after["decoder.up.weight"][:, 1] += 2.0
    moved = kernels(after, WEIGHTS, LAYERS[0])
    assert moved.shape == (3, 2 * 2 * 2)
    assert moved[1].tolist() == pytest.approx([2.0] * 8, abs=1e-6)
    assert moved[[0, 2]].abs().max() == 0.0


AGREE, DISAGREE, STILL = 1.0, -1.0, 0.0


def counted(signs: list[float], patience: int) -> list[int]:
    """The counter of one filter whose moves agree, disagree or are orthogonal, round by round."""
    counter, seen = torch.zeros(1, dtype=torch.int32), []
    for sign in signs:
        site = torch.tensor([[sign, 1.0 if sign == STILL else 0.0]])
        counter = disagreements(counter, torch.tensor([[1.0, 0.0]]), site, patience=patience)
        seen.append(int(counter))
    return seen


def test_so_many_disagreements_in_a_row_make_a_filter_personal() -> None:
    assert counted([DISAGREE] * 3, 3) == [1, 2, 3]


def test_one_agreement_starts_the_count_anew_and_an_orthogonal_move_leaves_it() -> None:
    assert counted([DISAGREE, DISAGREE, AGREE, DISAGREE, STILL, DISAGREE], 3) == [1, 2, 0, 1, 1, 2]


@given(st.lists(st.sampled_from([AGREE, DISAGREE, STILL])), st.integers(0, 4))
def test_a_personal_filter_is_personal_for_ever(signs: list[float], patience: int) -> None:
    personal = [count >= patience for count in counted(signs, patience)]
    assert personal == sorted(personal)


@given(st.lists(st.sampled_from([AGREE, DISAGREE]), max_size=12), st.integers(1, 4))
def test_a_filter_is_personal_exactly_after_a_run_of_disagreements(signs: list[float], patience: int) -> None:
    runs = [signs[place : place + patience] == [DISAGREE] * patience for place in range(len(signs))]
    assert any(count >= patience for count in counted(signs, patience)) == any(runs)


def test_filters_that_the_site_did_not_train_are_not_compared() -> None:
    here, there = torch.ones(2, 3), -torch.ones(2, 3)
    before = torch.zeros(2, dtype=torch.int32)
    counts = torch.tensor([True, False])
    assert disagreements(before, here, there, patience=5, counts=counts).tolist() == [1, 0]


def test_the_weight_in_the_mean_follows_the_ratio_of_the_moves_and_the_number_of_cases() -> None:
    here, there = torch.tensor([[3.0, 4.0]]), torch.tensor([[0.0, 2.5]])
    h = contribution(torch.ones(1), here, there, share=0.25)
    assert float(h) == pytest.approx(0.95 + 0.05 * 2.0 * 0.25)


@pytest.mark.parametrize(("here", "there", "ratio"), [(0.0, 0.0, 1.0), (1.0, 0.0, 10.0), (0.0, 1.0, 0.1)])
def test_a_filter_that_did_not_move_gives_no_nan(here: float, there: float, ratio: float) -> None:
    moves = (torch.full((1, 2), value) for value in (here, there))
    assert float(contribution(torch.ones(1), *moves, share=1.0)) == pytest.approx(0.95 + 0.05 * ratio)
