from __future__ import annotations

import errno
import hashlib
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch

from FedSegCore.errors import InputError, StorageError
from FedSegCore.federation import ledger, wire
from FedSegCore.federation.joining import Joining
from FedSegCore.federation.ledger import Ledger, append_line, drop_unfinished_line, ledger_line, read_lines
from FedSegCore.methods.averaging import Averaging, AveragingUpdate
from FedSegCore.methods.registry import METHODS
from Testing.phantoms import Federation, two_sites

pytestmark = pytest.mark.usefixtures("one_thread")
UPDATE = AveragingUpdate({"kernel": torch.zeros(2, 3), "bias": torch.ones(2)}, 0.5, {"Liver": 0.25})


def test_a_line_tells_names_shapes_numbers_size_and_hash_of_the_very_bytes(tmp_path: Path) -> None:
    data = wire.encode(UPDATE)
    Ledger(tmp_path / "ledger.jsonl").record(data, site="north", round_number=3, kind="update")
    assert read_lines(tmp_path / "ledger.jsonl") == [
        {
            "round": 3,
            "site": "north",
            "kind": "update",
            "tensors": {"weights/bias": [2], "weights/kernel": [2, 3]},
            "scalars": {"dice.Liver": 0.25, "loss": 0.5},
            "bytes": len(data),
            "sha256": hashlib.sha256(data).hexdigest(),
            "previous": "",
        }
    ]


def test_nested_tables_are_told_value_by_value() -> None:
    passport = {"spacing": {"counts": [1, 2]}, "empty": {}}
    joining = Joining("north", ("CT", "MR"), ("Liver",), {"Liver": (1, 3)}, 3, "CC0", passport)
    line = ledger_line(wire.encode(joining), site="north", round_number=0, kind="join")
    assert line["tensors"] == {}
    assert line["scalars"] == {
        "labels": ["Liver"],
        "licence": "CC0",
        "modalities": ["CT", "MR"],
        "name": "north",
        "num_cases": 3,
        "passport.spacing.counts": [1, 2],
        "values.Liver": [1, 3],
    }


@pytest.mark.parametrize("name", ["fedavg", "segviz", "iopfl", "local"])
def test_the_ledgers_lines_are_the_bytes_on_the_wire(tmp_path: Path, name: str) -> None:
    entry = METHODS[name]
    run = Federation(tmp_path, entry.method, two_sites(publish=True, norm=entry.norm, validation=1))
    run.finish(run.run())
    lines = read_lines(tmp_path / "ledger.jsonl")
    assert [(line["site"], line["round"], line["kind"]) for line in lines] == [
        ("a", 1, "update"),
        ("b", 1, "update"),
        ("a", 2, "update"),
        ("b", 2, "update"),
        ("a", 2, "publish"),
        ("b", 2, "publish"),
    ]
    heard = [
        (site, number, len(data), hashlib.sha256(data).hexdigest()) for site, number, data in run.wire.up
    ]
    assert [(line["site"], line["round"], line["bytes"], line["sha256"]) for line in lines] == heard


def test_the_round_log_counts_the_same_bytes(tmp_path: Path) -> None:
    run = Federation(tmp_path, Averaging(), two_sites())
    run.run()
    for line in read_lines(run.store.log):
        number = line["round"]
        assert line["bytes_up"] == sum(len(data) for _, sent, data in run.wire.up if sent == number)
        assert line["bytes_down"] == sum(len(data) for _, sent, data in run.wire.down if sent == number)


def test_a_message_whose_line_cannot_be_written_does_not_leave(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Federation(tmp_path, Averaging(), two_sites())

    def full(ledger: Ledger, *_: object, **__: object) -> None:
        raise StorageError(ledger.path, OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))

    monkeypatch.setattr(Ledger, "record", full)
    with pytest.raises(StorageError):
        run.run()
    assert run.wire.up == []


