from __future__ import annotations

import functools
import gc
import math
import operator
import weakref
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from FedSegCore.errors import FedSegError
from FedSegCore.tensors import weights as algebra
from FedSegCore.tensors.weights import Weights
from Testing.phantoms import equal, small_net

NUMBERS = st.floats(-1e6, 1e6, width=32)
MODELS = st.lists(NUMBERS, min_size=3, max_size=3)


def three(*numbers: float) -> dict[str, Tensor]:
    """A model of three numbers: a kernel of two and a bias."""
    values = torch.tensor(numbers, dtype=torch.float32)
    return {"kernel": values[:2].clone(), "bias": values[2:].clone()}


def flat(weights: Weights) -> list[float]:
    return [*weights["kernel"].tolist(), *weights["bias"].tolist()]


def test_a_copy_shares_no_storage_with_its_source() -> None:
    source = three(1, 2, 3)
    copied = algebra.copy(source)
    source["kernel"].fill_(9)
    assert flat(copied) == [1, 2, 3]


def test_weights_of_a_model_hold_parameters_and_buffers_and_outlive_its_training() -> None:
    model = small_net(norm="batch")
    before = algebra.of(model)
    assert before.keys() == model.state_dict().keys()
    assert any(name.endswith("running_var") for name in before)
    for parameter in model.parameters():
        parameter.data.add_(1)
    assert not equal(before, algebra.of(model))
    assert not {tensor.data_ptr() for tensor in before.values()} & {
        tensor.data_ptr() for tensor in model.state_dict().values()
    }


def test_every_tensor_is_loaded_under_its_own_name() -> None:
    model = small_net(norm="batch")
    unique = {
        name: torch.full_like(tensor, 1 + place)
        for place, (name, tensor) in enumerate(model.state_dict().items())
    }
    algebra.load(model, dict(reversed(unique.items())))
    assert equal(algebra.of(model), unique)


def test_entries_that_are_not_loaded_stay() -> None:
    model = small_net()
    before = algebra.of(model)
    algebra.load(model, {"head.conv.bias": torch.tensor([5.0, 6.0])})
    after = algebra.of(model)
    assert after.pop("head.conv.bias").tolist() == [5, 6]
    before.pop("head.conv.bias")
    assert equal(before, after)


def test_loading_keeps_the_models_memory_layout() -> None:
    model = small_net()
    strides = {name: tensor.stride() for name, tensor in model.state_dict().items()}
    algebra.load(model, algebra.of(model))
    assert {name: tensor.stride() for name, tensor in model.state_dict().items()} == strides


@pytest.mark.parametrize(
    ("weights", "message"),
    [({"foot": torch.zeros(2)}, 'no entry "foot"'), ({"head.conv.bias": torch.zeros(3)}, "shape")],
)
def test_loading_refuses_unknown_names_and_other_shapes_and_changes_nothing(
    weights: Weights, message: str
) -> None:
    model = small_net()
    before = algebra.of(model)
    with pytest.raises(FedSegError, match=message):
        algebra.load(model, {"head.conv.weight": torch.zeros_like(before["head.conv.weight"]), **weights})
    assert equal(algebra.of(model), before)


def test_selecting_keeps_the_order_of_the_weights() -> None:
    assert list(algebra.select({"a": torch.zeros(1), "b": torch.zeros(1)}, ["b", "a", "x"])) == ["a", "b"]


def test_one_case_against_three_gives_a_quarter_and_three_quarters() -> None:
    mean = algebra.weighted_mean(three(9, 9, 9), [(three(4, 8, -12), 1.0), (three(8, 16, 4), 3.0)])
    assert flat(mean) == [7, 14, 0]


@given(model=MODELS, shares=st.lists(st.integers(1, 10_000), min_size=1, max_size=5))
def test_the_mean_of_identical_models_is_that_model_bit_for_bit(
    model: list[float], shares: list[int]
) -> None:
    mean = algebra.weighted_mean(three(0, 0, 0), [(three(*model), float(share)) for share in shares])
    torch.testing.assert_close(torch.tensor(flat(mean)), torch.tensor(model), rtol=1e-7, atol=0)
    if len(shares) == 1:
        assert equal(mean, three(*model))


@given(models=st.lists(MODELS, min_size=2, max_size=5), data=st.data())
def test_the_order_of_the_sites_does_not_matter(models: list[list[float]], data: st.DataObject) -> None:
    items = [(three(*model), float(place + 1)) for place, model in enumerate(models)]
    shuffled = data.draw(st.permutations(items))
    first, second = (algebra.weighted_mean(three(0, 0, 0), one) for one in (items, shuffled))
    torch.testing.assert_close(torch.tensor(flat(first)), torch.tensor(flat(second)), rtol=1e-6, atol=1e-9)


