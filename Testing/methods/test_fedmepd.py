"""The rounds of FedMEPD: what is sent, averaged, kept and told. The filters' counters stand in `test_filters`."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from FedSegCore.errors import SiteError, StudyError, UpdateError
from FedSegCore.federation import wire
from FedSegCore.federation.method import ClientInfo, Offer, Round, Site
from FedSegCore.learning.predict import predict
from FedSegCore.methods.averaging import Averaging, AveragingServer, AveragingUpdate
from FedSegCore.methods.fedmepd import (
    FedMEPD,
    FedMEPDBroadcast,
    FedMEPDClient,
    FedMEPDServer,
    FedMEPDUpdate,
)
from FedSegCore.methods.fedmepd import (
    method as module,
)
from FedSegCore.nets.filters import filter_layers
from FedSegCore.nets.multiencoder import MultiEncoderNet
from FedSegCore.nets.network import Network
from FedSegCore.nets.parts import part_of
from FedSegCore.tensors import tensorfile
from FedSegCore.tensors import weights as algebra
from Testing.multimodal import (
    MODALITIES,
    federation,
    filled,
    first_state,
    multi_net,
    multi_site,
)
from Testing.phantoms import LABELS, TRAINING, Federation, equal, make_site, seeded

pytestmark = pytest.mark.usefixtures("one_thread")

UP = "decoder.levels.0.transp_conv.conv"
HEAD = "head.conv"


def info(name: str, *modalities: str, labels: tuple[str, ...] = LABELS, cases: int = 2) -> ClientInfo:
    return ClientInfo(name, modalities or MODALITIES, labels, cases)


@pytest.fixture
def idle_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that averages but does not train, so that its weights are the average."""
    monkeypatch.setattr(module, "teach", lambda *_, **__: {})
    monkeypatch.setattr(module, "first_anchors", lambda *_: ({}, {}))
    monkeypatch.setattr(module, "moved_anchors", lambda *_, **__: {})


def sends(run: Federation, kind: type[Any]) -> dict[tuple[str, int], Any]:
    """What each site sent in each round."""
    return {
        (site, number): wire.decode(kind, data)
        for site, number, data in run.wire.up
        if tensorfile.unpack(data)[0]["type"] == kind.__name__
    }


def messages(run: Federation) -> dict[tuple[str, int], FedMEPDBroadcast]:
    return {
        (site, number): wire.decode_with_header(FedMEPDBroadcast, data)[0]
        for site, number, data in run.wire.down
        if tensorfile.unpack(data)[0]["kind"] == "round"
    }


def held(run: Federation, site: str, number: int) -> FedMEPDClient:
    state = run.clients[site].store.load(FedMEPDClient, number)
    assert state is not None
    return state


def personal_of(run: Federation, site: str) -> Mapping[str, Tensor]:
    return tensorfile.load(run.folder / "sites" / site / "personal.safetensors")[1]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Federation, FedMEPDServer, Any]:
    """Four rounds in which filters turn personal at once when they disagree."""
    torch.set_num_threads(1)
    method = FedMEPD(anchors=2, warm_up=1, patience=1)
    run = federation(tmp_path_factory.mktemp("mepd"), method, rounds=4, publish=True, validation=1)
    state = run.run()
    return run, state, run.finish(state)


Finished = tuple[Federation, FedMEPDServer, Any]


# What travels.


def test_neither_attention_nor_the_auxiliary_decoder_is_in_any_message(finished: Finished) -> None:
    run, _, _ = finished
    for update in sends(run, FedMEPDUpdate).values():
        assert {part_of(run.server.model)[name] for name in update.weights} == {"encoder", "decoder", "head"}
    for message in messages(run).values():
        assert {part_of(run.server.model)[name] for name in message.weights} == {"encoder", "decoder", "head"}


def test_a_site_is_sent_and_sends_the_encoders_that_it_owns_and_no_other(finished: Finished) -> None:
    run, _, _ = finished
    net = run.server.model
    assert isinstance(net, MultiEncoderNet)
    for one in [*messages(run).items(), *sends(run, FedMEPDUpdate).items()]:
        (site, _), sent = one
        encoders = {name for name in sent.weights if part_of(net)[name] == "encoder"}
        assert encoders == net.encoder_keys(run.clients[site].info.modalities)


