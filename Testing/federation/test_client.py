from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch

from FedSegCore.errors import DataError, ModelFileError, SiteError, StorageError
from FedSegCore.federation import wire
from FedSegCore.federation.client import Client
from FedSegCore.federation.ledger import Ledger, read_lines
from FedSegCore.federation.method import Offer, Site
from FedSegCore.federation.store import ClientStore
from FedSegCore.methods import averaging
from FedSegCore.methods.averaging import (
    EVERYTHING,
    Averaging,
    AveragingBroadcast,
    AveragingClient,
    AveragingUpdate,
)
from FedSegCore.tensors import weights as algebra
from Testing.phantoms import TRAINING, equal, make_site

pytestmark = pytest.mark.usefixtures("one_thread")


@dataclass(frozen=True)
class Other:
    text: str = ""


def client(
    folder: Path, site: Site | None = None, *, method: Averaging | None = None, seed: int = 0
) -> Client:
    site = site or make_site("north")
    return Client(
        method or Averaging(), site, seed=seed, store=ClientStore(folder / "site"),
        ledger=Ledger(folder / "ledger.jsonl"), header={"kind": "model"},
    )  # fmt: skip


def message(at: Client, *, number: int = 1, kind: str = "round", total: int = 2) -> bytes:
    shared = at.method._shared(algebra.of(make_site("server").model), at.site.model)
    return wire.encode(AveragingBroadcast(shared), kind=kind, round=number, total=total)


def update_of(data: bytes) -> AveragingUpdate:
    return wire.decode(AveragingUpdate, data)


def test_a_round_keeps_the_state_and_sends_what_the_ledger_tells(tmp_path: Path) -> None:
    north = client(tmp_path)
    data = north.handle(message(north))
    assert update_of(data).weights.keys() == north.site.model.state_dict().keys()
    assert (tmp_path / "site" / "state-1.safetensors").is_file()
    assert [line["bytes"] for line in read_lines(tmp_path / "ledger.jsonl")] == [len(data)]


def test_the_same_round_again_gives_the_same_bytes(tmp_path: Path) -> None:
    north = client(tmp_path)
    north.handle(message(north))
    first = north.handle(message(north, number=2))
    assert north.handle(message(north, number=2)) == first
    assert client(tmp_path).handle(message(north, number=2)) == first


@pytest.mark.parametrize("change", ["seed", "site", "round"])
def test_every_seed_site_and_round_draws_its_own_numbers(tmp_path: Path, change: str) -> None:
    method = Averaging(keep_optimizer=False)
    site = make_site("north")
    first = client(tmp_path / "1", site, method=method)
    reference = update_of(first.handle(message(first, total=1)))
    renamed = replace(site, info=replace(site.info, name="south")) if change == "site" else site
    second = client(tmp_path / "2", renamed, method=method, seed=int(change == "seed"))
    number, total = (2, 2) if change == "round" else (1, 1)
    other = update_of(second.handle(message(second, number=number, total=total)))
    assert not equal(reference.weights, other.weights)


def test_every_message_starts_from_the_first_weights_whatever_the_model_went_through(tmp_path: Path) -> None:
    method = Averaging(private=("norm",))
    north, spoilt = (client(tmp_path / name, method=method) for name in "12")
    for parameter in spoilt.site.model.parameters():
        parameter.data.fill_(math.nan)
    assert north.handle(message(north)) == spoilt.handle(message(spoilt))


def test_nan_neither_leaves_nor_is_kept(tmp_path: Path) -> None:
    site = make_site("north", training=replace(TRAINING, learning_rate=math.inf))
    north = client(tmp_path, site)
    with pytest.raises(SiteError, match="came to NaN or Inf in") as caught:
        north.handle(message(north, number=3, total=3))
    assert (caught.value.site, caught.value.round_number) == ("north", 3)
    assert caught.value.fix
    assert not list((tmp_path / "site").glob("*"))
    assert read_lines(tmp_path / "ledger.jsonl") == []


def test_a_site_that_diverged_once_can_take_part_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    north, calm = (client(tmp_path / name, method=Averaging(private=("norm",))) for name in "12")
    first = message(north)
    calm.handle(first)
    north.handle(first)
    real = averaging.train

    def diverge(model: torch.nn.Module, *positional: object, **options: object) -> object:
        trained = real(model, *positional, **options)  # type: ignore[arg-type]
        for parameter in model.parameters():
            parameter.data.fill_(math.nan)
        return trained

    monkeypatch.setattr(averaging, "train", diverge)
    with pytest.raises(SiteError):
        north.handle(message(north, number=2))
    monkeypatch.undo()
    assert north.handle(message(north, number=2)) == calm.handle(message(calm, number=2))