@given(models=st.lists(MODELS, min_size=1, max_size=5))
def test_the_mean_lies_between_the_smallest_and_the_largest(models: list[list[float]]) -> None:
    mean = algebra.weighted_mean(three(0, 0, 0), [(three(*model), 1.0) for model in models])
    stacked = torch.tensor(models, dtype=torch.float32)
    found = torch.tensor(flat(mean))
    slack = 1e-6 * stacked.abs().amax(0)
    assert bool((found >= stacked.amin(0) - slack).all())
    assert bool((found <= stacked.amax(0) + slack).all())


def test_without_sites_or_with_shares_of_zero_the_old_value_stays() -> None:
    old = three(1, 2, 3)
    assert equal(algebra.weighted_mean(old, []), old)
    assert equal(algebra.weighted_mean(old, [(three(7, 7, 7), 0.0)]), old)


def test_a_share_for_each_name_makes_owners() -> None:
    mean = algebra.weighted_mean(
        three(1, 2, 3), [(three(4, 6, 8), {"kernel": 1.0, "bias": 0.0}), (three(8, 8, 8), {"kernel": 1.0})]
    )
    assert flat(mean) == [6, 7, 3]


def test_a_share_for_each_filter_averages_it_over_its_owners_only() -> None:
    old = {"kernel": torch.tensor([[1.0, 1.0], [2.0, 2.0], [3.0, 3.0]])}
    first = {"kernel": torch.full((3, 2), 10.0)}
    second = {"kernel": torch.full((3, 2), 20.0)}
    shares = [torch.tensor([[1.0], [1.0], [0.0]]), torch.tensor([[3.0], [0.0], [0.0]])]
    mean = algebra.weighted_mean(old, [(first, {"kernel": shares[0]}), (second, {"kernel": shares[1]})])
    assert mean["kernel"].tolist() == [[17.5, 17.5], [10, 10], [3, 3]]


def test_nan_of_who_does_not_own_a_tensor_does_not_reach_the_mean() -> None:
    broken = three(float("nan"), float("inf"), 8)
    mean = algebra.weighted_mean(three(1, 2, 3), [(broken, {"bias": 1.0}), (three(4, 5, 6), 1.0)])
    assert flat(mean) == [4, 5, 7]


def test_integers_are_never_averaged_but_the_largest_is_taken() -> None:
    old = {"batches": torch.tensor(3)}
    mean = algebra.weighted_mean(
        old, [({"batches": torch.tensor(10)}, 1.0), ({"batches": torch.tensor(7)}, 9.0)]
    )
    assert mean["batches"].dtype == torch.int64
    assert int(mean["batches"]) == 10


def test_names_that_a_site_lacks_are_averaged_over_the_others() -> None:
    mean = algebra.weighted_mean(
        three(0, 0, 0), [({"kernel": torch.tensor([2.0, 2.0])}, 1.0), (three(4, 6, 8), 1.0)]
    )
    assert flat(mean) == [3, 4, 8]


def test_many_small_contributions_are_summed_without_loss() -> None:
    items = [(three(1e8, 1, 1), 1.0), *((three(1, 1, 1), 1.0) for _ in range(99))]
    assert flat(algebra.weighted_mean(three(0, 0, 0), items)) == [pytest.approx(1000000.99, rel=1e-7), 1, 1]


def test_averaging_changes_neither_the_old_weights_nor_the_sites() -> None:
    old, first, second = three(0, 0, 0), three(1, 2, 3), three(3, 4, 5)
    mean = algebra.weighted_mean(old, [(first, 1.0), (second, 1.0)])
    assert (flat(old), flat(first), flat(second)) == ([0, 0, 0], [1, 2, 3], [3, 4, 5])
    pointers = {tensor.data_ptr() for weights in (old, first, second) for tensor in weights.values()}
    assert not pointers & {tensor.data_ptr() for tensor in mean.values()}


def test_only_one_sites_model_is_in_memory_at_a_time() -> None:
    seen: list[weakref.ref[Tensor]] = []
    alive: list[int] = []

    def items() -> Iterator[tuple[Weights, float]]:
        for value in range(4):
            gc.collect()
            alive.append(sum(reference() is not None for reference in seen))
            weights = three(value, value, value)
            seen.append(weakref.ref(weights["kernel"]))
            yield weights, 1.0
            del weights

    algebra.weighted_mean(three(0, 0, 0), items())
    assert max(alive) <= 1