def test_anchors_are_sent_to_the_sites_and_never_by_them(finished: Finished) -> None:
    run, state, _ = finished
    shapes = {"0": (2, 3, 4), "1": (2, 3, 8)}
    assert all({k: tuple(t.shape) for k, t in m.anchors.items()} == shapes for m in messages(run).values())
    assert {k: tuple(t.shape) for k, t in state.anchors.items()} == shapes
    for update in sends(run, FedMEPDUpdate).values():
        assert "anchors" not in {name.rpartition(".")[2] for name in update.weights}


def test_the_values_of_personal_filters_stay_at_the_site(finished: Finished) -> None:
    run, _, _ = finished
    seen = 0
    for site in "abc":
        message, update = messages(run)[site, 4], sends(run, FedMEPDUpdate)[site, 4]
        kinds = (message.weights, update.weights, held(run, site, 4).decoder)
        for layer in filter_layers(run.server.model, ("decoder", "head")):
            (name, axis), *_ = layer.tensors
            shared = message.shared[layer.name]
            received, sent, own = (weights[name].movedim(axis, 0) for weights in kinds)
            assert torch.equal(sent[shared], own[shared])
            assert torch.equal(sent[~shared], received[~shared])
            seen += int((own[~shared] != received[~shared]).flatten(1).any(1).sum())
    assert seen > 0


def test_a_message_weighs_what_its_tensors_do(finished: Finished) -> None:
    """Encoders of the owned modalities, the decoder, a byte a filter, the anchors; little besides."""
    run, state, _ = finished
    net = run.server.model
    assert isinstance(net, MultiEncoderNet)
    sizes = {name: tensor.numel() for name, tensor in state.weights.items()}
    decoder = sum(size for name, size in sizes.items() if name not in state.modalities)
    anchors = sum(2 * 3 * channels for channels in (4, 8))
    for site, number, data in run.wire.down:
        own = sum(sizes[name] for name in net.encoder_keys(run.clients[site].info.modalities))
        expected = 4 * (own + decoder + anchors) + sum(state.filters.values())
        tensors = tensorfile.unpack(data)[1].values()
        assert sum(one.numel() * one.element_size() for one in tensors) == expected, (site, number)
    up = {site: tensorfile.unpack(data)[1] for site, number, data in run.wire.up if number == 1}
    for site, tensors in up.items():
        own = sum(sizes[name] for name in net.encoder_keys(run.clients[site].info.modalities))
        assert sum(one.numel() * one.element_size() for one in tensors.values()) == 4 * (own + decoder)
    mono, full = (sum(one.numel() for one in up[site].values()) for site in "ac")
    assert full - mono == sum(sizes[name] for name in net.encoder_keys(["T1", "FLAIR"]))


def test_the_ledger_tells_the_attentions_entropy_as_a_number(finished: Finished) -> None:
    run, _, _ = finished
    lines = [json.loads(line) for line in (run.folder / "ledger.jsonl").read_text().splitlines()]
    entropies = [line["scalars"]["entropy"] for line in lines if line["kind"] == "update"]
    assert len(entropies) == 12
    assert all(0 < entropy <= 1 for entropy in entropies)


@pytest.mark.parametrize("decoder", ["partial", "private"])
def test_a_site_of_one_modality_computes_one_encoder(decoder: Any) -> None:
    method, site, server = FedMEPD(anchors=2, decoder=decoder), multi_site("a", ["T2"]), multi_site("server")
    state = method.initialize(server, [site.info])
    calls: Counter[str] = Counter()
    assert isinstance(site.model, MultiEncoderNet)
    for name, encoder in site.model.encoder.items():
        encoder.register_forward_hook(lambda *_, name=name: calls.update([name]))
    message = method.broadcast(state, site.info, Round(1, 2))
    before = algebra.of(site.model)
    method.local_update(message, None, site, Round(1, 2))
    assert set(calls) == {"1-T2"}
    others = site.model.encoder_keys(["T1", "FLAIR"])
    assert equal(algebra.select(before, others), algebra.select(algebra.of(site.model), others))


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("content", [math.nan, 1e6])
def test_what_stands_in_channels_that_a_site_does_not_own_changes_nothing(dims: int, content: float) -> None:
    method, server = FedMEPD(anchors=2), multi_site("server", dims=dims)
    training = replace(TRAINING, augment="classic", spatial=True, augment_probability=1.0)
    state = method.initialize(server, [])
    results = []
    for absent in (0.0, content):
        site = multi_site("a", ["T2"], dims=dims, absent=absent, training=training, validation=1)
        message = method.broadcast(state, site.info, Round(1, 2))
        kept, update = method.local_update(message, None, replace(site, generator=seeded(7)), Round(1, 2))
        personal = method.personalize(message, kept, site)
        seen = predict(site.model, site.validation[0].image, patch=site.patch)
        results.append((update, kept, personal, seen))
    first, second = results
    assert equal(first[0].weights, second[0].weights)
    assert (first[0].loss, first[0].dice, first[0].entropy) == (
        second[0].loss, second[0].dice, second[0].entropy,
    )  # fmt: skip
    assert equal(first[1].decoder, second[1].decoder) and equal(first[2], second[2])
    assert torch.equal(first[3], second[3])


