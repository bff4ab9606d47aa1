from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from FedSegCore.data.batches import Batches, CachedCase
from FedSegCore.errors import SiteError, TooFewSites
from FedSegCore.federation import wire
from FedSegCore.federation.client import Client
from FedSegCore.federation.ledger import read_lines
from FedSegCore.federation.method import Offer, Round
from FedSegCore.federation.seeds import derive, generator
from FedSegCore.learning.epochs import Epochs
from FedSegCore.methods.averaging import EVERYTHING, Averaging, AveragingServer, AveragingUpdate
from FedSegCore.tensors import tensorfile
from FedSegCore.tensors import weights as algebra
from Testing.phantoms import LABELS, Federation, Reply, equal, make_site, two_sites

pytestmark = pytest.mark.usefixtures("one_thread")

Spoil = Callable[[AveragingUpdate], bytes]


def three_sites() -> list[Any]:
    return [make_site(name, cases=cases) for name, cases in (("a", 1), ("b", 2), ("c", 3))]


def on(
    name: str, spoil: Callable[[bytes], Reply], *, number: int = 1
) -> Callable[[str, Round, Reply], Reply]:
    """Spoils one site's reply in one round."""

    def alter(site: str, round: Round, reply: Reply) -> Reply:
        hit = site == name and round.number == number and isinstance(reply, bytes)
        return spoil(reply) if hit and isinstance(reply, bytes) else reply

    return alter


def with_weights(change: Callable[[dict[str, Tensor]], object]) -> Callable[[bytes], bytes]:
    def spoil(data: bytes) -> bytes:
        update = wire.decode(AveragingUpdate, data)
        weights = dict(update.weights)
        change(weights)
        return wire.encode(dataclasses.replace(update, weights=weights))

    return spoil


def with_fields(**fields: Any) -> Callable[[bytes], bytes]:
    def spoil(data: bytes) -> bytes:
        tensors, told = wire.split(wire.decode(AveragingUpdate, data))
        return tensorfile.pack(tensors, {"type": "AveragingUpdate", "fields": {**told, **fields}})

    return spoil


def flip(data: bytes) -> bytes:
    return data[:-1] + bytes([data[-1] ^ 1])


