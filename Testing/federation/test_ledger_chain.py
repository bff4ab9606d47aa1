"""The chain of a ledger: whatever is done to a line afterwards is seen."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from FedSegCore.errors import InputError
from FedSegCore.federation import wire
from FedSegCore.federation.calibration import BankCounts
from FedSegCore.federation.ledger import Ledger, read_lines, verify_ledger
from Testing.command import fedseg, refused

Lines = list[bytes]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A ledger of four messages."""
    ledger = Ledger(tmp_path / "ledger.jsonl")
    for number in range(1, 5):
        record(ledger, number)
    return ledger.path


def record(ledger: Ledger, number: int) -> dict[str, object]:
    return ledger.record(
        wire.encode(BankCounts([number], [0])), site="north", round_number=number, kind="update"
    )


def test_a_line_names_the_bytes_of_the_line_before_it(path: Path) -> None:
    raw = path.read_bytes().splitlines(keepends=True)
    named = ["", *(hashlib.sha256(line).hexdigest() for line in raw[:-1])]
    assert [line["previous"] for line in read_lines(path)] == named


def test_what_record_returns_is_the_line_as_it_stands(path: Path) -> None:
    assert record(Ledger(path), 5) == read_lines(path)[-1]


def test_an_untouched_ledger_is_whole(path: Path) -> None:
    assert verify_ledger(path) == 4


def test_a_ledger_of_nothing_is_whole(tmp_path: Path) -> None:
    (tmp_path / "ledger.jsonl").touch()
    assert verify_ledger(tmp_path / "ledger.jsonl") == 0


def altered(lines: Lines) -> Lines:
    return [lines[0], lines[1].replace(b'"north"', b'"south"'), *lines[2:]]


def altered_and_named_again(lines: Lines) -> Lines:
    """Whoever alters a line can name it anew in the next; the one after that then gives it away."""
    changed = altered(lines)
    third = json.loads(changed[2])
    third["previous"] = hashlib.sha256(changed[1]).hexdigest()
    return [*changed[:2], json.dumps(third).encode() + b"\n", changed[3]]


@pytest.mark.parametrize(
    ("touch", "broken"),
    [
        (altered, 3),
        (altered_and_named_again, 4),
        (lambda lines: [lines[0], *lines[2:]], 2),
        (lambda lines: lines[1:], 1),
        (lambda lines: [lines[0], lines[2], lines[1], lines[3]], 2),
        (lambda lines: [*lines[:2], lines[1], *lines[2:]], 3),
        (lambda lines: [*lines, json.dumps({"round": 5}).encode() + b"\n"], 5),
        (lambda lines: [lines[0], b"\n", *lines[1:]], 2),
        (lambda lines: [lines[0], lines[1].replace(b" ", b"  ", 1), *lines[2:]], 3),
    ],
    ids=["altered", "renamed", "removed", "first removed", "swapped", "repeated", "added", "empty", "spaced"],
)
def test_the_first_line_that_breaks_the_chain_is_named(
    path: Path, touch: Callable[[Lines], Lines], broken: int
) -> None:
    path.write_bytes(b"".join(touch(path.read_bytes().splitlines(keepends=True))))
    with pytest.raises(InputError, match=rf"ledger\.jsonl, line {broken}: "):
        verify_ledger(path)


def test_half_a_line_after_a_crash_breaks_nothing_before_or_after_it(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b'{"round": 5, "si')
    assert verify_ledger(path) == 4
    record(Ledger(path), 5)
    assert verify_ledger(path) == 5


def test_lines_longer_than_a_piece_are_chained_whole(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.jsonl")
    for number in (30_000, 1, 50_000):
        data = wire.encode(BankCounts(list(range(number)), []))
        ledger.record(data, site="north", round_number=1, kind="update")
    assert verify_ledger(ledger.path) == 3


def test_several_writers_make_one_chain(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.jsonl")
    writers = [
        threading.Thread(target=lambda: [record(ledger, number) for number in range(10)]) for _ in range(3)
    ]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert verify_ledger(ledger.path) == 30


def test_info_says_that_a_ledger_is_whole_or_names_the_line(path: Path) -> None:
    assert fedseg("info", path, "--json").result["summary"]["chain"] == "4 lines, whole"
    path.write_bytes(path.read_bytes().replace(b'"round": 2', b'"round": 1'))
    assert "line 3: the chain breaks here" in refused(fedseg("info", path))