# How encoders are averaged.


@pytest.mark.usefixtures("idle_server")
def test_an_encoder_is_the_plain_mean_over_its_owners() -> None:
    method, server = FedMEPD(anchors=2), multi_site("server")
    state = first_state(method, server, -1.0)
    clients = [info("a", "T2", cases=9), info("b", "T1", "T2", cases=1), info("c", "T1", cases=1)]
    sent = [(client, filled(state, client, value)) for client, value in zip(clients, (2, 4, 9), strict=True)]
    after = method.aggregate(state, sent, server, Round(1, 50))
    means = {"T1": 6.5, "T2": 3.0, "FLAIR": -1.0}
    for name, modality in state.modalities.items():
        assert after.weights[name].unique().tolist() == [means[modality]], name


@pytest.mark.usefixtures("idle_server")
def test_encoders_of_those_who_do_not_own_the_modality_have_no_effect_not_even_as_nan() -> None:
    method, server = FedMEPD(anchors=2), multi_site("server")
    state = first_state(method, server, 0.0)
    owner, other = info("a", "T2"), info("b", "T1")
    broken = filled(state, other, 1.0)
    nan = {
        name: torch.full_like(state.weights[name], math.nan)
        for name, m in state.modalities.items()
        if m != "T1"
    }
    sent = [(owner, filled(state, owner, 2.0)), (other, replace(broken, weights={**broken.weights, **nan}))]
    after = method.aggregate(state, sent, server, Round(1, 50))
    for name, modality in state.modalities.items():
        assert after.weights[name].unique().tolist() == [{"T1": 1.0, "T2": 2.0, "FLAIR": 0.0}[modality]]
    with pytest.raises(UpdateError, match="sent but not asked for"):
        method.check(state, sent[1][1], other, Round(1, 50))


# How the decoder is averaged, and what turns personal.


def with_personal(state: FedMEPDServer, site: str, layer: str, filters: list[bool]) -> FedMEPDServer:
    """The state in which some filters of one site disagreed very often."""
    counted = torch.tensor(filters, dtype=torch.int32) * 1000
    return replace(state, disagreements={**state.disagreements, f"{site}/{layer}": counted})


@pytest.mark.usefixtures("idle_server")
def test_the_server_keeps_its_share_and_takes_the_weighted_mean_of_the_rest() -> None:
    method, server = FedMEPD(anchors=2, keep=0.3), multi_site("server")
    state = first_state(method, server, 10.0)
    h = torch.full((4,), 3.0)
    state = replace(state, contributions={f"a/{UP}": h})
    sent = [(info(name), filled(state, info(name), value)) for name, value in (("a", 2.0), ("b", 6.0))]
    after = method.aggregate(state, sent, server, Round(1, 50))
    weighted = (3.0 * 2.0 + 1.0 * 6.0) / 4.0
    assert after.weights[f"{UP}.weight"].flatten().tolist() == pytest.approx([3.0 + 0.7 * weighted] * 128)
    plain = 3.0 + 0.7 * 4.0
    assert after.weights[f"{HEAD}.bias"].tolist() == pytest.approx([plain] * 2)


@pytest.mark.usefixtures("idle_server")
def test_a_personal_filter_counts_for_nothing_and_one_personal_at_all_sites_stays_bit_for_bit() -> None:
    method, server = FedMEPD(anchors=2), multi_site("server")
    state = first_state(method, server, 0.1)
    state = with_personal(state, "a", UP, [True, True, False, False])
    state = with_personal(state, "b", UP, [True, False, False, True])
    sent = [(info(name), filled(state, info(name), value)) for name, value in (("a", 2.0), ("b", 6.0))]
    after = method.aggregate(state, sent, server, Round(1, 50))
    by_filter = after.weights[f"{UP}.weight"].movedim(1, 0).flatten(1)
    assert torch.equal(by_filter[0], torch.full_like(by_filter[0], 0.1))
    for place, mean in ((1, 6.0), (2, 4.0), (3, 2.0)):
        assert by_filter[place].tolist() == pytest.approx([0.03 + 0.7 * mean] * 32)