HEAD = "head.conv.bias"
BROKEN: dict[str, tuple[Callable[[bytes], Reply], str]] = {
    "NaN": (with_weights(lambda w: w[HEAD].fill_(math.nan)), f'"{HEAD}" holds NaN or Inf'),
    "one Inf": (with_weights(lambda w: w[HEAD][1:].fill_(math.inf)), f'"{HEAD}" holds NaN or Inf'),
    "a name too many": (with_weights(lambda w: w.update(extra=torch.ones(1))), '"extra" was sent but not asked for'),
    "a name too few": (with_weights(lambda w: w.pop(HEAD)), f'"{HEAD}" was not sent'),
    "nothing": (with_weights(lambda w: w.clear()), "was not sent"),
    "another shape": (with_weights(lambda w: w.update({HEAD: torch.ones(3)})), r"\(3,\), expected torch"),
    "another type": (with_weights(lambda w: w.update({HEAD: torch.ones(2).double()})), "torch.float64"),
    "a loss of NaN": (with_fields(loss=math.nan), "training loss is nan"),
    "a loss in words": (with_fields(loss="low"), "wrong type"),
    "a Dice above 1": (with_fields(dice={"Liver": 1.5}), 'validation Dice of "Liver" is 1.5'),
    "a Dice of nothing known": (with_fields(dice={"Jane Doe": 0.5}), 'validation Dice of "Jane Doe"'),
    "an undeclared field": (with_fields(patient="Jane"), "patient"),
    "garbage": (lambda data: b"garbage", "truncated or not a FedSeg file"),
    "an empty reply": (lambda data: b"", "truncated or not a FedSeg file"),
    "half the bytes": (lambda data: data[: len(data) // 2], "truncated or not a FedSeg file"),
    "a flipped bit": (flip, "altered after it was written"),
    "another message": (lambda data: wire.encode(Offer()), "expected a AveragingUpdate"),
    "a failure": (lambda data: SiteError("out of memory", site="b", round_number=1), "out of memory"),
}  # fmt: skip


@pytest.mark.parametrize("fault", BROKEN)
def test_a_broken_update_is_left_out_with_its_reason_and_the_others_are_reweighted(
    tmp_path: Path, fault: str
) -> None:
    spoil, reason = BROKEN[fault]
    run = Federation(tmp_path / "x", Averaging(), three_sites(), rounds=1, min_sites=2, alter=on("b", spoil))
    state = run.run()
    (line,) = read_lines(run.store.log)
    assert list(line["left_out"]) == ["b"]
    assert re.search(reason, line["left_out"]["b"])
    assert line["took_part"] == ["a", "c"]
    assert [told["site"] for told in run.told("site_state") if told["state"] == "lost"] == ["b"]
    assert run.told("warning")[0]["fix"] or fault == "a failure"

    sent = {site: wire.decode(AveragingUpdate, data).weights for site, _, data in run.wire.up}
    start = algebra.of(run.server.model)
    expected = algebra.weighted_mean(start, [(sent["a"], 1.0), (sent["c"], 3.0)])
    assert equal(state.weights, expected)


def test_a_site_that_raises_is_left_out_and_takes_part_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Client._train

    def fail(client: Client, message: Any, round: Round, epochs: Epochs) -> bytes:
        if client.info.name == "b" and round.number == 2:
            raise RuntimeError("CUDA error")
        return real(client, message, round, epochs)

    monkeypatch.setattr(Client, "_train", fail)
    run = Federation(tmp_path, Averaging(), three_sites(), rounds=3, min_sites=2)
    run.run()
    lines = read_lines(run.store.log)
    assert [line["took_part"] for line in lines] == [["a", "b", "c"], ["a", "c"], ["a", "b", "c"]]
    assert lines[1]["left_out"] == {
        "b": "its training failed (RuntimeError); the site's errors.log says more."
    }


def test_too_few_sites_stop_the_study_and_resuming_continues_it_bit_for_bit(tmp_path: Path) -> None:
    def lost(data: bytes) -> Reply:
        return SiteError("network down", site="b", round_number=2)

    whole = Federation(tmp_path / "whole", Averaging(), two_sites(), rounds=3).run()
    stopped = Federation(tmp_path / "x", Averaging(), two_sites(), rounds=3, alter=on("b", lost, number=2))
    with pytest.raises(TooFewSites, match=r"Round 2: 1 of 2 sites .* needs 2 \(b: network down\)") as caught:
        stopped.run()
    assert caught.value.exit_code == 1
    assert "--resume" in caught.value.fix
    first, last = read_lines(stopped.store.log)
    assert (first["round"], last["round"]) == (1, 2)
    assert (last["took_part"], last["left_out"]) == (["a"], {"b": "network down"})
    assert last["seconds"] > 0
    assert not (tmp_path / "x" / "spool").exists()
    resumed = Federation(tmp_path / "x", Averaging(), two_sites(), rounds=3)
    assert equal(resumed.run().weights, whole.weights)
    assert [number for _, number, _ in resumed.wire.up] == [2, 2, 3, 3]
    assert [line["round"] for line in read_lines(resumed.store.log)] == [1, 2, 3]


def test_too_few_sites_in_the_first_round_keep_the_first_weights(tmp_path: Path) -> None:
    run = Federation(tmp_path, Averaging(), two_sites(), alter=lambda site, round, reply: b"")
    with pytest.raises(TooFewSites):
        run.run()
    (line,) = read_lines(run.store.log)
    assert (line["took_part"], line["loss"], set(line["left_out"])) == ([], None, {"a", "b"})
    found = run.store.load(AveragingServer)
    assert read_lines(run.store.log) == []
    assert found is not None
    assert found[1] == 0
    assert equal(found[0].weights, algebra.of(run.server.model))


def test_a_finished_study_trains_nothing_again(tmp_path: Path) -> None:
    first = Federation(tmp_path, Averaging(), two_sites())
    state = first.run()
    again = Federation(tmp_path, Averaging(), two_sites())
    assert equal(again.run().weights, state.weights)
    assert again.wire.up == []


def test_two_runs_with_the_same_seed_are_identical_and_another_seed_differs(tmp_path: Path) -> None:
    states = [
        Federation(tmp_path / str(place), Averaging(), two_sites(), seed=seed).run()
        for place, seed in enumerate((0, 0, 1))
    ]
    assert equal(states[0].weights, states[1].weights)
    assert not equal(states[0].weights, states[2].weights)


def test_the_order_in_which_sites_are_named_does_not_matter(tmp_path: Path) -> None:
    forward = Federation(tmp_path / "1", Averaging(), three_sites()).run()
    backward = Federation(tmp_path / "2", Averaging(), three_sites()[::-1]).run()
    assert equal(forward.weights, backward.weights)


def test_one_site_alone_is_local_training_bit_for_bit(tmp_path: Path) -> None:
    federated = Federation(tmp_path / "1", Averaging(), [make_site("a", cases=3)], rounds=3)
    local = Federation(tmp_path / "2", Averaging(private=EVERYTHING), [make_site("a", cases=3)], rounds=3)
    state = federated.run()
    local.finish(local.run())
    own = tensorfile.load(tmp_path / "2" / "sites" / "a" / "personal.safetensors")[1]
    assert equal(state.weights, own)


def test_ingredients_that_do_nothing_give_fedavg_bit_for_bit(tmp_path: Path) -> None:
    plain = Federation(tmp_path / "1", Averaging(), two_sites()).run()
    noop = Averaging(private=(), proximal=0.0, ditto=0.0, finetune=0, recalibrate=False, personal=None)
    assert equal(Federation(tmp_path / "2", noop, two_sites()).run().weights, plain.weights)


def test_a_saved_and_loaded_state_goes_on_as_one_in_memory(tmp_path: Path) -> None:
    """Three rounds at once against one round in each of three processes' worth of objects."""
    method = Averaging(private=("norm",), ditto=0.1)
    whole = Federation(tmp_path / "whole", method, two_sites(norm="batch", validation=1), rounds=3)
    expected = whole.run()
    for stop in (2, 3, 4):
        parts = Federation(
            tmp_path / "parts", method, two_sites(norm="batch", validation=1), rounds=3,
            alter=lambda site, round, reply, stop=stop: reply if round.number < stop else b"",
        )  # fmt: skip
        if stop < 4:
            with pytest.raises(TooFewSites):
                parts.run()
    assert equal(parts.run().weights, expected.weights)
    for name in "ab":
        file = f"sites/{name}/state-3.safetensors"
        assert (tmp_path / "whole" / file).read_bytes() == (tmp_path / "parts" / file).read_bytes()


def test_moments_survive_from_round_to_round_or_start_afresh_as_the_method_says(tmp_path: Path) -> None:
    from FedSegCore.methods.averaging import AveragingClient

    for keep in (True, False):
        run = Federation(tmp_path / str(keep), Averaging(keep_optimizer=keep), two_sites(), rounds=2)
        run.run()
        state = run.clients["a"].store.load(AveragingClient, 2)
        assert state is not None
        steps = {float(tensor) for name, tensor in state.optimizer.items() if name.startswith("step/")}
        assert steps == ({2.0 * run.sites[0].batches.steps} if keep else set())  # type: ignore[union-attr]


def reachable(root: object) -> Iterable[object]:
    """Everything that an object holds: attributes, items, parameters; not its type's or module's globals."""
    waiting, seen = [root], set()
    while waiting:
        item = waiting.pop()
        if id(item) in seen or isinstance(item, type | str | bytes | int | float):
            continue
        seen.add(id(item))
        yield item
        if isinstance(item, dict):
            waiting.extend(item.values())
        elif isinstance(item, list | tuple | set | frozenset):
            waiting.extend(item)
        waiting.extend(getattr(item, "__dict__", {}).values())


def test_the_server_holds_no_reference_to_a_sites_data_or_model(tmp_path: Path) -> None:
    run = Federation(tmp_path, Averaging(personal=0.1), two_sites(validation=1, publish=True))
    state = run.run()
    published = run.finish(state)
    held = list(reachable([state, published, run.server, run.store, run.method, run.events]))
    assert not [item for item in held if isinstance(item, Batches | CachedCase | Client)]
    models = [
        item for item in held if isinstance(item, nn.Module) and type(item).__name__ == "SegmentationNet"
    ]
    assert models == [run.server.model]
    owned = {
        tensor.untyped_storage().data_ptr()
        for site in run.sites
        for item in reachable(site)
        if isinstance(item, Tensor | nn.Module)
        for tensor in (item.state_dict().values() if isinstance(item, nn.Module) else [item])
    }
    theirs = {item.untyped_storage().data_ptr() for item in held if isinstance(item, Tensor)}
    assert theirs
    assert not owned & theirs
    sample = [item for item in reachable(run.sites[0]) if isinstance(item, CachedCase | Batches)]
    assert sample, "the walk finds site data where there is some"


def test_a_round_tells_loss_dice_and_times_of_who_took_part(tmp_path: Path) -> None:
    run = Federation(
        tmp_path, Averaging(), two_sites(validation=2), rounds=1, facts={"method": "fedavg", "seed": 0}
    )
    run.run()
    (line,) = read_lines(run.store.log)
    a, b = line["sites"]["a"], line["sites"]["b"]
    assert line["loss"] == pytest.approx((2 * a["loss"] + 3 * b["loss"]) / 5)
    for label in LABELS:
        assert line["dice"][label] == pytest.approx((a["dice"][label] + b["dice"][label]) / 2)
    assert (line["method"], line["seed"], line["total"], line["left_out"]) == ("fedavg", 0, 1, {})
    (told,) = run.told("round")
    assert (told["number"], told["total"], told["loss"], told["dice"]) == (1, 1, line["loss"], line["dice"])
    assert [(e["site"], e["state"]) for e in run.told("site_state")] == [("a", "sent"), ("b", "sent")]


def test_going_on_under_other_conditions_is_told(tmp_path: Path) -> None:
    then, now = ({"seed": 0, "environment": {"threads": threads}} for threads in (1, 2))
    Federation(tmp_path, Averaging(), two_sites(), facts=then).run()
    again = Federation(tmp_path, Averaging(), two_sites(), facts=now)
    again.run()
    assert "threads 1 then, 2 now" in again.told("warning")[0]["message"]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda data: b"garbage",
        lambda data: wire.encode(Offer({"foreign": torch.ones(1)})),
        lambda data: wire.encode(
            Offer({name: tensor * math.nan for name, tensor in wire.decode(Offer, data).personal.items()})
        ),
        lambda data: wire.encode(Offer(wire.decode(Offer, data).personal, {HEAD: torch.ones(2)})),
        lambda data: SiteError("network down", site="b", round_number=2),
    ],
    ids=["garbage", "names", "NaN", "not asked for", "lost"],
)
def test_a_broken_offer_is_left_out_and_the_others_are_published(
    tmp_path: Path, spoil: Callable[[bytes], Reply]
) -> None:
    run = Federation(tmp_path, Averaging(personal=0.1), two_sites(publish=True), min_sites=1)
    state = run.run()
    run.wire.alter = lambda site, round, reply: (
        spoil(reply) if site == "b" and isinstance(reply, bytes) else reply
    )
    published = run.finish(state)
    assert set(published) == {"global", "personal-a"}
    assert published["global"].owner is None and published["personal-a"].owner == run.sites[0].info
    assert "b offered no model" in run.told("warning")[0]["message"]


