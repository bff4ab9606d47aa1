"""How far one round may move the weights."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from FedSegCore.errors import SiteError, UpdateError
from FedSegCore.federation import wire
from FedSegCore.federation.checks import FARTHEST, check_move
from FedSegCore.methods.averaging import Averaging, AveragingUpdate
from FedSegCore.tensors.weights import Weights
from Testing.phantoms import Federation, equal, small_net, two_sites

BEFORE = {name: tensor.clone() for name, tensor in small_net().state_dict().items()}


def moved(times: float) -> Weights:
    """The weights after a move of so many times their size, in one direction."""
    return {
        name: tensor * (1 + times) if tensor.is_floating_point() else tensor
        for name, tensor in BEFORE.items()
    }


def check(sent: Weights, before: Weights = BEFORE) -> None:
    check_move(before, sent, site="north", round_number=2)


@given(st.floats(-0.9 * FARTHEST, 0.9 * FARTHEST))
def test_what_training_may_come_to_passes(times: float) -> None:
    check(moved(times))


@given(st.floats(1.5 * FARTHEST, 1e30), st.sampled_from([1, -1]))
def test_wildly_scaled_weights_are_refused_with_how_wild_they_are(times: float, sign: int) -> None:
    with pytest.raises(UpdateError, match=r"moved by .* times their own size") as caught:
        check(moved(sign * times))
    assert (caught.value.site, caught.value.round_number) == ("north", 2)


def test_one_wild_number_among_many_is_enough() -> None:
    sent = moved(0.0)
    name = next(iter(sent))
    sent[name] = sent[name].clone()
    sent[name].view(-1)[0] = 1e30
    with pytest.raises(UpdateError):
        check(sent)


def test_weights_that_begin_at_zero_may_be_trained() -> None:
    check({"bias": torch.full((8,), 5.0)}, {"bias": torch.zeros(8)})


def test_counters_are_no_weights_and_no_weights_are_no_move() -> None:
    check({"batches": torch.tensor(10**9)}, {"batches": torch.tensor(0)})
    check({}, {})


@pytest.mark.usefixtures("one_thread")
def test_a_round_goes_on_without_a_scaled_update_as_if_its_site_were_absent(tmp_path: Path) -> None:
    def scale(site: str, round: object, reply: bytes | SiteError) -> bytes | SiteError:
        if site != "b" or isinstance(reply, SiteError):
            return reply
        told = wire.decode(AveragingUpdate, reply)
        wild = {name: tensor * 1e6 for name, tensor in told.weights.items()}
        return wire.encode(AveragingUpdate(wild, told.loss, told.dice))

    def gone(site: str, round: object, reply: bytes | SiteError) -> bytes | SiteError:
        return SiteError("gone", site=site, round_number=1) if site == "b" else reply

    results = []
    for name, alter in (("scaled", scale), ("gone", gone)):
        run = Federation(tmp_path / name, Averaging(), two_sites(), rounds=1, min_sites=1, alter=alter)
        results.append(run.run().weights)
    assert equal(*results)
