"""A disk that is full at any write, at either end: one sentence, exit code 2, and with space the same end."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from FedSegCore.errors import StorageError
from FedSegCore.federation import wire
from FedSegCore.federation.client import Client
from FedSegCore.federation.ledger import Ledger, verify_ledger
from FedSegCore.federation.store import ClientStore
from FedSegCore.hospital.home import Home
from FedSegCore.hospital.resident import Resident
from FedSegCore.methods.averaging import Averaging, AveragingBroadcast
from FedSegCore.tensors import tensorfile
from FedSegCore.tensors import weights as algebra
from Testing.coordinator.doors import FakeSuperLink, House, joining
from Testing.phantoms import TRAINING, Federation, make_site, small_net, two_sites

pytestmark = pytest.mark.usefixtures("one_thread")

METHOD = Averaging(private=("norm",), personal=0.5)
START = algebra.of(small_net())
TWO_EPOCHS = replace(TRAINING, epochs=2)


@contextmanager
def disk(full_at: int = -1) -> Iterator[list[int]]:
    """A disk that takes nothing of the write numbered `full_at`, and all others; counts writes."""
    count = [0]

    def filling(real: Callable[..., Any]) -> Callable[..., Any]:
        def write(*arguments: Any) -> Any:
            count[0] += 1
            if count[0] == full_at:
                raise OSError(errno.ENOSPC, "No space left on device")
            return real(*arguments)

        return write

    with pytest.MonkeyPatch.context() as patch:
        # Files that must last are seen onto the disk; replies that wait for their turn are only written.
        patch.setattr(os, "fsync", filling(os.fsync))
        patch.setattr(Path, "write_bytes", filling(Path.write_bytes))
        yield count


def assert_told(error: StorageError) -> None:
    """In one sentence, as bad input is."""
    assert error.exit_code == 2
    assert "could not be written: No space left on device." in error.message and "\n" not in error.message
    assert "Free some space" in error.fix


def contents(folder: Path) -> dict[str, bytes]:
    """Every file but logs and ledgers, which tell of what was repeated; of checkpoints the tensors."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.suffix != ".jsonl":
            data = path.read_bytes()
            if path.name == "checkpoint.safetensors":
                data = tensorfile.pack(tensorfile.unpack(data)[1], {})
            found[str(path.relative_to(folder))] = data
    return found


def assert_every_full_disk_is_survived(
    run: Callable[[Path], None], folder: Path, *, least: int, every: int = 1
) -> None:
    """Let a run find the disk full at each of its writes, make room, run it again, and compare."""
    with disk() as count:
        run(folder / "whole")
    writes, whole = count[0], contents(folder / "whole")
    assert writes >= least
    for at in range(1, writes + 1, every):
        again = folder / str(at)
        with disk(at), pytest.raises(StorageError) as caught:
            run(again)
        assert_told(caught.value)
        run(again)
        assert contents(again) == whole, f"full at write {at} of {writes}"


def study(folder: Path) -> None:
    """A round of two sites in one process, and the exchange after it."""
    made = Federation(folder, METHOD, two_sites(norm="batch"), rounds=1)
    made.finish(made.run())


def hospital(folder: Path) -> None:
    """A resident that is asked twice, with rounds of two epochs."""
    folder.mkdir(exist_ok=True)
    site, ledger = make_site("north", training=TWO_EPOCHS), Ledger(folder / "ledger.jsonl")

    def client(run: str) -> Client:
        store = ClientStore(folder / "runs" / run / "sites" / "north")
        return Client(METHOD, site, seed=0, store=store, ledger=ledger, header={}, rounds=2)

    resident = Resident("north", Home(folder), client, rounds=2, emit=lambda event, **fields: None)
    shared = METHOD._shared(START, site.model)
    for number in (1, 2):
        asked = wire.encode(AveragingBroadcast(shared), kind="round", round=number, total=2)
        head, body = resident.answer({"run": "r", "ask": str(number)}, asked)
        assert body, head
    assert verify_ledger(ledger.path) >= 2


def test_a_study_survives_a_disk_that_is_full_at_every_fourth_write(tmp_path: Path) -> None:
    assert_every_full_disk_is_survived(study, tmp_path, least=10, every=4)


@pytest.mark.slow
def test_a_study_survives_a_disk_that_is_full_at_any_write(tmp_path: Path) -> None:
    assert_every_full_disk_is_survived(study, tmp_path, least=10)


def test_a_hospital_survives_a_disk_that_is_full_at_any_write(tmp_path: Path) -> None:
    assert_every_full_disk_is_survived(hospital, tmp_path, least=10)


def test_a_site_can_enrol_and_join_after_the_coordinators_disk_was_full(
    tmp_path: Path, link: FakeSuperLink
) -> None:
    """What only shows how the study goes may be missing meanwhile; what it cannot do without is told."""
    told = 0
    for at in range(1, 8):
        (tmp_path / str(at)).mkdir()
        house = House(tmp_path / str(at), link)
        asked = {"site": "south", "token": "token of south", "engine_key": house.south.engine_key}
        with disk(at):
            try:
                house.hub.enrol(asked)
                house.hub.join("south", joining("south"))
            except StorageError as error:
                assert_told(error)
                told += 1
        house.hub.enrol(asked)
        house.hub.join("south", joining("south"))
        assert set(house.roster.joined()) == {"south"}
    assert told == 3, "the entry when it enrols, its word and its entry when it joins"
