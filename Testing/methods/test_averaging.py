from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from FedSegCore.errors import StudyError, UpdateError
from FedSegCore.federation import wire
from FedSegCore.federation.checks import check_weights
from FedSegCore.federation.method import ClientInfo, Offer, Round
from FedSegCore.learning.norms import recalibrate_norms
from FedSegCore.learning.penalty import distance_penalty
from FedSegCore.learning.train import Training, make_optimizer, step
from FedSegCore.methods import averaging, ingredients
from FedSegCore.methods.averaging import (
    EVERYTHING,
    Averaging,
    AveragingBroadcast,
    AveragingClient,
    AveragingServer,
    AveragingUpdate,
    _keep_best,
)
from FedSegCore.methods.registry import METHODS
from FedSegCore.nets.parts import norm_keys, part_of
from FedSegCore.tensors import weights as algebra
from FedSegCore.tensors.weights import Weights
from Testing.phantoms import (
    LABELS,
    TRAINING,
    Federation,
    Starts,
    equal,
    kept,
    make_site,
    personal_of,
    small_net,
    two_sites,
    updates,
)

pytestmark = pytest.mark.usefixtures("one_thread")

PRIVATE = [(), ("norm",), ("head",), ("norm", "head"), ("encoder",), EVERYTHING]


def linear(weight: list[float], bias: float) -> nn.Linear:
    """A model of three numbers."""
    model = nn.Linear(2, 1)
    algebra.load(model, {"weight": torch.tensor([weight]), "bias": torch.tensor([bias])})
    return model


# What is shared.


@pytest.mark.parametrize("private", PRIVATE, ids=str)
def test_private_and_shared_are_a_disjoint_cover_of_the_model(private: tuple[Any, ...]) -> None:
    model = small_net(norm="batch")
    method = Averaging(private=private)
    shared, own = (part(algebra.of(model), model) for part in (method._shared, method._private))
    assert not shared.keys() & own.keys()
    assert shared.keys() | own.keys() == model.state_dict().keys()
    assert bool(own) == bool(private)
    assert bool(shared) == (private != EVERYTHING)


@pytest.mark.parametrize("private", PRIVATE, ids=str)
def test_no_private_tensor_is_ever_sent_up_or_down(tmp_path: Path, private: tuple[Any, ...]) -> None:
    run = Federation(tmp_path, Averaging(private=private), two_sites(norm="batch"))
    run.finish(run.run())
    model = run.server.model
    hidden = algebra.select(model.state_dict(), Averaging(private=private)._private(algebra.of(model), model))
    shared = model.state_dict().keys() - hidden.keys()
    for _, _, data in run.wire.down:
        assert wire.decode_with_header(AveragingBroadcast, data)[0].weights.keys() == shared
    for weights in (wire.decode(AveragingUpdate, data).weights for _, _, data in run.wire.up[:4]):
        assert weights.keys() == shared
    for _, _, data in run.wire.up[4:]:
        assert wire.decode(Offer, data) == Offer() or not wire.decode(Offer, data).private


def _one_more(weights: Weights, model: nn.Module) -> dict[str, Tensor]:
    """What should never come: a norm layer's scale beside the shared weights."""
    name = min(norm_keys(model))
    return {**weights, name: torch.full_like(model.state_dict()[name], 99.0)}


def _one_less(weights: Weights, model: nn.Module) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in weights.items() if name != min(weights)}


def _one_broken(weights: Weights, model: nn.Module) -> dict[str, Tensor]:
    return {**weights, min(weights): torch.full_like(weights[min(weights)], math.nan)}


@pytest.mark.parametrize("spoil", [_one_more, _one_less, _one_broken])
def test_a_site_refuses_a_message_of_other_weights_than_the_shared_ones(
    spoil: Callable[[Weights, nn.Module], Weights],
) -> None:
    method, site = Averaging(private=("norm",)), make_site("a", norm="batch")
    message = AveragingBroadcast(spoil(method._shared(algebra.of(site.model), site.model), site.model))
    before = algebra.of(site.model)
    with pytest.raises(UpdateError, match="site a, round 2"):
        method.local_update(message, None, site, Round(2, 2))
    with pytest.raises(UpdateError, match="site a"):
        method.personalize(message, None, site)
    assert equal(algebra.of(site.model), before)