def test_a_site_takes_the_servers_shared_filters_bit_for_bit_and_keeps_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    method, server, site = FedMEPD(anchors=2), multi_site("server"), multi_site("a", ["T2"])
    state = method.initialize(server, [])
    mask = [True, False, False, True]
    state = with_personal(with_personal(state, "a", UP, mask), "a", HEAD, [True, False])
    own = {name: torch.randn(t.shape, generator=seeded()) for name, t in state.weights.items()}
    before = FedMEPDClient({}, {n: t for n, t in own.items() if n not in state.modalities}, {})
    starts: list[dict[str, Tensor]] = []
    real = module.train

    def heard(model: nn.Module, *positional: Any, **named: Any) -> Any:
        starts.append(algebra.of(model))
        return real(model, *positional, **named)

    monkeypatch.setattr(module, "train", heard)
    method.local_update(method.broadcast(state, site.info, Round(2, 50)), before, site, Round(2, 50))
    start = starts[0]
    personal = {UP: torch.tensor(mask), HEAD: torch.tensor([True, False])}
    for name, tensor in before.decoder.items():
        layer, _, kind = name.rpartition(".")
        axis = 1 if layer == UP and kind == "weight" else 0
        keeps = personal.get(layer, torch.zeros(tensor.shape[axis], dtype=torch.bool))
        rows = [one.movedim(axis, 0) for one in (start[name], state.weights[name], tensor)]
        assert torch.equal(rows[0][~keeps], rows[1][~keeps]), name
        assert torch.equal(rows[0][keeps], rows[2][keeps]), name


def test_filters_are_not_compared_before_the_warm_up_is_over(tmp_path: Path) -> None:
    method = FedMEPD(anchors=0, warm_up=2, patience=1)
    run = federation(tmp_path, method, sites=[multi_site("a", ["T2"], anchors=0)], rounds=2)
    state = run.run()
    assert (state.disagreements, state.contributions, state.nothing_personal) == ({}, {}, True)


def test_filters_are_compared_with_the_servers_move_of_the_whole_round() -> None:
    """Averaging and training together, from the server's weights before the round (not after averaging)."""
    method, server = FedMEPD(anchors=0, warm_up=0, patience=3, keep=1.0), multi_site("server", anchors=0)
    state = method.initialize(server, [])
    client = info("a")
    same = FedMEPDUpdate(state.weights, 0.5, {}, 0.0)
    moved = method.aggregate(state, [(client, same)], server, Round(1, 9)).weights
    layer = f"{UP}.weight"
    for sign, expected in ((1.0, 0), (-1.0, 1)):
        towards = {
            n: t + sign * (moved[n] - t) for n, t in state.weights.items() if n not in state.modalities
        }
        update = replace(same, weights={**state.weights, **towards})
        after = method.aggregate(state, [(client, update)], server, Round(1, 9))
        assert after.disagreements[f"a/{UP}"].tolist() == [expected] * 4, layer


def test_the_share_of_personal_filters_never_falls_and_is_told(finished: Finished) -> None:
    run, state, _ = finished
    for site in "abc":
        masks = [messages(run)[site, number].shared for number in (1, 2, 3, 4)]
        assert all(bool(one.all()) for mask in masks[:2] for one in mask.values()), "a round of warm-up"
        for before, after in pairwise(masks):
            assert all(bool((after[name] <= before[name]).all()) for name in before)
    last = [
        torch.cat(list(run.method._shared(state, run.clients[s].info.name, Round(4, 4)).values()))  # type: ignore[attr-defined]
        for s in "abc"
    ]
    share = 1 - torch.cat(last).double().mean().item()
    assert state.facts["personal_filters"] == pytest.approx(share)
    assert 0 < share < 1
    assert not state.nothing_personal


def test_a_lost_site_keeps_its_counters(tmp_path: Path) -> None:
    method = FedMEPD(anchors=0, warm_up=0, patience=9)
    lost = SiteError("gone", site="b", round_number=2)
    run = federation(
        tmp_path, method, sites=[multi_site("a", ["T2"], anchors=0), multi_site("b", ["T1"], anchors=0)]
    )
    run.min_sites = 1
    run.wire.alter = lambda site, round, reply: lost if (site, round.number) == ("b", 1) else reply
    state = run.run()
    assert {key.partition("/")[0] for key in state.disagreements} == {"a", "b"}
    assert max(int(t.max()) for key, t in state.disagreements.items() if key.startswith("b/")) <= 1


