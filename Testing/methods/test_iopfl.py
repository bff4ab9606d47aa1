"""IOP-FL inside: methods 2.8, items 1 to 4."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from FedSegCore.federation.method import Round
from FedSegCore.methods import iopfl
from FedSegCore.methods.averaging import Averaging, AveragingBroadcast, AveragingClient
from FedSegCore.tensors import weights as algebra
from Testing.phantoms import Federation, Starts, equal, kept, make_site, two_sites, updates

pytestmark = pytest.mark.usefixtures("one_thread")


def federation(folder: Path, *, momentum: float = 0.1, rounds: int = 2, norm: str = "batch") -> Federation:
    method = replace(iopfl.METHOD, personal=momentum)
    return Federation(folder, method, two_sites(norm=norm), rounds=rounds)


@pytest.mark.parametrize("momentum", [0.0, 0.1, 0.5, 1.0])
def test_the_personal_model_is_the_moving_average_of_the_local_ones_exactly(
    tmp_path: Path, momentum: float
) -> None:
    run = federation(tmp_path, momentum=momentum, rounds=3)
    run.run()
    sent = updates(run)
    expected = sent["a", 1]
    assert equal(kept(run, "a", 2).personal, algebra.mix(expected, sent["a", 2], momentum))
    for number in (2, 3):
        expected = algebra.mix(expected, sent["a", number], momentum)
    assert equal(kept(run, "a", 3).personal, expected)
    if momentum == 0.0:
        assert equal(kept(run, "a", 3).personal, sent["a", 3])


def test_with_momentum_one_it_stays_the_first_local_model(tmp_path: Path) -> None:
    run = federation(tmp_path, momentum=1.0, rounds=3, norm="instance")
    run.run()
    assert equal(kept(run, "b", 3).personal, updates(run)["b", 1])


def test_counters_of_batch_norm_are_copied_not_averaged(tmp_path: Path) -> None:
    run = federation(tmp_path, momentum=0.9)
    run.run()
    counters = {n: t for n, t in kept(run, "a", 2).personal.items() if not t.is_floating_point()}
    assert counters
    assert all(int(tensor) == int(updates(run)["a", 2][name]) for name, tensor in counters.items())


def test_the_personal_model_shares_no_storage_with_model_message_or_update() -> None:
    site, method = make_site("a", norm="batch"), iopfl.METHOD
    message = AveragingBroadcast(algebra.of(site.model))
    state: AveragingClient | None = None
    for number in (1, 2):
        state, update = method.local_update(message, state, site, Round(number, 2))
        others = [message.weights, update.weights, site.model.state_dict()]
        taken = {tensor.data_ptr() for weights in others for tensor in weights.values()}
        assert not taken & {tensor.data_ptr() for tensor in state.personal.values()}


def test_the_next_site_does_not_overwrite_the_first_ones_personal_model() -> None:
    """The official code keeps the live weights of the one model that all its sites share."""
    first, second = make_site("a"), make_site("b")
    second = replace(second, model=first.model)
    message = AveragingBroadcast(algebra.of(first.model))
    state, _ = iopfl.METHOD.local_update(message, None, first, Round(1, 2))
    before = algebra.copy(state.personal)
    iopfl.METHOD.local_update(message, None, second, Round(1, 2))
    assert equal(state.personal, before)


def test_the_next_round_starts_from_the_global_model_never_from_the_personal_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    starts = Starts().listen(monkeypatch)
    run = federation(tmp_path, rounds=1)
    state = run.run()
    starts.models.clear()
    longer = federation(tmp_path / "longer", rounds=2)
    longer.run()
    second_round = starts.models[2:]
    averaged = algebra.weighted_mean(
        state.weights, [(updates(longer)[name, 1], n) for name, n in (("a", 2.0), ("b", 3.0))]
    )
    for start in second_round:
        assert equal(start, averaged)
        assert not equal(start, kept(longer, "a", 1).personal)


def test_personalization_costs_no_byte_on_the_wire(tmp_path: Path) -> None:
    fedavg = Federation(tmp_path / "fedavg", Averaging(keep_optimizer=False), two_sites(norm="batch"))
    inside = federation(tmp_path / "inside")
    for run in (fedavg, inside):
        run.run()
    assert inside.wire.up == fedavg.wire.up
    assert inside.wire.down == fedavg.wire.down


def test_the_optimizer_starts_afresh_each_round(tmp_path: Path) -> None:
    run = federation(tmp_path)
    run.run()
    assert kept(run, "a", 2).optimizer == {}
