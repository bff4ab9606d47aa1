"""A member of the study that means it no good: its round goes on without it, and the board says why."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from FedSegCore.coordinator import transport as module
from FedSegCore.coordinator.board import Board
from FedSegCore.coordinator.transport import AcrossHospitals
from FedSegCore.federation import wire
from FedSegCore.federation.calibration import BankCounts
from FedSegCore.federation.flower import Head, Reply
from FedSegCore.federation.ledger import Ledger, read_lines, verify_ledger
from FedSegCore.federation.method import Offer
from FedSegCore.federation.rounds import federate
from FedSegCore.methods.averaging import Averaging, AveragingUpdate
from FedSegCore.tensors import tensorfile
from FedSegCore.tensors.weights import Weights
from Testing.federation.test_wire_hostile import BOMBS
from Testing.phantoms import Federation, equal, make_site, seeded

pytestmark = pytest.mark.usefixtures("one_thread")
Sent = tuple[Mapping[str, str], bytes]
Forge = Callable[[int, bytes], Sent]
"""What the hostile site sends in a round in place of its honest answer."""


@dataclass
class Engine:
    """Sites that answer with their real clients; `m` with what a forger makes of it."""

    clients: Mapping[str, Any]
    forge: Forge
    honest: dict[bytes, bytes] = field(default_factory=dict)
    mail: list[tuple[str, bytes]] = field(default_factory=list)

    def heal(self) -> bool:
        return False

    def online(self) -> set[str]:
        return set(self.clients)

    def node(self, site: str) -> str:
        return f"node of {site}"

    def post(self, site: str, head: Head, body: bytes) -> str:
        self.mail.append((site, body))
        return f"{len(self.mail) - 1}"

    def collect(self, message_ids: Iterable[str]) -> Iterator[Reply]:
        for message in message_ids:
            site, body = self.mail[int(message)]
            answer = self.clients[site].handle(body)
            number = tensorfile.unpack(body)[0]["round"]
            head, sent = self.forge(number, answer) if site == "m" else ({"run": "r"}, answer)
            yield Reply(message, head, sent)


@dataclass
class Outcome:
    """What a study of three sites came to."""

    folder: Path
    weights: Weights
    board: dict[str, Any]

    @property
    def reasons(self) -> dict[int, str]:
        """Why `m` was left out, by round, as the board tells."""
        return {lost["round"]: lost["reason"] for lost in self.board["lost"] if lost["site"] == "m"}

    def files(self) -> dict[str, str]:
        """What the honest sites keep."""
        paths = (p for p in sorted((self.folder / "sites").rglob("*")) if p.is_file() and "/m/" not in str(p))
        return {str(p.relative_to(self.folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in paths}


def study(folder: Path, forge: Forge, *, rounds: int = 1, monkey: pytest.MonkeyPatch) -> Outcome:
    monkey.setattr(module.time, "sleep", lambda seconds: None)
    run = Federation(folder, Averaging(), [make_site(name) for name in ("a", "m", "z")], rounds=rounds)
    board = Board(
        folder / "status.json", study="s", runs=["r"], total=rounds, emit=lambda event, **fields: None
    )
    board.follow("r", run.store.log)
    transport = AcrossHospitals(
        Engine(run.clients, forge),  # type: ignore[arg-type]
        "r", members=lambda: [client.info for client in run.clients.values()], min_sites=2, timeout=60,
        ledger=Ledger(folder / "hub-ledger.jsonl"), folder=folder / "replies", emit=board.emit,
    )  # fmt: skip
    state = federate(run.method, run.server, transport, rounds, store=run.store, min_sites=2, emit=board.emit)
    return Outcome(folder, state.weights, board.snapshot())


@pytest.fixture(scope="module")
def without(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """The study when `m` says that it failed: what every forgery must come to."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as monkey:
        failed: Sent = ({"failed": "its training failed (ValueError).", "fix": "Mend it."}, b"")
        made = study(tmp_path_factory.mktemp("without"), lambda number, answer: failed, monkey=monkey)
    torch.set_num_threads(threads)
    return made


def update(answer: bytes, **other: Any) -> bytes:
    told = wire.decode(AveragingUpdate, answer)
    facts: dict[str, Any] = {"weights": told.weights, "loss": told.loss, "dice": told.dice, **other}
    return wire.encode(AveragingUpdate(**facts))


def weights(answer: bytes) -> dict[str, torch.Tensor]:
    return dict(wire.decode(AveragingUpdate, answer).weights)


def first(answer: bytes, change: Callable[[torch.Tensor], torch.Tensor]) -> bytes:
    """The update with its first tensor changed."""
    whole = weights(answer)
    name = next(iter(whole))
    return update(answer, weights={**whole, name: change(whole[name])})


def spoilt(value: float) -> Callable[[torch.Tensor], torch.Tensor]:
    def change(tensor: torch.Tensor) -> torch.Tensor:
        tensor = tensor.clone()
        tensor.view(-1)[-1] = value
        return tensor

    return change