def test_rows_of_a_structure_that_a_site_does_not_annotate_are_not_averaged_from_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "teach", lambda *_, **__: {})
    method, server = FedMEPD(anchors=0, keep=0.0, warm_up=0), multi_site("server", anchors=0)
    state = first_state(method, server, 0.0)
    clients = [info("a", labels=LABELS[:1]), info("b")]
    sent = [(client, filled(state, client, value)) for client, value in zip(clients, (2.0, 6.0), strict=True)]
    after = method.aggregate(state, sent, server, Round(1, 9))
    for layer in (HEAD, "decoder.maps.0.conv", "decoder.maps.1.conv"):
        assert after.weights[f"{layer}.bias"].tolist() == [4.0, 6.0]


# The ends of the scale.


@pytest.mark.usefixtures("idle_server")
@pytest.mark.parametrize("options", [{"decoder": "shared"}, {"patience": 10**6, "warm_up": 10**6}], ids=str)
def test_with_endless_patience_and_nothing_kept_the_decoder_is_federated_averaging(options: Any) -> None:
    method, server = FedMEPD(anchors=0, keep=0.0, **options), multi_site("server", anchors=0)
    state = method.initialize(server, [])
    sent = []
    for place, client in enumerate([info("a", cases=7), info("b"), info("c", "T2")]):
        weights = {
            name: torch.randn(tensor.shape, generator=seeded(place))
            for name, tensor in filled(state, client, 0.0).weights.items()
        }
        sent.append((client, FedMEPDUpdate(weights, 0.5, {}, 0.0)))
    after = method.aggregate(state, sent, server, Round(3, 9))
    names = [name for name in state.weights if name not in state.modalities]
    plain = Averaging(weighting="uniform").aggregate(
        AveragingServer(algebra.select(state.weights, names)),
        [
            (client, AveragingUpdate(algebra.select(update.weights, names), 0.5, {}))
            for client, update in sent
        ],
        server,
        Round(3, 9),
    )
    assert equal(algebra.select(after.weights, names), plain.weights)
    assert after.nothing_personal


@pytest.mark.parametrize("options", [{"decoder": "private"}, {"patience": 0}], ids=str)
def test_without_patience_the_decoder_is_the_sites_own_from_the_first_round_on(
    tmp_path: Path, options: Any
) -> None:
    run = federation(tmp_path, FedMEPD(anchors=2, **options), sites=[multi_site("a", ["T2"], publish=True)])
    state = run.run()
    assert state.facts["personal_filters"] == 1.0
    assert all(not mask.any() for message in messages(run).values() for mask in message.shared.values())
    first, second = (messages(run)["a", number].weights for number in (1, 2))
    run.finish(state)
    own = held(run, "a", 2).decoder
    assert equal(algebra.select(personal_of(run, "a"), own), own)
    assert not equal(algebra.select(first, own), algebra.select(second, own)), "the server goes on alone"


def test_a_private_decoder_is_not_sent_up(tmp_path: Path) -> None:
    run = federation(
        tmp_path, FedMEPD(anchors=0, decoder="private"), sites=[multi_site("a", ["T2"], anchors=0)]
    )
    run.run()
    assert isinstance(run.server.model, MultiEncoderNet)
    wanted = run.server.model.encoder_keys(["T2"])
    assert all(update.weights.keys() == wanted for update in sends(run, FedMEPDUpdate).values())


def test_a_shared_decoder_never_turns_personal(tmp_path: Path) -> None:
    run = federation(tmp_path, FedMEPD(anchors=0, decoder="shared", warm_up=0, patience=1), rounds=3)
    state = run.run()
    assert all(mask.all() for message in messages(run).values() for mask in message.shared.values())
    assert state.nothing_personal


# Anchors.


def test_anchors_take_the_first_rounds_means_and_then_follow_slowly(tmp_path: Path) -> None:
    states = []
    for rounds in (1, 2):
        run = federation(tmp_path / str(rounds), FedMEPD(anchors=2, momentum=1.0), rounds=rounds,
                         training=replace(TRAINING, learning_rate=0.01))  # fmt: skip
        states.append(run.run())
        moved = [message.anchors for key, message in sorted(messages(run).items()) if key[0] == "a"]
    assert not equal(moved[0], moved[1]), "round 1 replaces those of round 0"
    assert equal(states[1].anchors, moved[1]), "with all of the momentum, round 2 leaves them"
    assert states[0].facts["anchors_movement"] > 0
    assert states[1].facts["anchors_movement"] == 0.0