def test_a_site_sends_no_tensor_that_it_was_not_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    method, site = Averaging(private=("norm",)), make_site("a", norm="batch")
    message = AveragingBroadcast(method._shared(algebra.of(site.model), site.model))
    calls: list[int] = []

    def leaky(self: Averaging, weights: Weights, model: nn.Module) -> dict[str, Tensor]:
        calls.append(1)
        return dict(weights) if len(calls) > 1 else dict(message.weights)

    monkeypatch.setattr(Averaging, "_shared", leaky)
    with pytest.raises(UpdateError, match="sent but not asked for"):
        method.local_update(message, None, site, Round(1, 2))


def test_with_a_private_head_the_norm_layers_are_shared_by_name(tmp_path: Path) -> None:
    run = Federation(tmp_path, Averaging(private=("head",)), two_sites(norm="batch"))
    run.run()
    sent = wire.decode(AveragingUpdate, run.wire.up[0][2]).weights.keys()
    assert norm_keys(run.server.model) <= sent
    assert not {name for name in sent if part_of(run.server.model)[name] == "head"}


@pytest.mark.parametrize("private", [("norm",), ("head",), ("norm", "head")], ids=str)
def test_after_the_download_shared_tensors_are_equal_and_private_ones_as_they_were(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, private: tuple[Any, ...]
) -> None:
    starts = Starts().listen(monkeypatch)
    run = Federation(tmp_path, Averaging(private=private), two_sites(norm="batch"))
    run.run()
    first, second = starts.models[2:]  # sites a and b at the start of round 2
    hidden = kept(run, "a", 1).private.keys()
    for name in first:
        if name in hidden:
            assert torch.equal(first[name], kept(run, "a", 1).private[name])
            assert torch.equal(second[name], kept(run, "b", 1).private[name])
        else:
            assert torch.equal(first[name], second[name])
    assert any(not torch.equal(first[name], second[name]) for name in hidden)
    assert any(not torch.equal(first[name], starts.models[0][name]) for name in first.keys() - hidden)