class Allocations(TorchDispatchMode):
    """Adds up the bytes of the tensors that are made and alive, and keeps the most."""

    def __init__(self) -> None:
        super().__init__()
        self.alive = self.most = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        given = {
            tensor.untyped_storage().data_ptr() for tensor in tree_leaves(args) if isinstance(tensor, Tensor)
        }
        for tensor in tree_leaves(out):
            if isinstance(tensor, Tensor) and tensor.untyped_storage().data_ptr() not in given:
                size = tensor.untyped_storage().nbytes()
                self.alive += size
                self.most = max(self.most, self.alive)
                weakref.finalize(tensor.untyped_storage(), self._gone, size)
        return out

    def _gone(self, size: int) -> None:
        self.alive -= size


@pytest.mark.parametrize("sites", [2, 16])
def test_the_mean_of_any_number_of_sites_takes_two_and_a_half_networks_at_most(sites: int) -> None:
    model = {f"kernel{place}": torch.ones(4096) for place in range(16)}
    size = sum(tensor.nbytes for tensor in model.values())
    by_row = {name: torch.ones(4096, dtype=torch.float64) for name in list(model)[:1]}
    with Allocations() as seen:
        mean = algebra.weighted_mean(
            model, ((model, {**dict.fromkeys(model, 2.0), **by_row}) for _ in range(sites))
        )
    assert size < seen.most <= 2.5 * size
    assert equal(mean, model)


@given(values=MODELS, bad=st.sampled_from([math.nan, math.inf, -math.inf]), place=st.integers(0, 2))
def test_numbers_are_finite_and_one_that_is_none_among_them_is_found(
    values: list[float], bad: float, place: int
) -> None:
    tensor = torch.tensor(values)
    assert algebra.finite(tensor)
    tensor[place] = bad
    assert not algebra.finite(tensor)
    assert not algebra.finite(tensor.bfloat16())


def test_integers_and_no_numbers_at_all_are_finite() -> None:
    assert algebra.finite(torch.tensor([1, 2]))
    assert algebra.finite(torch.tensor(True))
    assert algebra.finite(torch.empty(0))


@given(values=st.lists(st.tuples(MODELS, st.floats(0, 100)), min_size=1, max_size=4))
def test_the_mean_is_the_sum_of_products_by_the_sum_of_shares_in_float64(
    values: list[tuple[list[float], float]],
) -> None:
    items = [(three(*numbers), share) for numbers, share in values]
    mean = flat(algebra.weighted_mean(three(1, 2, 3), items))
    for place, got in enumerate(mean):
        total = functools.reduce(operator.add, (share for _, share in items), 0.0)
        added = functools.reduce(operator.add, (flat(model)[place] * share for model, share in items), 0.0)
        assert got == float(torch.tensor(added / total if total else place + 1.0, dtype=torch.float32))


def test_the_result_has_the_types_of_the_old_weights() -> None:
    old = {"half": torch.zeros(2, dtype=torch.bfloat16)}
    mean = algebra.weighted_mean(
        old, [({"half": torch.ones(2, dtype=torch.bfloat16)}, 1.0), ({"half": torch.full((2,), 3.0)}, 1.0)]
    )
    assert mean["half"].dtype == torch.bfloat16
    assert mean["half"].tolist() == [2, 2]


def test_the_moving_average_is_a_part_of_the_first_and_the_rest_of_the_second() -> None:
    mixed = algebra.mix(three(8, 16, 32), three(0, 8, 16), 0.25)
    assert flat(mixed) == [2, 10, 20]


@given(first=MODELS, second=MODELS)
def test_momentum_zero_is_the_second_and_one_the_first_bit_for_bit(
    first: list[float], second: list[float]
) -> None:
    assert equal(algebra.mix(three(*first), three(*second), 0.0), three(*second))
    assert equal(algebra.mix(three(*first), three(*second), 1.0), three(*first))


def test_a_mixture_copies_integers_from_the_second_and_owns_its_storage() -> None:
    first, second = {"batches": torch.tensor(4)}, {"batches": torch.tensor(9)}
    mixed = algebra.mix(first, second, 0.5)
    assert int(mixed["batches"]) == 9
    second["batches"].fill_(1)
    assert int(mixed["batches"]) == 9
    weights = three(1, 2, 3)
    pointers = {tensor.data_ptr() for tensor in weights.values()}
    assert not pointers & {tensor.data_ptr() for tensor in algebra.mix(weights, weights, 0.0).values()}