def test_the_cases_of_an_anchor_are_chosen_once(finished: Finished, tmp_path: Path) -> None:
    _, state, _ = finished
    first = FedMEPD(anchors=2, warm_up=1, patience=1).initialize(multi_site("server"), [])
    assert equal(state.members, first.members)


# The models.


def test_the_global_model_is_the_servers_without_calibration_and_with_all_modalities(
    finished: Finished,
) -> None:
    _, state, published = finished
    net = multi_net()
    assert published["global"].weights.keys() == net.model_keys(MODALITIES)
    algebra.load(net, published["global"].weights)
    plain = multi_net()
    algebra.load(plain, {**state.weights, **state.auxiliary})
    plain.calibrated = False
    image = torch.randn(1, 4, 8, 8, generator=seeded())
    assert torch.equal(net.eval()(image), plain.eval()(image))


def test_a_personal_model_holds_its_encoders_filters_attention_and_anchors(finished: Finished) -> None:
    run, state, published = finished
    assert set(published) == {"global", "personal-a", "personal-b", "personal-c"}
    weights = published["personal-a"].weights
    assert weights.keys() == multi_net().model_keys(["T2"])
    assert equal(weights, personal_of(run, "a"))
    for level, anchors in state.anchors.items():
        assert torch.equal(weights[f"attention.{level}.anchors"], anchors)
    attention = {name for name in held(run, "a", 4).private if name.startswith("attention.")}
    assert equal(algebra.select(weights, attention), algebra.select(held(run, "a", 4).private, attention))
    encoders = multi_net().encoder_keys(["T2"])
    assert equal(algebra.select(weights, encoders), algebra.select(state.weights, encoders))


def test_a_personal_model_read_from_its_file_is_calibrated(finished: Finished) -> None:
    run, _, _ = finished
    net = multi_net()
    algebra.load(net, personal_of(run, "a"))
    net.own(["T2"])
    image = torch.randn(1, 4, 8, 8, generator=seeded())
    calibrated = net(image)
    net.calibrated = False
    assert not torch.equal(net(image), calibrated)


def test_validation_belongs_to_the_sites_own_model(finished: Finished) -> None:
    run, _, _ = finished
    assert all(set(update.dice) <= set(LABELS) for update in sends(run, FedMEPDUpdate).values())
    assert any(update.dice for update in sends(run, FedMEPDUpdate).values())


def test_attention_optimizer_and_auxiliary_decoder_go_on_from_round_to_round(finished: Finished) -> None:
    run, _, _ = finished
    third, fourth = held(run, "a", 3), held(run, "a", 4)
    assert third.private.keys() == fourth.private.keys()
    changed = {n.split(".")[0] for n in third.private if not torch.equal(third.private[n], fourth.private[n])}
    assert changed == {"attention", "auxiliary"}
    net = multi_net()
    trained = {key.partition("/")[2] for key in fourth.optimizer}
    assert trained == {n for n, _ in net.named_parameters()} - net.encoder_keys(["T1", "FLAIR"])
    steps = [float(state.optimizer[f"step/{HEAD}.bias"]) for state in (third, fourth)]
    assert steps[1] > steps[0]


# Going on, and order.


def test_a_study_that_stops_and_goes_on_ends_with_the_same_bits(tmp_path: Path) -> None:
    def started(folder: str) -> Federation:
        sites = [multi_site("a", ["T2"]), multi_site("b", ["T1"])]
        return federation(tmp_path / folder, FedMEPD(anchors=2, warm_up=1, patience=1), sites=sites)

    class Killed(Exception):
        pass

    def kill(site: str, round: Round, reply: Any) -> Any:
        if (site, round.number) == ("b", 2):
            raise Killed
        return reply

    whole, run = started("whole").run(), started("parts")
    run.wire.alter = kill
    with pytest.raises(Killed):
        run.run()
    state = started("parts").run()
    for name in ("weights", "auxiliary", "optimizer", "anchors", "members", "disagreements", "contributions"):
        assert equal(getattr(state, name), getattr(whole, name)), name
    assert state.facts == whole.facts