def test_every_averaged_tensor_lands_under_its_own_name_in_the_sites_model(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    method, site = Averaging(private=("norm", "head")), make_site("a", norm="batch")
    model = site.model
    shared = method._shared(algebra.of(model), model)
    unique = {name: torch.full_like(tensor, 1 + place) for place, (name, tensor) in enumerate(shared.items())}
    server = make_site("server", norm="batch")
    sent = [
        (site.info, AveragingUpdate({n: t - sign for n, t in unique.items()}, 0.0, {})) for sign in (-1, 1)
    ]
    state = method.aggregate(AveragingServer(shared), sent, server, Round(1, 2))
    assert equal(state.weights, unique)
    data = wire.encode(method.broadcast(state, site.info, Round(2, 2)))
    starts = Starts().listen(monkeypatch)
    before = method._private(algebra.of(model), model)
    method.local_update(wire.decode(AveragingBroadcast, data), None, site, Round(2, 2))
    assert equal(starts.models[0], {**unique, **before})


def test_fedbn_keeps_every_buffer_and_parameter_of_the_norm_layers(tmp_path: Path) -> None:
    run = Federation(tmp_path, METHODS["fedbn"].method, two_sites(norm="batch"))
    state = run.run()
    keys = norm_keys(run.server.model)
    assert {name.rpartition(".")[2] for name in keys} == {
        "weight", "bias", "running_mean", "running_var", "num_batches_tracked",
    }  # fmt: skip
    assert not keys & state.weights.keys()
    assert kept(run, "a", 2).private.keys() == keys
    assert not equal(kept(run, "a", 2).private, kept(run, "b", 2).private)


def test_fedavg_shares_the_norm_layers_too(tmp_path: Path) -> None:
    state = Federation(tmp_path, Averaging(), two_sites(norm="batch"), rounds=1).run()
    assert norm_keys(small_net(norm="batch")) <= state.weights.keys()


def test_local_sends_no_tensor_and_each_site_ends_with_its_own_model(tmp_path: Path) -> None:
    run = Federation(tmp_path, METHODS["local"].method, two_sites())
    state = run.run()
    published = run.finish(state)
    assert (state.weights, dict(published)) == ({}, {})
    assert all(not weights for weights in updates(run).values())
    assert personal_of(run, "a").keys() == run.server.model.state_dict().keys()
    assert not equal(personal_of(run, "a"), personal_of(run, "b"))


def test_local_training_does_not_depend_on_the_other_sites(tmp_path: Path) -> None:
    method = METHODS["local"].method
    alone = Federation(tmp_path / "1", method, [make_site("a", cases=2)])
    together = Federation(tmp_path / "2", method, two_sites())
    for run in (alone, together):
        run.finish(run.run())
    assert equal(personal_of(alone, "a"), personal_of(together, "a"))


# How it is averaged.


def aggregate(
    method: Averaging,
    *,
    values: list[float],
    cases: list[int],
    labels: list[tuple[str, ...]],
    old: float = 0.0,
) -> Weights:
    """One round over sites whose models hold one number each."""
    server = make_site("server")
    model = algebra.of(server.model)
    sent = [
        (ClientInfo(str(place), ("CT",), known, number), AveragingUpdate(
            {name: torch.full_like(tensor, value) for name, tensor in model.items()}, 0.0, {}))
        for place, (value, number, known) in enumerate(zip(values, cases, labels, strict=True))
    ]  # fmt: skip
    state = AveragingServer({name: torch.full_like(tensor, old) for name, tensor in model.items()})
    return method.aggregate(state, sent, server, Round(1, 1)).weights


def test_sites_weigh_by_their_cases_or_all_alike() -> None:
    given: dict[str, Any] = {"values": [4.0, 8.0], "cases": [1, 3], "labels": [LABELS, LABELS]}
    by_cases, alike = (aggregate(Averaging(weighting=kind), **given) for kind in ("cases", "uniform"))
    assert {float(tensor.min()) for tensor in by_cases.values()} == {7.0}
    assert {float(tensor.max()) for tensor in by_cases.values()} == {7.0}
    assert {float(tensor.max()) for tensor in alike.values()} == {6.0}


def test_a_row_of_the_head_is_averaged_over_those_who_annotate_it() -> None:
    mean = aggregate(
        Averaging(),
        values=[4.0, 8.0, 100.0],
        cases=[1, 3, 4],
        labels=[LABELS, LABELS, ("Liver",)],
    )
    assert mean["head.conv.bias"].tolist() == [(4 + 24 + 400) / 8, 7.0]
    assert mean["head.conv.weight"].flatten(1)[:, 0].tolist() == [53.5, 7.0]
    assert float(mean["encoder.levels.0.conv1.conv.weight"].mean()) == 53.5


def test_a_row_that_nobody_annotates_keeps_its_value() -> None:
    mean = aggregate(Averaging(), values=[4.0, 8.0], cases=[1, 1], labels=[("Liver",)] * 2, old=-1.0)
    assert mean["head.conv.bias"].tolist() == [6.0, -1.0]
    assert mean["head.conv.weight"].flatten(1).unique(dim=1).tolist() == [[6.0], [-1.0]]


def decaying(**options: Any) -> Any:
    """A site whose every weight shrinks strongly in local training."""
    return make_site(training=replace(TRAINING, weight_decay=5.0), **options)


def test_weight_decay_of_who_does_not_annotate_a_row_does_not_reach_the_average(tmp_path: Path) -> None:
    sites = [decaying(name="a", labels=("Liver",)), decaying(name="b")]
    run = Federation(tmp_path, Averaging(), sites, rounds=1)
    start = algebra.of(run.server.model)["head.conv.weight"]
    state = run.run()
    sent = updates(run)
    assert not torch.equal(sent["a", 1]["head.conv.weight"][1], start[1]), "decay did shrink it at the site"
    assert torch.equal(state.weights["head.conv.weight"][1], sent["b", 1]["head.conv.weight"][1])


def test_a_row_that_no_site_annotates_stays_through_all_rounds_in_spite_of_weight_decay(
    tmp_path: Path,
) -> None:
    sites = [decaying(name=name, labels=("Liver",)) for name in "ab"]
    run = Federation(tmp_path, Averaging(), sites)
    start = algebra.of(run.server.model)
    state = run.run()
    for name in ("head.conv.weight", "head.conv.bias"):
        assert torch.equal(state.weights[name][1], start[name][1])
        assert not torch.equal(state.weights[name][0], start[name][0])


def test_what_stands_in_the_labels_of_an_unannotated_structure_changes_nothing(tmp_path: Path) -> None:
    def run(name: str, fill: int) -> Federation:
        site = make_site("a", labels=("Liver",))
        assert site.batches is not None
        for sample in site.batches._samples:
            sample.target[1].fill_(fill)
        return Federation(tmp_path / name, Averaging(), [site])

    background, everything = run("background", 0), run("everything", 1)
    assert equal(background.run().weights, everything.run().weights)
    assert background.wire.up == everything.wire.up


def test_the_unannotated_row_gets_no_gradient_in_local_training(tmp_path: Path) -> None:
    training = replace(TRAINING, weight_decay=0.0)
    run = Federation(tmp_path, Averaging(), [make_site("a", labels=("Liver",), training=training)], rounds=1)
    start = algebra.of(run.server.model)
    run.run()
    sent = updates(run)["a", 1]
    for name in ("head.conv.weight", "head.conv.bias"):
        assert torch.equal(sent[name][1], start[name][1])
        assert not torch.equal(sent[name][0], start[name][0])


# FedProx.


def test_the_proximal_term_is_half_mu_times_the_squared_distance() -> None:
    model = linear([1.0, 2.0], 3.0)
    reference = {"weight": torch.tensor([[0.0, 4.0]]), "bias": torch.tensor([1.0])}
    value = distance_penalty(model, reference, 3.0)(model)
    assert value.item() == 1.5 * (1 + 4 + 4)
    value.backward()
    assert model.weight.grad is not None
    assert model.weight.grad.tolist() == [[3.0 * 1.0, 3.0 * -2.0]]


def test_the_proximal_term_follows_the_model_while_it_is_trained() -> None:
    model = linear([1.0, 2.0], 3.0)
    penalty = distance_penalty(model, algebra.of(model), 2.0)
    assert penalty(model).item() == 0.0
    model.bias.data.add_(2.0)
    assert penalty(model).item() == 4.0


def test_the_proximal_term_knows_shared_parameters_only_and_no_buffers() -> None:
    model = linear([1.0, 2.0], 3.0)
    assert distance_penalty(model, {"bias": torch.tensor([1.0])}, 2.0)(model).item() == 4.0
    norm = nn.BatchNorm1d(2)
    zeros = {name: torch.zeros_like(tensor) for name, tensor in norm.state_dict().items()}
    assert (
        distance_penalty(norm, zeros, 2.0)(norm).item() == 2.0
    )  # two scales of 1; running_var does not count


def test_without_shared_parameters_the_proximal_term_is_zero() -> None:
    model = linear([1.0, 2.0], 3.0)
    assert distance_penalty(model, {}, 2.0)(model).item() == 0.0


def distance(first: Weights, second: Weights) -> float:
    return math.sqrt(sum(float((first[name] - second[name]).double().square().sum()) for name in first))


def test_fedprox_holds_local_weights_nearer_to_the_global_ones_as_mu_grows(tmp_path: Path) -> None:
    training = replace(TRAINING, epochs=6)
    distances = []
    for mu in (0.0, 1.0, 100.0):
        sites = [make_site("a", training=training)]
        run = Federation(tmp_path / str(mu), Averaging(proximal=mu), sites, rounds=1)
        start = algebra.of(run.server.model)
        distances.append(distance(run.run().weights, start))
    assert distances[0] > distances[1] > distances[2]


# Ditto.


def test_dittos_personal_model_is_pulled_to_the_global_one_as_lambda_grows(tmp_path: Path) -> None:
    training = replace(TRAINING, epochs=6)
    distances = []
    for strength in (0.001, 1.0, 100.0):
        run = Federation(
            tmp_path / str(strength), Averaging(ditto=strength), [make_site("a", training=training)], rounds=1
        )
        start = algebra.of(run.server.model)
        run.run()
        distances.append(distance(kept(run, "a", 1).personal, start))
    assert distances[0] > distances[1] > distances[2]


def test_dittos_shared_model_is_fedavgs_bit_for_bit(tmp_path: Path) -> None:
    states = [
        Federation(tmp_path / str(place), method, two_sites(validation=1)).run()
        for place, method in enumerate((Averaging(), Averaging(ditto=0.1)))
    ]
    assert equal(states[0].weights, states[1].weights)


def test_dittos_personal_model_goes_on_from_round_to_round_with_moments_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    starts = Starts().listen(monkeypatch)
    run = Federation(tmp_path, Averaging(ditto=0.1), [make_site("a")])
    run.run()
    assert len(starts.models) == 4
    assert equal(starts.models[1], starts.models[0])  # both begin with the global model
    assert equal(starts.models[3], kept(run, "a", 1).personal)
    state = kept(run, "a", 2)
    assert state.personal_optimizer.keys() == state.optimizer.keys()
    assert not equal(state.personal_optimizer, state.optimizer)


# The site's own model.


def test_the_newest_personal_model_is_the_best_where_nothing_is_validated() -> None:
    state = AveragingClient({}, personal={"a": torch.ones(1)})
    assert _keep_best(state, {}).best is state.personal
    assert _keep_best(AveragingClient({}), {"Liver": 1.0}).best == {}


def test_the_best_personal_model_by_validation_is_kept() -> None:
    first, second, third = ({"a": torch.full((1,), value)} for value in (1.0, 2.0, 3.0))
    state = _keep_best(AveragingClient({}, personal=first), {"Liver": 0.5, "Kidney": 0.7})
    assert state.best_dice == pytest.approx(0.6)
    state = _keep_best(replace(state, personal=second), {"Liver": 0.55})
    assert state.best is first
    state = _keep_best(replace(state, personal=third), {})
    assert state.best is first
    state = _keep_best(replace(state, personal=third), {"Liver": 0.9})
    assert state.best is third


@pytest.mark.parametrize("ingredient", [{"personal": 0.1}, {"ditto": 0.1}], ids=["iopfl", "ditto"])
def test_the_personal_model_of_the_last_round_is_published_and_the_best_one_where_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ingredient: dict[str, float]
) -> None:

    for chosen in (False, True):
        dices = iter((0.9, 0.9, 0.1, 0.1))  # sites a and b in two rounds: the first was better
        monkeypatch.setattr(ingredients, "validate", lambda *_, dices=dices, **__: {"Liver": next(dices)})
        method = Averaging(select_best=chosen, **ingredient)
        run = Federation(tmp_path / str(chosen), method, two_sites(publish=True, validation=1))
        state = run.run()
        first = {name: kept(run, name, 1).personal for name in "ab"}
        published = run.finish(state)
        assert set(published) == {"global", "personal-a", "personal-b"}
        for name in "ab":
            last = kept(run, name, 2)
            assert equal(published[f"personal-{name}"].weights, first[name] if chosen else last.personal)
            assert equal(personal_of(run, name), published[f"personal-{name}"].weights)
            assert bool(last.best) == chosen


