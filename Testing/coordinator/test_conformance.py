"""A study in one process and the same study across hospitals end in the same bits: the test of the pinned engine."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from FedSegCore.federation.ledger import read_lines, verify_ledger
from FedSegCore.tensors import tensorfile
from Testing import command
from Testing.command import FEW_STEPS, SmallSite, fedseg
from Testing.hospitals import Hospitals, write_study


@pytest.fixture
def hospitals(tmp_path: Path) -> Iterator[Hospitals]:
    made = Hospitals(tmp_path, tmp_path / "study.toml")
    yield made
    made.stop()


def simulate(study: Path, out: Path) -> None:
    done = fedseg("simulate", study, "--out", out, "--json")
    assert done.code == 0, done


def models(out: Path) -> dict[str, str]:
    """The published models by their place, each with the hash of its file."""
    found = sorted(path for path in out.rglob("*.safetensors") if path.parent.name == "models")
    return {str(path.relative_to(out)): hashlib.sha256(path.read_bytes()).hexdigest() for path in found}


def states(out: Path) -> dict[str, str]:
    """The server's last state of each run."""
    return {
        str(path.parent.relative_to(out)): hashlib.sha256(_tensors(path)).hexdigest()
        for path in sorted(out.rglob("checkpoint.safetensors"))
    }


def _tensors(path: Path) -> bytes:
    _, tensors = tensorfile.load(path)
    return b"".join(
        name.encode() + tensor.contiguous().numpy().tobytes() for name, tensor in sorted(tensors.items())
    )


def run_both(hospitals: Hospitals, names: list[str], *more: str) -> Path:
    """The study across hospitals and in one process; returns the simulation's folder."""
    hospitals.serve()
    for name in names:
        hospitals.join(name, *more)
    simulate(hospitals.study, hospitals.folder / "simulated")
    hospitals.finish()
    return hospitals.folder / "simulated"


def test_averaging_methods_end_in_the_same_bits_and_both_ledgers_agree(hospitals: Hospitals) -> None:
    partial = {"north": 'labels = ["Liver"]\npublish_personal = true', "south": "publish_personal = true"}
    write_study(hospitals.folder, partial, methods=["fedgin", "segviz"], more='outside_models = ["global"]')
    simulated = run_both(hospitals, ["north", "south"], "--publish-personal")
    assert states(hospitals.out) == states(simulated)
    assert models(hospitals.out) == models(simulated)
    come = [
        line
        for run in ("fedgin", "segviz")
        for line in read_lines(hospitals.out / f"runs/{run}-seed0/ledger.jsonl")
    ]
    for name in ("north", "south"):
        home = hospitals.home(name)
        left = [line["sha256"] for line in read_lines(home / "ledger.jsonl") if line["kind"] != "join"]
        assert left == [line["sha256"] for line in come if line["site"] == name]
        assert verify_ledger(home / "ledger.jsonl") == len(left) + 1
        assert (home / "report.html").is_file() and (home / "scores.csv").read_text().count(name) > 0
        assert models(home).items() >= models(hospitals.out).items()


@pytest.mark.slow
def test_personal_models_and_calibration_end_in_the_same_bits(hospitals: Hospitals) -> None:
    write_study(
        hospitals.folder, {"north": "publish_personal = true", "south": "publish_personal = true"},
        methods=["iopfl", "fedbn", "ditto", "local"], more='outside_models = ["global"]',
    )  # fmt: skip
    simulated = run_both(hospitals, ["north", "south"], "--publish-personal")
    assert states(hospitals.out) == states(simulated)
    assert models(hospitals.out) == models(simulated)


@pytest.mark.slow
def test_the_methods_that_others_are_compared_with_end_in_the_same_bits(hospitals: Hospitals) -> None:
    write_study(
        hospitals.folder, {"north": "publish_personal = true", "south": "publish_personal = true"},
        methods=["fedavg", "fedprox", "fedper"], more='outside_models = ["global"]',
    )  # fmt: skip
    simulated = run_both(hospitals, ["north", "south"], "--publish-personal")
    assert len(states(hospitals.out)) == 3
    assert states(hospitals.out) == states(simulated)
    assert models(hospitals.out) == models(simulated)


@pytest.mark.slow
def test_a_server_that_trains_ends_in_the_same_bits(hospitals: Hospitals) -> None:
    both, gives = "t1+flair", {"publish_personal": True}
    sites = [
        SmallSite("center", both, keys={"role": "server"}),
        SmallSite("full", both, keys=gives),
        SmallSite("mono", both, keys={"modalities": ["FLAIR"], **gives}),
        SmallSite("far", both, cases=1, keys={"role": "outside"}),
    ]
    options = "\n[method_options]\nanchors = 2\nwarm_up = 0\npatience = 1\n"
    rest = FEW_STEPS.replace("[network]", '[network]\nkind = "multiencoder"') + options
    hospitals.study = command.write_study(hospitals.folder, sites, head='methods = ["fedmepd"]', rest=rest)
    simulated = run_both(hospitals, ["full", "mono"], "--publish-personal")
    assert states(hospitals.out) == states(simulated)
    assert models(hospitals.out) == models(simulated)
