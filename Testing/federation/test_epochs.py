"""Rounds of several local epochs: a kill at any step costs one epoch, and changes no bit of the end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from FedSegCore.errors import StorageError
from FedSegCore.federation import wire
from FedSegCore.learning import train as training_loop
from FedSegCore.learning.epochs import Epochs
from FedSegCore.learning.flow.settings import FlowSettings
from FedSegCore.learning.train import Training
from FedSegCore.methods import ingredients
from FedSegCore.methods.averaging import Averaging
from FedSegCore.methods.fedmepd import FedMEPD
from FedSegCore.tensors import tensorfile
from Testing.multimodal import federation
from Testing.phantoms import TRAINING, Federation, two_sites

pytestmark = pytest.mark.usefixtures("one_thread")

EPOCHS = 3
THREE = replace(TRAINING, epochs=EPOCHS)
Make = Callable[[Path], Federation]


class Killed(BaseException):
    """Stands for kill -9: nothing catches it but the test."""


@pytest.fixture(autouse=True)
def quick_flow(monkeypatch: pytest.MonkeyPatch) -> None:
    """A few steps of the flow a round."""
    numbers = {"warm_up": 2, "steps": 1, "images": 2, "voxels": 64}
    monkeypatch.setattr(ingredients, "FlowSettings", lambda **keys: FlowSettings(**numbers, **keys))


def averaging(method: Averaging, training: Training = THREE) -> Make:
    """One round of sites a and b, with 2 and 3 steps an epoch."""
    return lambda folder: Federation(
        folder, method, two_sites(training=training, norm="batch", validation=1), rounds=1
    )


def fedmepd(folder: Path) -> Federation:
    """One round of three sites, and of a server that trains too."""
    made = federation(folder, FedMEPD(), training=THREE, rounds=1)
    made.server = replace(made.server, epochs=Epochs(folder / "epochs"))
    return made


METHODS: dict[str, Make] = {
    "fedavg": averaging(Averaging()),
    "IOP-FL's own model": averaging(Averaging(private=("norm",), personal=0.5, select_best=True)),
    "ditto's two trainings": averaging(Averaging(ditto=0.5)),
    "a tuned head": averaging(Averaging(private=("head",), finetune=EPOCHS)),
    "FlowGIN": averaging(Averaging(weighting="modality"), replace(THREE, augment="flow")),
    "FedMEPD": fedmepd,
}


def run(made: Federation) -> None:
    made.finish(made.run())


def count_steps(patch: pytest.MonkeyPatch, *, kill_at: int = -1) -> list[int]:
    """Count the optimizer's steps; the one numbered `kill_at` is never made."""
    count, real = [0], training_loop.step

    def step(*positional: Any, **options: Any) -> Any:
        count[0] += 1
        if count[0] == kill_at:
            raise Killed
        return real(*positional, **options)

    patch.setattr(training_loop, "step", step)
    return count


def results(folder: Path) -> dict[str, bytes]:
    """Every state, own model and the checkpoint's tensors, by path."""
    checkpoint = tensorfile.load(folder / "checkpoint.safetensors")[1]
    found = {str(p.relative_to(folder)): p.read_bytes() for p in folder.glob("sites/*/*.safetensors")}
    assert len(found) >= 2, sorted(found)
    return {**found, "checkpoint": tensorfile.pack(checkpoint, {})}


def steps_of(make: Make, folder: Path, *, kill_at: int = -1) -> int:
    """How many steps a run makes, or makes before it is killed."""
    with pytest.MonkeyPatch.context() as patch:
        count = count_steps(patch, kill_at=kill_at)
        if kill_at < 0:
            run(make(folder))
            return count[0]
        with pytest.raises(Killed):
            run(make(folder))
        return count[0] - 1


