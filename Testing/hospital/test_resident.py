"""The resident and a server that means it no good: nothing leaves, and nothing on the site's disk changes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from FedSegCore.errors import DataError
from FedSegCore.federation import wire
from FedSegCore.federation.calibration import BankCounts, SharedBank
from FedSegCore.federation.client import Client
from FedSegCore.federation.ledger import Ledger, read_lines, verify_ledger
from FedSegCore.federation.method import Offer
from FedSegCore.federation.store import ClientStore
from FedSegCore.hospital.home import Home
from FedSegCore.hospital.resident import Resident
from FedSegCore.methods.averaging import Averaging, AveragingBroadcast, AveragingUpdate
from FedSegCore.tensors import tensorfile
from FedSegCore.tensors import weights as algebra
from FedSegCore.tensors.weights import Weights
from Testing.phantoms import make_site, small_net

pytestmark = pytest.mark.usefixtures("one_thread")
RUN = "fedavg-seed0"
ROUNDS = 2
START = algebra.of(small_net())
FACTS: dict[str, Any] = {"kind": "round", "round": 1, "total": ROUNDS}


@dataclass
class Hospital:
    """A resident at work in one run, and what it tells at home."""

    folder: Path

    def __post_init__(self) -> None:
        self.events: list[str] = []
        site = make_site("north", publish=True)
        self.ledger = Ledger(self.folder / "ledger.jsonl")

        def client(run: str) -> Client:
            method = {RUN: Averaging(personal=0.1)}[run]
            store = ClientStore(self.folder / "runs" / run / "sites" / "north")
            return Client(method, site, seed=0, store=store, ledger=self.ledger, header={},
                          survey=lambda bank, site: BankCounts([1], [0]), rounds=ROUNDS)  # fmt: skip

        self.resident = Resident("north", Home(self.folder), client, rounds=ROUNDS, emit=self.emit)

    def emit(self, event: str, **fields: Any) -> None:
        self.events.append(event)

    def ask(self, body: bytes, run: str = RUN) -> tuple[Mapping[str, str], bytes]:
        return self.resident.answer({"run": run, "ask": "1"}, body)

    def files(self) -> dict[str, str]:
        """Everything on the site's disk but the log of its own failures."""
        paths = (p for p in sorted(self.folder.rglob("*")) if p.is_file() and p.name != "errors.log")
        return {str(p.relative_to(self.folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in paths}

    def refuses(self, body: bytes, run: str = RUN) -> str:
        """Why; checks that nothing left and nothing changed."""
        before = self.files()
        head, sent = self.ask(body, run)
        assert sent == b"" and set(head) == {"failed", "fix"}, head
        assert self.files() == before
        assert len(head["failed"]) <= 300 and head["failed"].isprintable()
        return head["failed"]


@pytest.fixture
def hospital(tmp_path: Path) -> Hospital:
    return Hospital(tmp_path)


def message(weights: Weights = START, **facts: Any) -> bytes:
    return wire.encode(AveragingBroadcast(weights), **{**FACTS, **facts})


def bank() -> bytes:
    shared = SharedBank([{}], {f"0/{name}": tensor for name, tensor in START.items()})
    return wire.encode(shared, kind="calibrate", round=ROUNDS, total=ROUNDS)


def finish(hospital: Hospital) -> None:
    for number in (1, 2):
        assert hospital.ask(message(round=number))[1]


def test_an_honest_question_is_answered_and_written_down(hospital: Hospital) -> None:
    head, body = hospital.ask(message())
    assert head == {"run": RUN}
    (line,) = read_lines(hospital.ledger.path)
    assert line["sha256"] == hashlib.sha256(body).hexdigest() and line["kind"] == "update"


def test_the_same_question_gets_the_same_answer_and_both_stand_in_the_ledger(hospital: Hospital) -> None:
    first, second = hospital.ask(message())[1], hospital.ask(message())[1]
    assert first == second
    assert [line["bytes"] for line in read_lines(hospital.ledger.path)] == [len(first)] * 2
    assert verify_ledger(hospital.ledger.path) == 2


def first_of(weights: Weights, change: Any) -> Weights:
    name = next(iter(weights))
    return {**weights, name: change(weights[name].clone())}


def spoilt(tensor: torch.Tensor, value: float) -> torch.Tensor:
    tensor.view(-1)[0] = value
    return tensor


HOSTILE = {
    "nothing": b"",
    "junk": b"\x00\xff" * 50,
    "half a message": message()[:-7],
    "an altered message": message()[:-1] + b"\x01",
    "an update": wire.encode(AveragingUpdate(START, 0.1, {}), **FACTS),
    "an offer": wire.encode(Offer(START), **FACTS),
    "no kind": wire.encode(AveragingBroadcast(START)),
    "a kind of list": message(kind=["round"]),
    "a kind of table": message(kind={"round": 1}),
    "an unknown kind": message(kind="everything"),
    "calibration with a broadcast": message(kind="calibrate", round=ROUNDS),
    "round 0": message(round=0),
    "a round before": message(round=-1),
    "a round beyond the last": message(round=3),
    "a round of text": message(round="1"),
    "half a round": message(round=1.5),
    "a true round": message(round=True),
    "a longer study": message(total=1000),
    "a study of one round": message(round=1, total=1),
    "a study of none": message(total=0),
    "an offer before the last round": message(kind="publish"),
    "an offer at the end of another study": message(kind="publish", round=1, total=1),
    "models before the last round": wire.encode(SharedBank([{}], {}), kind="calibrate", round=1, total=ROUNDS),
    "NaN": message(first_of(START, lambda tensor: spoilt(tensor, float("nan")))),
    "infinity": message(first_of(START, lambda tensor: spoilt(tensor, float("inf")))),
    "another shape": message(first_of(START, lambda tensor: tensor[:1])),
    "another type": message(first_of(START, lambda tensor: tensor.double())),
    "one weight less": message(dict(list(START.items())[1:])),
    "one weight more": message({**START, "spy\x1b[2J": torch.ones(3)}),
    "no weights": message({}),
    "a name of a megabyte": message({**START, "x" * 2**20: torch.ones(1)}),
    "a type of a megabyte": tensorfile.pack({}, {"type": "\n" * 2**20, "fields": {}, **FACTS}),
    "ten gigabytes of header": (10 * 2**30).to_bytes(8, "little") + b"{}",
    "deep nesting": (200_000).to_bytes(8, "little") + b'{"a":' * 40_000,
    "half letters": tensorfile.pack({}, {"type": "x", "fields": {}, **FACTS}).replace(b'"x\\"', b'"\\\\ud800\\"'),
}  # fmt: skip


@pytest.mark.parametrize("trained", [False, True], ids=["before the first round", "after it"])
def test_a_hostile_message_is_refused(hospital: Hospital, trained: bool) -> None:
    if trained:
        hospital.ask(message())
    for name, body in HOSTILE.items():
        assert hospital.refuses(body), name
    if trained:
        assert hospital.ask(message(round=2))[1], "it goes on afterwards"


@pytest.mark.parametrize(
    "run", ["", "fedavg-seed1", "../../etc", "/etc/passwd", "fedavg-seed0/..", "\x00", "x" * 9999]
)
def test_a_run_that_is_not_of_the_study_is_refused(hospital: Hospital, run: str) -> None:
    assert hospital.refuses(message(), run) == "it was asked for a run that is not of the study."


def test_a_site_offers_once_and_only_the_same_question_again(hospital: Hospital) -> None:
    finish(hospital)
    asked = message(kind="publish", round=ROUNDS)
    offer = wire.decode(Offer, hospital.ask(asked)[1])
    assert offer.personal
    other = message(first_of(START, lambda tensor: tensor + 0.5), kind="publish", round=ROUNDS)
    assert "asked again, or too early" in hospital.refuses(other)
    assert hospital.ask(asked)[1], "an answer that was lost is given again"


def test_a_site_tells_once_how_its_cases_fare(hospital: Hospital) -> None:
    finish(hospital)
    assert hospital.ask(bank())[1]
    shared = SharedBank([{}], {f"0/{name}": tensor + 1 for name, tensor in START.items()})
    other = wire.encode(shared, kind="calibrate", round=ROUNDS, total=ROUNDS)
    assert "asked again, or too early" in hospital.refuses(other)


def test_a_failure_here_is_told_in_a_fixed_sentence_without_its_text(
    hospital: Hospital, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*arguments: Any, **named: Any) -> Any:
        raise DataError("/srv/hospital/DOE_JANE.nii.gz is broken.")

    monkeypatch.setattr(Averaging, "local_update", broken)
    told = hospital.refuses(message())
    assert told == "its data could not be read; the site's errors.log says more."


def test_a_site_that_pauses_answers_nothing(hospital: Hospital) -> None:
    (hospital.folder / "paused").touch()
    assert hospital.refuses(message()) == "it pauses."


VALUES = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.lists(st.integers())
)


@settings(max_examples=60)
@given(
    st.fixed_dictionaries({}, optional={"kind": VALUES | st.sampled_from(["publish", "calibrate"]), "round": VALUES,
                                        "total": VALUES, "more": VALUES}),
    st.sampled_from(["AveragingBroadcast", "SharedBank", "Offer", "\ud800"[:0]]),
)  # fmt: skip
def test_no_header_whatever_makes_it_send_or_fall(
    fuzzed: Hospital, header: dict[str, Any], kind: str
) -> None:
    told = {**header, "type": kind, "fields": {}}
    head, body = fuzzed.ask(tensorfile.pack({"weights/a": torch.ones(1)}, told))
    assert body == b"" and head["failed"]
    assert not read_lines(fuzzed.ledger.path)
    json.dumps(dict(head))


@pytest.fixture(scope="module")
def fuzzed(tmp_path_factory: pytest.TempPathFactory) -> Hospital:
    return Hospital(tmp_path_factory.mktemp("fuzzed"))