def test_the_order_of_the_sites_hardly_matters() -> None:
    method, server = FedMEPD(anchors=0, warm_up=0, patience=1), multi_site("server", anchors=0)
    state = method.initialize(server, [])
    sent = [(client, filled(state, client, value)) for client, value in ((info("a"), 0.1), (info("b"), 0.7))]
    one, two = (method.aggregate(state, order, server, Round(1, 9)) for order in (sent, sent[::-1]))
    for name, tensor in one.weights.items():
        assert torch.allclose(tensor, two.weights[name], atol=1e-5)


def test_nothing_is_kept_on_the_method_and_no_global_generator_is_moved() -> None:
    method, server, site = FedMEPD(anchors=2), multi_site("server"), multi_site("a", ["T2"])
    before, random = repr(method), torch.get_rng_state()
    state = method.initialize(server, [site.info])
    method.local_update(method.broadcast(state, site.info, Round(1, 2)), None, site, Round(1, 2))
    assert repr(method) == before
    assert torch.equal(random, torch.get_rng_state())


@pytest.mark.parametrize("decoder", ["partial", "shared", "private"])
def test_a_whole_study_in_three_dimensions_ends_with_finite_weights(tmp_path: Path, decoder: Any) -> None:
    method = FedMEPD(anchors=2, decoder=decoder, residual=True, warm_up=0, patience=1)
    sites = [
        multi_site("a", ["T2"], dims=3, residual=True),
        multi_site("b", ["T1", "FLAIR"], dims=3, residual=True),
    ]
    run = federation(tmp_path, method, sites=sites)
    run.server = multi_site("server", dims=3, residual=True)
    state = run.run()
    assert all(bool(torch.isfinite(tensor).all()) for tensor in state.weights.values())
    assert set(run.finish(state)) == {"global"}


def test_a_study_where_the_server_never_shows_a_structure_has_no_nan(tmp_path: Path) -> None:
    run = federation(tmp_path, FedMEPD(anchors=2), sites=[multi_site("a", ["T2"])], rounds=1)
    bare = multi_site("server", labels=LABELS[:1])
    run.server = replace(bare, info=replace(bare.info, labels=LABELS))
    state = run.run()
    assert all(
        bool(torch.isfinite(tensor).all()) for tensor in (*state.weights.values(), *state.anchors.values())
    )
    assert float(state.anchors["0"][:, 2].abs().max()) == 0.0
    assert math.isfinite(sends(run, FedMEPDUpdate)["a", 1].loss)


# The schedule.


@pytest.mark.parametrize(
    ("total", "warm_up", "patience", "momentum"),
    [
        (3, 1, 2, 0.0),
        (10, 1, 2, 0.5),
        (40, 4, 4, 0.875),
        (1000, 100, 100, 0.995),
        (10**5, 10**4, 10**4, 0.999),
    ],
)
def test_the_schedule_scales_with_the_study(total: int, warm_up: int, patience: int, momentum: float) -> None:
    schedule = FedMEPD().schedule(total)
    assert (schedule.warm_up, schedule.patience) == (warm_up, patience)
    assert schedule.momentum == pytest.approx(momentum)
    assert schedule.momentum == 0 or 1 / (1 - schedule.momentum) <= total / 5 + 1e-6


def test_numbers_that_are_given_are_taken_as_they_are() -> None:
    schedule = FedMEPD(warm_up=30, patience=10, momentum=0.999).schedule(20)
    assert (schedule.warm_up, schedule.patience, schedule.momentum) == (30, 10, 0.999)


# What is refused.


@pytest.mark.parametrize(
    "options",
    [{"keep": 1.5}, {"momentum": -0.1}, {"anchors": -1}, {"patience": -1}, {"warm_up": -2}],
    ids=str,
)
def test_a_number_out_of_its_range_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(StudyError, match=next(iter(options))):
        FedMEPD(**options)


def test_a_study_without_cases_at_the_server_is_refused() -> None:
    with pytest.raises(StudyError, match="needs training cases at the server"):
        FedMEPD(anchors=2).initialize(multi_site("server", cases=0), [])


@pytest.mark.parametrize(
    ("server", "word"),
    [
        (lambda: multi_site("server", ["T1", "T2"]), "lacks the study's modality FLAIR"),
        (lambda: multi_site("server", labels=LABELS[:1]), "lacks the study's structure Kidney"),
    ],
)
def test_a_server_that_does_not_have_everything_is_refused(server: Any, word: str) -> None:
    with pytest.raises(StudyError, match=word) as raised:
        FedMEPD(anchors=2).initialize(server(), [])
    assert 'role = "server"' in raised.value.fix