FORGERIES: dict[str, Callable[[bytes], bytes]] = {
    "cut": lambda answer: answer[:-9],
    "altered": lambda answer: answer[:-1] + bytes([answer[-1] ^ 1]),
    "another type": lambda answer: wire.encode(Offer(weights(answer))),
    "counts": lambda answer: wire.encode(BankCounts([1], [1])),
    "one weight less": lambda answer: update(answer, weights=dict(list(weights(answer).items())[1:])),
    "one weight more": lambda answer: update(answer, weights={**weights(answer), "x\x1b[2J": torch.ones(2)}),
    "another shape": lambda answer: first(answer, lambda tensor: tensor[:1]),
    "one number in place of many": lambda answer: first(answer, lambda tensor: tensor.sum()),
    "another number format": lambda answer: first(answer, lambda tensor: tensor.double()),
    "half floats": lambda answer: first(answer, lambda tensor: tensor.bfloat16()),
    "NaN": lambda answer: first(answer, spoilt(math.nan)),
    "infinity": lambda answer: first(answer, spoilt(-math.inf)),
    "scaled": lambda answer: first(answer, lambda tensor: tensor * 1e7),
    "turned round and scaled": lambda answer: update(
        answer, weights={name: -1e6 * tensor for name, tensor in weights(answer).items()}
    ),
    "a larger message": lambda answer: update(answer, weights={"big": torch.zeros(2**20)}),
    "loss NaN": lambda answer: update(answer, loss=math.nan),
    "loss text": lambda answer: update(answer, loss="low"),
    "dice of nobody's": lambda answer: update(answer, dice={"Heart": 0.5}),
    "dice of two": lambda answer: update(answer, dice={"Liver": 2.0}),
    "dice NaN": lambda answer: update(answer, dice={"Liver": math.nan}),
    "scalars not asked for": lambda answer: update(answer, scalars={"patients": 3.0}),
    "a field more": lambda answer: tensorfile.pack(
        {f"weights/{name}": tensor for name, tensor in weights(answer).items()},
        {"type": "AveragingUpdate", "fields": {"loss": 0.1, "dice": {}, "scalars": {}, "names": ["DOE_JANE"]}},
    ),
    "a header more": lambda answer: wire.encode(wire.decode(AveragingUpdate, answer), patient="DOE_JANE"),
    **{f"bomb: {name}": partial(lambda data, answer: data, data) for name, data in BOMBS.items()},
}  # fmt: skip


@pytest.mark.parametrize("name", FORGERIES)
def test_a_forged_update_is_left_out_as_if_its_site_had_failed(
    tmp_path: Path, without: Outcome, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    found = study(
        tmp_path, lambda number, answer: ({"run": "r"}, FORGERIES[name](answer)), monkey=monkeypatch
    )
    assert equal(found.weights, without.weights)
    assert found.files() == without.files()
    (reason,) = found.reasons.values()
    assert reason and len(reason) <= 300 and reason.isprintable()
    assert found.board["sites"]["m"]["state"] == "lost"
    assert verify_ledger(tmp_path / "hub-ledger.jsonl") >= 2
    assert "DOE_JANE" not in (tmp_path / "status.json").read_text()


def test_what_a_site_says_of_its_failure_is_one_short_line(
    tmp_path: Path, without: Outcome, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = {
        "failed": "\x1b[2J\r\n\x00<script>" + "\u202e" * 50 + "x" * 2**20,
        "fix": "\n" * 2**20,
        "by": "engine",
    }
    found = study(tmp_path, lambda number, answer: (said, b""), monkey=monkeypatch)
    assert equal(found.weights, without.weights)
    assert found.reasons[1].startswith("[2J<script>xxx") and len(found.reasons[1]) <= 300


def test_an_update_of_an_earlier_round_is_known_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first_answer: list[bytes] = []

    def replay(number: int, answer: bytes) -> Sent:
        first_answer.append(answer)
        return {"run": "r"}, first_answer[0]

    found = study(tmp_path, replay, rounds=2, monkey=monkeypatch)
    assert found.reasons == {2: "it sent what it sent in round 1."}


def test_the_same_update_twice_in_its_own_round_is_a_repetition_and_no_forgery(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study(tmp_path, lambda number, answer: ({"run": "r"}, answer), monkey=monkeypatch)
    for name in ("checkpoint.safetensors", "rounds.jsonl"):
        (tmp_path / name).unlink()
    again = study(tmp_path, lambda number, answer: ({"run": "r"}, answer), monkey=monkeypatch)
    assert again.reasons == {} and len(read_lines(tmp_path / "hub-ledger.jsonl")) == 6


def test_another_sites_update_is_known_again(
    tmp_path: Path, without: Outcome, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`a` and `m` in league, or one hospital's disk in two places."""
    heard: dict[str, bytes] = {}
    handle = Federation.client

    def listening(federation: Federation, site: Any) -> Any:
        client = handle(federation, site)
        if site.info.name == "a":
            real = client.handle

            def told(body: bytes) -> bytes:
                heard["a"] = real(body)
                return heard["a"]

            object.__setattr__(client, "handle", told)
        return client

    monkeypatch.setattr(Federation, "client", listening)
    found = study(tmp_path, lambda number, answer: ({"run": "r"}, heard["a"]), monkey=monkeypatch)
    assert found.reasons == {1: "it sent what a sent in round 1."}
    assert equal(found.weights, without.weights)


def test_a_site_that_answers_with_too_little_cannot_stop_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two rounds of noise: each time the others' round is whole."""
    noise = bytes(torch.randint(0, 256, (500,), generator=seeded(), dtype=torch.uint8).tolist())
    found = study(tmp_path, lambda number, answer: ({"run": "r"}, noise), rounds=2, monkey=monkeypatch)
    assert found.reasons.keys() == {1, 2}
    assert [line["took_part"] for line in read_lines(tmp_path / "rounds.jsonl")] == [["a", "z"]] * 2