def assert_a_kill_is_cheap(name: str, folder: Path, whole: Path, *, at: int, steps: int) -> None:
    """At step `at` of `steps`: the run goes on to the same end, and no site does more than an epoch again."""
    before = steps_of(METHODS[name], folder, kill_at=at)
    repeated = before + steps_of(METHODS[name], folder) - steps
    assert results(folder) == results(whole), f"killed at step {at}"
    assert 0 <= repeated < 3, f"killed at step {at}: {repeated} steps were made again"


MIDDLE = {"fedavg": 11, "ditto's two trainings": 26, "FlowGIN": 11, "FedMEPD": 31}
"""The second step of epoch 2 of 3 of the run's last training; FedMEPD's is at the server."""


@pytest.mark.parametrize("name", MIDDLE)
def test_a_kill_within_epoch_2_of_3_costs_that_epoch_and_changes_nothing(name: str, tmp_path: Path) -> None:
    steps = steps_of(METHODS[name], tmp_path / "whole")
    assert_a_kill_is_cheap(name, tmp_path / "cut", tmp_path / "whole", at=MIDDLE[name], steps=steps)


@pytest.mark.slow
@pytest.mark.parametrize("name", METHODS)
def test_a_kill_at_any_step_costs_at_most_an_epoch_and_changes_nothing(name: str, tmp_path: Path) -> None:
    steps = steps_of(METHODS[name], tmp_path / "whole")
    for at in range(1, steps + 1):
        assert_a_kill_is_cheap(name, tmp_path / str(at), tmp_path / "whole", at=at, steps=steps)


def test_epochs_that_are_kept_go_with_the_next_question(tmp_path: Path) -> None:
    made = METHODS["fedavg"](tmp_path)
    run(made)
    assert not list(tmp_path.rglob("epochs/*")), "the question after the last round has no epochs"


def test_another_message_of_the_same_round_starts_from_its_own_weights(tmp_path: Path) -> None:
    """A server that went on with other sites asks anew, and the epochs of its first question are not its own."""
    make = METHODS["fedavg"]
    made, other = make(tmp_path / "one"), make(tmp_path / "other")
    made.run()
    _, _, first = made.wire.down[0]
    header, tensors = tensorfile.unpack(first)
    changed = tensorfile.pack({name: tensor * 0.9 for name, tensor in tensors.items() if tensor.is_floating_point()}
                              | {n: t for n, t in tensors.items() if not t.is_floating_point()}, header)  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        count_steps(patch, kill_at=3)
        with pytest.raises(Killed):
            other.clients["a"].handle(first)
    fresh = make(tmp_path / "fresh").clients["a"].handle(changed)
    assert other.clients["a"].handle(changed) == fresh
    assert wire.type_of(fresh) == "AveragingUpdate"


def test_a_damaged_epoch_is_trained_again(tmp_path: Path) -> None:
    make = METHODS["fedavg"]
    whole = steps_of(make, tmp_path / "whole")
    steps_of(make, tmp_path / "cut", kill_at=3)
    (kept,) = tmp_path.glob("cut/sites/a/epochs/*")
    kept.write_bytes(kept.read_bytes()[:-3])
    assert steps_of(make, tmp_path / "cut") == whole
    assert results(tmp_path / "cut") == results(tmp_path / "whole")


def test_rounds_of_one_epoch_keep_nothing_between(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Path] = []
    real = tensorfile.write_atomic
    monkeypatch.setattr(
        tensorfile, "write_atomic", lambda path, data: (seen.append(path), real(path, data))[1]
    )
    run(averaging(Averaging(ditto=0.5), TRAINING)(tmp_path))
    assert {path.name for path in seen} == {"personal.safetensors"}


def test_a_full_disk_at_an_epochs_end_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, data: bytes) -> None:
        raise StorageError(path, OSError(28, "No space left on device"))

    monkeypatch.setattr(tensorfile, "write_atomic", full)
    with pytest.raises(StorageError, match="No space left"):
        METHODS["fedavg"](tmp_path).run()