@pytest.mark.parametrize("parts", [("head",), ("decoder", "head")], ids=str)
def test_fine_tuning_moves_only_the_given_parts_and_no_statistics_elsewhere(
    tmp_path: Path, parts: tuple[Any, ...]
) -> None:
    method = Averaging(finetune=2, finetune_parts=parts)
    run = Federation(tmp_path, method, two_sites(norm="batch"), rounds=1)
    state = run.run()
    run.finish(state)
    part = part_of(run.server.model)
    own = personal_of(run, "a")
    moved = {part[name] for name in own if not torch.equal(own[name], state.weights[name])}
    assert moved == set(parts)


def test_fine_tuning_without_parts_moves_everything_and_starts_from_the_final_global_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Federation(tmp_path, Averaging(finetune=1), two_sites(norm="batch"), rounds=1)
    state = run.run()
    starts = Starts().listen(monkeypatch)
    run.finish(state)
    assert all(equal(start, state.weights) for start in starts.models)
    own = personal_of(run, "a")
    part = part_of(run.server.model)
    assert {part[name] for name in own if not torch.equal(own[name], state.weights[name])} == set(
        part.values()
    )


@pytest.mark.parametrize(("augment", "tuned_with"), [("gin", "none"), ("classic", "classic")])
def test_a_sites_own_model_is_tuned_without_the_looks_of_other_scanners(
    augment: Any, tuned_with: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    training = replace(TRAINING, augment=augment)
    run = Federation(tmp_path, Averaging(finetune=1), two_sites(training=training), rounds=1)
    state = run.run()
    seen: list[str | None] = []
    real = averaging.train

    def heard(*positional: Any, training: Training, **options: Any) -> Any:
        seen.append(training.augment)
        return real(*positional, training=training, **options)

    monkeypatch.setattr(averaging, "train", heard)
    run.finish(state)
    assert seen == [tuned_with] * 2


def test_recalibration_moves_the_statistics_of_batch_norm_only(tmp_path: Path) -> None:
    run = Federation(tmp_path, Averaging(recalibrate=True), two_sites(norm="batch"), rounds=1)
    state = run.run()
    run.finish(state)
    own = personal_of(run, "a")
    moved = {name.rpartition(".")[2] for name in own if not torch.equal(own[name], state.weights[name])}
    assert {"running_mean", "running_var"} <= moved <= {"running_mean", "running_var", "num_batches_tracked"}


def test_recalibration_is_what_learning_norms_does(tmp_path: Path) -> None:
    run = Federation(tmp_path, Averaging(recalibrate=True), two_sites(norm="batch"), rounds=1)
    state = run.run()
    run.finish(state)
    from FedSegCore.federation.seeds import generator

    model, site = small_net(norm="batch"), run.sites[0]
    algebra.load(model, state.weights)
    assert site.batches is not None
    recalibrate_norms(model, site.batches, generator=generator(0, "publish", "a", 2))
    assert equal(algebra.of(model), personal_of(run, "a"))


@pytest.mark.parametrize(
    ("method", "files"),
    [
        (Averaging(), {"global"}),
        (Averaging(private=("norm",)), {"personal-a", "personal-b"}),
        (Averaging(private=("head",), publish_private=True), {"global", "personal-a", "personal-b"}),
        (Averaging(finetune=1), {"global", "personal-a", "personal-b"}),
    ],
    ids=["all shared", "norms private", "private published", "fine-tuned"],
)
def test_a_global_model_is_published_where_all_its_tensors_are_known(
    tmp_path: Path, method: Averaging, files: set[str]
) -> None:
    run = Federation(tmp_path, method, two_sites(norm="batch", publish=True), rounds=1)
    assert set(run.finish(run.run())) == files


def validated(patch: pytest.MonkeyPatch, run: Federation) -> list[Weights]:
    """The weights of every model that a run of one site validated."""

    seen: list[Weights] = []
    real = ingredients.validate

    def heard(model: nn.Module, *positional: Any, **named: Any) -> dict[str, float]:
        seen.append(algebra.of(model))
        return real(model, *positional, **named)

    with patch.context() as here:
        here.setattr(ingredients, "validate", heard)
        run.run()
    return seen


@pytest.mark.parametrize("method", [Averaging(), Averaging(proximal=0.1)], ids=["fedavg", "fedprox"])
def test_without_personal_models_validation_belongs_to_the_global_model_as_it_came(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: Averaging
) -> None:
    run = Federation(tmp_path, method, [make_site("a", validation=1)])
    seen = validated(monkeypatch, run)
    received = [wire.decode_with_header(AveragingBroadcast, data)[0].weights for _, _, data in run.wire.down]
    assert [equal(*pair) for pair in zip(seen, received, strict=True)] == [True, True]
    assert not equal(seen[0], seen[1])


@pytest.mark.parametrize(
    "method",
    [Averaging(personal=0.5), Averaging(ditto=0.1), Averaging(private=EVERYTHING)],
    ids=["iopfl", "ditto", "local"],
)
def test_with_personal_models_validation_belongs_to_the_one_of_the_site(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: Averaging
) -> None:
    run = Federation(tmp_path, method, [make_site("a", validation=1)])
    seen = validated(monkeypatch, run)
    # The store keeps the states of the last two rounds.
    own = [state.personal or state.private for state in (kept(run, "a", 1), kept(run, "a", 2))]
    assert [equal(*pair) for pair in zip(seen, own, strict=True)] == [True, True]


def test_validation_may_be_every_few_rounds_but_always_the_last(tmp_path: Path) -> None:
    training = replace(TRAINING, validate_every=2)
    run = Federation(tmp_path, Averaging(), [make_site("a", validation=1, training=training)], rounds=3)
    run.run()
    told = [bool(wire.decode(AveragingUpdate, data).dice) for _, _, data in run.wire.up]
    assert told == [False, True, True]


# What is refused.


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"personal": 1.5}, "personal"),
        ({"personal": -0.1}, "personal"),
        ({"proximal": -1.0}, "proximal"),
        ({"ditto": -1.0}, "ditto"),
        ({"finetune": -1}, "finetune"),
        ({"personal": 0.1, "ditto": 0.1}, "both make"),
    ],
    ids=str,
)
def test_an_ingredient_out_of_its_range_is_refused(options: dict[str, Any], word: str) -> None:
    with pytest.raises(StudyError, match=word):
        Averaging(**options)