def test_too_few_offers_stop_the_study_and_the_exchange_can_be_repeated(tmp_path: Path) -> None:
    run = Federation(tmp_path, Averaging(personal=0.1), two_sites(publish=True))
    state = run.run()
    run.wire.alter = on("b", lambda data: SiteError("network down", site="b", round_number=2), number=2)
    with pytest.raises(TooFewSites, match=r"1 of 2 sites .* needs 2 \(b: network down\)") as caught:
        run.finish(state)
    assert "--resume" in caught.value.fix
    again = Federation(tmp_path, Averaging(personal=0.1), two_sites(publish=True))
    assert set(again.finish(again.run())) == {"global", "personal-a", "personal-b"}


def test_seeds_are_the_same_on_every_machine_and_differ_by_purpose() -> None:
    assert derive(0, "train", "north", 1) == 3275206951571202033
    words = [("train", "a", 1), ("train", "a", 2), ("train", "b", 1), ("publish", "a", 1)]
    assert len({derive(seed, *word) for word in words for seed in (0, 1)}) == 8
    assert torch.equal(torch.rand(3, generator=generator(3, "x")), torch.rand(3, generator=generator(3, "x")))
    assert 0 <= derive(-1, "x") < 2**63


def test_what_all_sites_are_sent_alike_is_encoded_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoded: list[str] = []
    encode = wire.encode

    def counted(message: object, **header: Any) -> bytes:
        encoded.append(type(message).__name__)
        return encode(message, **header)

    monkeypatch.setattr(wire, "encode", counted)
    run = Federation(tmp_path, Averaging(), three_sites(), rounds=2)
    run.run()
    assert encoded.count("AveragingBroadcast") == 2
    assert len(run.wire.down) == 6