def test_a_site_without_any_of_the_modalities_is_refused_by_name() -> None:
    with pytest.raises(StudyError, match="Site north owns none of the modalities T1, T2, FLAIR"):
        FedMEPD(anchors=2).initialize(multi_site("server"), [info("north", "CT")])


@pytest.mark.parametrize("server", [lambda: make_site("server"), lambda: multi_site("server", anchors=3)])
def test_another_network_than_the_methods_is_refused(server: Any) -> None:
    with pytest.raises(StudyError, match="one encoder for each modality"):
        FedMEPD(anchors=2).initialize(server(), [])


def test_the_method_says_which_network_it_trains() -> None:
    network = FedMEPD(anchors=3, residual=True).network(Network(channels=(4, 8)))
    assert network == Network(kind="multiencoder", channels=(4, 8), anchors=3, residual=True)


def usual(server: Site) -> tuple[FedMEPD, FedMEPDServer, ClientInfo, FedMEPDUpdate]:
    method, client = FedMEPD(anchors=2), info("a", "T2")
    state = method.initialize(server, [client])
    return method, state, client, filled(state, client, 1.0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda u: replace(u, loss=math.nan), "training loss is nan"),
        (lambda u: replace(u, entropy=1.5), "attention entropy is 1.5"),
        (lambda u: replace(u, dice={"Liver": 2.0}), 'Dice of "Liver" is 2.0'),
        (lambda u: replace(u, dice={"Spleen": 0.5}), 'Dice of "Spleen"'),
        (lambda u: replace(u, weights={n: t for n, t in u.weights.items() if n != "head.conv.bias"}), "not sent"),
        (lambda u: replace(u, weights={**u.weights, "attention.0.anchors": torch.ones(1)}), "not asked for"),
        (lambda u: replace(u, weights={**u.weights, "head.conv.bias": torch.full((2,), math.inf)}), "NaN or Inf"),
    ],
)  # fmt: skip
def test_an_update_that_was_not_asked_for_is_refused(change: Any, message: str) -> None:
    method, state, client, update = usual(multi_site("server"))
    method.check(state, update, client, Round(1, 2))
    with pytest.raises(UpdateError, match=message) as caught:
        method.check(state, change(update), client, Round(1, 2))
    assert (caught.value.site, caught.value.round_number) == ("a", 1)


@pytest.mark.parametrize(
    "change",
    [
        lambda m: replace(m, anchors={}),
        lambda m: replace(m, shared={**m.shared, HEAD: torch.ones(3, dtype=torch.bool)}),
        lambda m: replace(m, weights={**m.weights, "auxiliary.head.conv.bias": torch.zeros(2)}),
        lambda m: replace(m, anchors={**m.anchors, "0": torch.full((2, 3, 4), math.nan)}),
    ],
)
def test_a_site_refuses_a_message_that_is_not_its_own(change: Any) -> None:
    method, state, client, _ = usual(multi_site("server"))
    message = change(method.broadcast(state, client, Round(1, 2)))
    with pytest.raises(UpdateError, match="site a"):
        method.local_update(message, None, multi_site("a", ["T2"]), Round(1, 2))


def test_an_offer_holds_a_model_of_the_sites_own_modalities_or_nothing() -> None:
    method, server, client = FedMEPD(anchors=2), multi_site("server"), info("a", "T2")
    whole = algebra.of(server.model)
    assert isinstance(server.model, MultiEncoderNet)
    right = algebra.select(whole, server.model.model_keys(["T2"]))
    for offer in (Offer(), Offer(right)):
        method.check_offer(offer, client, server, Round(2, 2))
    for offer in (Offer(whole), Offer({}, {"auxiliary.head.conv.bias": torch.zeros(2)})):
        with pytest.raises(UpdateError, match="not asked for"):
            method.check_offer(offer, client, server, Round(2, 2))


def test_states_and_messages_survive_the_wire(finished: Finished) -> None:
    _, state, _ = finished
    back = wire.decode(FedMEPDServer, wire.encode(state))
    assert equal(back.disagreements, state.disagreements)
    assert (back.modalities, back.filters, back.facts) == (state.modalities, state.filters, state.facts)
    bare = FedMEPD(anchors=0).initialize(multi_site("server", anchors=0), [])
    again = wire.decode(FedMEPDServer, wire.encode(bare))
    assert (again.anchors, again.disagreements) == ({}, {})