@pytest.mark.parametrize(
    ("sent", "message"),
    [
        ({}, '"a" was not sent'),
        ({"a": torch.ones(2), "b": torch.ones(1)}, '"b" was sent but not asked for'),
        ({"a": torch.ones(3)}, r"\(3,\), expected torch.float32 \(2,\)"),
        ({"a": torch.ones(2, dtype=torch.int32)}, "torch.int32"),
        ({"a": torch.tensor([1.0, math.nan])}, "NaN or Inf"),
        ({"a": torch.tensor([1.0, -math.inf])}, "NaN or Inf"),
    ],
)
def test_weights_that_were_not_asked_for_are_refused_by_site_and_round(
    sent: dict[str, Tensor], message: str
) -> None:
    with pytest.raises(UpdateError, match=message) as caught:
        check_weights({"a": torch.zeros(2)}, sent, site="north", round_number=4)
    assert (caught.value.site, caught.value.round_number) == ("north", 4)
    assert str(caught.value).startswith("site north, round 4: ")


# CUDA's stand-in.


def penalties(method: Averaging, model: nn.Module) -> list[Callable[[nn.Module], Tensor] | None]:
    shared = method._shared(model.state_dict(), model)
    found: list[Callable[[nn.Module], Tensor] | None] = [method._proximal(model, shared)]
    if method.ditto > 0:
        found.append(distance_penalty(model, shared, method.ditto))
    return found


