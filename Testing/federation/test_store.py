from __future__ import annotations

import errno
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from FedSegCore.errors import ModelFileError, StorageError
from FedSegCore.federation import wire
from FedSegCore.federation.ledger import append_line, read_lines
from FedSegCore.federation.store import ClientStore, ServerStore, Spool
from FedSegCore.tensors.header import read_header
from FedSegCore.tensors.weights import Weights


@dataclass(frozen=True, eq=False)
class State:
    weights: Weights


def state(value: float) -> State:
    return State({"a": torch.full((2,), value)})


def value_of(found: State | None) -> float | None:
    return None if found is None else float(found.weights["a"][0])


def line(number: int, **more: Any) -> dict[str, Any]:
    return {"round": number, "loss": 0.5, **more}


def test_a_site_without_a_state_has_none(tmp_path: Path) -> None:
    assert ClientStore(tmp_path / "none").load(State, 5) is None


def test_a_site_starts_a_round_from_its_newest_state_before_it(tmp_path: Path) -> None:
    store = ClientStore(tmp_path)
    store.save(state(1), 1)
    store.save(state(2), 2)
    assert [value_of(store.load(State, number)) for number in (0, 1, 2, 9)] == [None, 1, 2, 2]


def test_a_site_keeps_the_states_of_its_last_two_rounds(tmp_path: Path) -> None:
    store = ClientStore(tmp_path)
    for number in (1, 2, 5, 6):
        store.save(state(number), number)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["state-5.safetensors", "state-6.safetensors"]


def test_a_round_that_is_repeated_starts_from_the_round_before(tmp_path: Path) -> None:
    store = ClientStore(tmp_path)
    for number in (1, 2, 3):
        store.save(state(number), number)
    assert value_of(store.load(State, 2)) == 2
    store.save(state(33), 3)
    assert value_of(store.load(State, 3)) == 33
    assert value_of(store.load(State, 2)) == 2


def test_half_written_and_foreign_files_are_no_states(tmp_path: Path) -> None:
    store = ClientStore(tmp_path)
    store.save(state(1), 1)
    for name in (".state-2.safetensors.partial", "state-x.safetensors", "state-3.safetensors.bak"):
        (tmp_path / name).write_bytes(b"half")
    assert value_of(store.load(State, 9)) == 1


def test_an_altered_state_is_refused_by_its_name(tmp_path: Path) -> None:
    store = ClientStore(tmp_path)
    store.save(state(1), 1)
    path = tmp_path / "state-1.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(ModelFileError, match=r"state-1\.safetensors was altered"):
        store.load(State, 1)


def test_a_personal_model_is_a_model_file_with_its_header(tmp_path: Path) -> None:
    ClientStore(tmp_path).save_personal({"a": torch.ones(1)}, {"kind": "model", "name": "personal-north"})
    assert read_header(tmp_path / "personal.safetensors")["name"] == "personal-north"


def test_a_server_without_a_checkpoint_starts_anew(tmp_path: Path) -> None:
    assert ServerStore(tmp_path, {}).load(State) is None


def test_a_checkpoint_comes_back_with_its_round(tmp_path: Path) -> None:
    store = ServerStore(tmp_path, {"seed": 3})
    store.save(state(0), 0, {})
    assert store.load(State) is not None
    assert read_lines(store.log) == []
    store.save(state(7), 1, line(1))
    found = store.load(State)
    assert found is not None
    assert (value_of(found[0]), found[1]) == (7, 1)
    assert read_lines(store.log) == [line(1)]


@pytest.mark.parametrize(
    "log", ["", '{"round": 1, "loss": 0.5}\n{"rou', '{"round": 1, "loss": 0.5}\n', "whole", "next", "absent"]
)
def test_the_log_is_mended_to_end_with_the_checkpoints_round(tmp_path: Path, log: str) -> None:
    store = ServerStore(tmp_path, {})
    store.save(state(1), 1, line(1))
    store.save(state(2), 2, line(2))
    if log == "absent":
        store.log.unlink()
    elif log == "next":
        append_line(store.log, line(3))
    elif log != "whole":
        store.log.write_text(log)
    store.load(State)
    expected = [line(2)] if log in ("", "absent") else [line(1), line(2)]
    assert read_lines(store.log) == expected


@pytest.mark.parametrize("fact", ["study", "digest", "method", "seed"])
def test_the_checkpoint_of_another_run_is_refused(tmp_path: Path, fact: str) -> None:
    facts = {"study": "x", "digest": "abc", "method": "fedavg", "seed": 0}
    ServerStore(tmp_path, facts).save(state(1), 1, line(1))
    with pytest.raises(ModelFileError, match=f"a run with {fact} "):
        ServerStore(tmp_path, {**facts, fact: "other"}).load(State)


def test_what_the_bits_depend_on_is_recorded_and_a_change_is_told(tmp_path: Path) -> None:
    then = {"threads": 2, "torch": "2.13.0"}
    store = ServerStore(tmp_path, {"seed": 0, "environment": then})
    store.save(state(1), 1, line(1))
    assert read_header(store.checkpoint)["environment"] == then
    assert store.moved() == []
    assert ServerStore(tmp_path, {"seed": 0, "environment": {**then, "threads": 8}}).moved() == [
        "threads 2 then, 8 now"
    ]


def test_replies_come_back_sorted_by_site_whatever_order_they_arrived_in(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool", State, 1)
    for name, value in (("south", 1), ("north", 2), ("east", 3)):
        spool.add(name, wire.encode(state(value)))
    assert [(name, value_of(one)) for name, one in spool] == [("east", 3), ("north", 2), ("south", 1)]
    spool.close()
    assert not (tmp_path / "spool").exists()


def test_what_came_out_of_the_spool_outlives_it(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool", State, 1)
    spool.add("east", wire.encode(state(3)))
    (kept,) = [one for _, one in spool]
    spool.close()
    assert value_of(kept) == 3


def test_what_a_killed_run_left_in_the_spool_is_thrown_away(tmp_path: Path) -> None:
    (tmp_path / "spool").mkdir()
    (tmp_path / "spool" / "0").write_bytes(b"old")
    assert list(Spool(tmp_path / "spool", State, 1)) == []
    assert list((tmp_path / "spool").iterdir()) == []


def test_a_full_disk_while_spooling_is_a_storage_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    spool = Spool(tmp_path / "spool", State, 1)
    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(StorageError, match="No space left"):
        spool.add("north", b"")