@pytest.mark.parametrize(
    "data",
    [b"", b"garbage", wire.encode(Other("x"), kind="round", round=1, total=1)],
    ids=["empty", "garbage", "foreign"],
)
def test_what_is_no_message_of_the_method_is_the_sites_error(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(SiteError, match="north"):
        client(tmp_path).handle(data)


@pytest.mark.parametrize("facts", [{"kind": "give"}, {"kind": "publish"}, {"round": 1, "total": 1}, {}])
def test_a_message_that_asks_for_nothing_known_is_refused_and_nothing_leaves(
    tmp_path: Path, facts: dict[str, object]
) -> None:
    north = client(tmp_path)
    whole = {"round": 1, "total": 1, **facts} if facts.get("kind") == "give" else facts
    data = wire.encode(AveragingBroadcast(algebra.of(north.site.model)), **whole)
    with pytest.raises(SiteError, match="asks for nothing"):
        north.handle(data)
    assert read_lines(tmp_path / "ledger.jsonl") == []


NAME = "DOE_JANE"


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ValueError(f"{NAME} has no voxels"), "its training failed (ValueError)"),
        (OSError(5, "Input/output error", f"/data/{NAME}.nii.gz"), "its training failed (OSError)"),
        (MemoryError(NAME), "its memory ran out in training (MemoryError)"),
        (DataError(f"{NAME} is empty.", f"Draw {NAME}."), "its data could not be read"),
        (ModelFileError(f"{NAME} is truncated."), "what it kept of earlier rounds could not be read"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_failure_leaves_as_a_fixed_sentence_and_the_site_keeps_all_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, reason: str
) -> None:
    def fail(*arguments: object, **named: object) -> None:
        raise error

    monkeypatch.setattr(averaging, "train", fail)
    north = client(tmp_path)
    with pytest.raises(SiteError) as caught:
        north.handle(message(north, number=2))
    told = caught.value
    assert told.reason == f"{reason}; the site's errors.log says more."
    assert (told.site, told.round_number) == ("north", 2)
    assert NAME not in str(told)
    log = (tmp_path / "site" / "errors.log").read_text()
    assert "round 2, training" in log and "Traceback" in log and str(error) in log


def test_a_full_disk_is_no_failure_of_the_site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: object) -> None:
        raise StorageError("state", OSError(28, "No space left on device"))

    monkeypatch.setattr(ClientStore, "save", full)
    north = client(tmp_path)
    with pytest.raises(StorageError):
        north.handle(message(north))
    assert not (tmp_path / "site" / "errors.log").exists()


@pytest.mark.parametrize("allowed", [False, True])
def test_a_personal_model_leaves_only_where_the_site_allows_it(tmp_path: Path, allowed: bool) -> None:
    north = client(tmp_path, make_site("north", publish=allowed), method=Averaging(personal=0.1))
    north.handle(message(north))
    north.handle(message(north, number=2))
    offer = wire.decode(Offer, north.handle(message(north, number=2, kind="publish")))
    assert bool(offer.personal) == allowed
    assert not offer.private
    assert (tmp_path / "site" / "personal.safetensors").is_file()


def test_private_parts_leave_once_after_the_last_round_where_the_method_publishes_them(
    tmp_path: Path,
) -> None:
    method = Averaging(private=("head",), publish_private=True)
    north = client(tmp_path, method=method)
    update = update_of(north.handle(message(north, total=1)))
    offer = wire.decode(Offer, north.handle(message(north, total=1, kind="publish")))
    assert set(offer.private) == {"head.conv.weight", "head.conv.bias"}
    assert not offer.private.keys() & update.weights.keys()


def test_fedavg_makes_no_personal_model_file(tmp_path: Path) -> None:
    north = client(tmp_path)
    north.handle(message(north, total=1))
    north.handle(message(north, total=1, kind="publish"))
    assert not (tmp_path / "site" / "personal.safetensors").exists()


def test_a_site_that_shares_nothing_sends_only_its_loss_and_dice(tmp_path: Path) -> None:
    north = client(tmp_path, make_site("north", validation=1), method=Averaging(private=EVERYTHING))
    update = update_of(north.handle(message(north, total=1)))
    assert update.weights == {}
    assert math.isfinite(update.loss)
    assert set(update.dice) <= {"Liver", "Kidney"}
    state = ClientStore(tmp_path / "site").load(AveragingClient, 1)
    assert state is not None
    assert state.private.keys() == north.site.model.state_dict().keys()