@pytest.mark.parametrize(
    "name", [name for name, entry in METHODS.items() if isinstance(entry.method, Averaging)]
)
@pytest.mark.parametrize("norm", ["instance", "batch"])
def test_a_step_of_every_method_of_the_family_runs_on_the_meta_device(name: str, norm: Any) -> None:
    model = small_net(norm=norm).to("meta")
    batch: list[Tensor] = [
        torch.zeros(2, 1, 8, 8, device="meta"),
        torch.zeros(2, 2, 8, 8, dtype=torch.uint8, device="meta"),
        torch.ones(2, 2, dtype=torch.bool, device="meta"),
    ]
    method = METHODS[name].method
    assert isinstance(method, Averaging)
    for penalty in penalties(method, model):
        optimizer = make_optimizer(list(model.parameters()), TRAINING)
        loss = step(model, optimizer, *batch, training=TRAINING, penalty=penalty)
        assert (loss.device.type, loss.shape, loss.requires_grad) == ("meta", (), False)


def test_nothing_is_kept_on_the_method() -> None:
    method = METHODS["iopfl"].method
    before = repr(method)
    site = make_site("a", validation=1)
    method.local_update(AveragingBroadcast(algebra.of(site.model)), None, site, Round(1, 2))
    assert repr(method) == before
    assert not [value for value in vars(method).values() if isinstance(value, Tensor | dict)]


def test_ditto_trains_twice_a_round_and_fine_tuning_adds_its_epochs() -> None:
    plain, ditto, tuned = Averaging(), Averaging(ditto=0.1), Averaging(finetune=3)
    assert [method.local_epochs(20, 2) for method in (plain, ditto, tuned)] == [40, 80, 43]