def test_an_unfinished_last_line_is_dropped_when_the_ledger_is_opened(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    append_line(path, {"round": 1})
    with path.open("a") as file:
        file.write('{"round": 2, "si')
    Ledger(path).record(wire.encode(UPDATE), site="north", round_number=2, kind="update")
    assert [line["round"] for line in read_lines(path)] == [1, 2]


def test_half_a_line_of_a_killed_worker_does_not_spoil_the_next_ones(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    mine = Ledger(path)
    append_line(path, {"round": 1})
    with path.open("a") as file:
        file.write('{"round": 2, "si')
    mine.record(wire.encode(UPDATE), site="north", round_number=2, kind="update")
    assert [line["round"] for line in read_lines(path)] == [1, 2]


def test_a_line_that_another_process_is_writing_is_waited_for_and_kept(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    with ledger._alone(path) as file:
        file.write(b'{"site": "nor')
        file.flush()
        opened = threading.Thread(target=Ledger, args=(path,))
        appended = threading.Thread(target=append_line, args=(path, {"site": "south"}))
        opened.start(), appended.start()
        opened.join(0.2)
        assert opened.is_alive() and appended.is_alive()
        file.write(b'th"}\n')
    opened.join(), appended.join()
    assert [line["site"] for line in read_lines(path)] == ["north", "south"]


HOLDER = """
import sys, time
from pathlib import Path
from FedSegCore.federation.ledger import _alone
with _alone(Path(sys.argv[1])) as file:
    file.write(b'{"site": "nor')
    file.flush()
    print("half", flush=True)
    time.sleep(60)
"""


def test_a_worker_killed_while_it_writes_holds_nobody_up(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    with subprocess.Popen([sys.executable, "-c", HOLDER, path], stdout=subprocess.PIPE) as worker:
        assert worker.stdout is not None and worker.stdout.readline()
        waiting = threading.Thread(target=append_line, args=(path, {"site": "south"}))
        waiting.start()
        worker.kill()
    waiting.join(10)
    assert not waiting.is_alive() and read_lines(path) == [{"site": "south"}]


WRITER = """
import sys
from pathlib import Path
from FedSegCore.federation.ledger import append_line
for number in range(40):
    append_line(Path(sys.argv[1]), {"site": sys.argv[2], "round": number, "names": ["weight"] * 2000})
"""


def test_lines_of_several_processes_are_all_whole_and_in_order(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, path, site]) for site in "abc"]
    assert [writer.wait(60) for writer in writers] == [0, 0, 0]
    lines = read_lines(path)
    for site in "abc":
        assert [line["round"] for line in lines if line["site"] == site] == list(range(40))


@pytest.mark.parametrize(
    "damaged", [b'{"round": 1, "site"', b"\x00\x00\x00\x00", b"\xff\xfe", b"[1]", b"3"], ids=repr
)
def test_a_damaged_line_is_named_with_its_file_and_number(tmp_path: Path, damaged: bytes) -> None:
    path = tmp_path / "ledger.jsonl"
    path.write_bytes(b'{"round": 1}\n' + damaged + b'\n{"round": 2}\n')
    with pytest.raises(InputError, match=r"ledger\.jsonl, line 2: expected one JSON object") as caught:
        read_lines(path)
    assert "take that line out" in caught.value.fix and "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "half a line", "whole\n", "whole\nhalf", "\n"])
def test_only_what_stands_after_the_last_lines_end_is_dropped(tmp_path: Path, text: str) -> None:
    path = tmp_path / "log"
    path.write_text(text)
    drop_unfinished_line(path)
    assert path.read_text() == text[: text.rfind("\n") + 1]


def test_lines_may_hold_any_letter(tmp_path: Path) -> None:
    line = {"label": "Leber \u2028 \x85 é 肝"}
    append_line(tmp_path / "log", line)
    append_line(tmp_path / "log", line)
    assert read_lines(tmp_path / "log") == [line, line]


def test_no_file_is_no_lines(tmp_path: Path) -> None:
    assert read_lines(tmp_path / "none") == []


def test_a_full_disk_is_a_storage_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match="No space left"):
        append_line(tmp_path / "log", {"round": 1})


def test_a_disk_that_knows_no_locks_is_written_to_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unknown(*_: object) -> None:
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr("FedSegCore.federation.ledger._lock", lambda *_, held: unknown())
    path = tmp_path / "ledger.jsonl"
    path.write_bytes(b'{"round": 1}\n{"rou')
    Ledger(path)
    append_line(path, {"round": 2})
    assert read_lines(path) == [{"round": 1}, {"round": 2}]


def test_a_ledger_that_cannot_be_opened_is_a_storage_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, held: bool) -> None:
        raise OSError(errno.EIO, "Input/output error")

    path = tmp_path / "ledger.jsonl"
    path.write_bytes(b"{}\n")
    monkeypatch.setattr("FedSegCore.federation.ledger._lock", broken)
    with pytest.raises(StorageError, match=r"ledger\.jsonl"):
        Ledger(path)


def test_every_line_is_one_json_object(tmp_path: Path) -> None:
    run = Federation(tmp_path, Averaging(), two_sites(), rounds=1)
    run.run()
    for text in (tmp_path / "ledger.jsonl").read_text().splitlines():
        assert isinstance(json.loads(text), dict)
