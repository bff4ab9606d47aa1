"""The one question about published models: what a site answers, and what the server believes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from FedSegCore.errors import SiteError
from FedSegCore.federation import wire
from FedSegCore.federation.calibration import KIND, BankCounts, SharedBank, ask
from FedSegCore.federation.client import Client
from FedSegCore.federation.ledger import Ledger
from FedSegCore.federation.method import ClientInfo, Round
from FedSegCore.federation.store import ClientStore
from FedSegCore.methods.averaging import Averaging
from Testing.phantoms import make_site

END = Round(3, 3)
BANK = SharedBank([{"name": "global"}], {"0/weight": torch.zeros(2)})


@dataclass
class Line:
    """A transport of one site, whose reply is made by a function."""

    reply: Callable[[bytes], bytes | SiteError]

    def clients(self) -> list[ClientInfo]:
        return [ClientInfo("a", ("CT",), ("Liver",), 9)]

    def exchange(self, outbox: Any, round: Round) -> Iterator[tuple[ClientInfo, bytes | SiteError]]:
        client = self.clients()[0]
        yield client, self.reply(outbox(client))

    def close(self) -> None: ...


def client(folder: Path, counts: BankCounts | None = None) -> Client:
    told = counts or BankCounts([1, 2], [0, 3])
    return Client(Averaging(), make_site("a"), seed=0, store=ClientStore(folder), ledger=Ledger(folder / "ledger"),
                  header={}, survey=lambda bank, site: told)  # fmt: skip


def question(bank: SharedBank = BANK, round: Round = END) -> bytes:
    return wire.encode(bank, kind=KIND, round=round.number, total=round.total)


def asked(reply: Callable[[bytes], bytes | SiteError]) -> tuple[list[BankCounts], list[str]]:
    told: list[str] = []
    found = ask(
        Line(reply), BANK, END, bins=2, most=8, emit=lambda event, **fields: told.append(fields["message"])
    )
    return found, told


def test_a_site_answers_and_its_ledger_tells_of_it(tmp_path: Path) -> None:
    found, told = asked(client(tmp_path).handle)
    assert found == [BankCounts([1, 2], [0, 3])] and not told
    assert KIND in (tmp_path / "ledger").read_text()


def test_the_same_question_is_answered_again_after_an_interruption_another_one_is_not(tmp_path: Path) -> None:
    first = client(tmp_path).handle(question())
    assert client(tmp_path).handle(question()) == first
    other = SharedBank(BANK.headers, {"0/weight": torch.ones(2)})
    with pytest.raises(SiteError, match="asked again, or too early"):
        client(tmp_path).handle(question(other))


def test_a_question_before_the_last_round_is_not_answered(tmp_path: Path) -> None:
    with pytest.raises(SiteError, match="asked again, or too early"):
        client(tmp_path).handle(question(round=Round(1, 3)))


def test_a_site_without_a_survey_does_not_answer(tmp_path: Path) -> None:
    site = client(tmp_path)
    site.survey = None
    with pytest.raises(SiteError, match="asks for nothing"):
        site.handle(question())


@pytest.mark.parametrize(
    "counts",
    [
        BankCounts([1], [0]),
        BankCounts([1, 2, 3], [0, 0, 0]),
        BankCounts([-1, 2], [0, 0]),
        BankCounts([9, 0], [0, 0]),
    ],
    ids=["few bins", "many bins", "negative", "more than asked about"],
)
def test_counts_that_cannot_be_are_told_and_left_out(counts: BankCounts) -> None:
    found, told = asked(lambda message: wire.encode(counts))
    assert found == [] and len(told) == 1 and "without a" in told[0]


def test_a_site_that_fails_is_told_and_left_out() -> None:
    found, told = asked(lambda message: SiteError("it is gone.", "Mend it.", site="a", round_number=3))
    assert found == [] and "it is gone" in told[0]
