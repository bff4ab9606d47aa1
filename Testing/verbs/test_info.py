from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest
import safetensors.numpy

from FedSegCore import installation
from FedSegCore.installation import REQUIRED
from Testing.command import Finished, fedseg, refused


def facts(file: Path) -> dict[str, object]:
    outcome = fedseg("info", file, "--json")
    assert outcome.code == 0, outcome
    found: dict[str, object] = outcome.result["summary"]
    return found


def test_a_model_tells_what_a_user_must_know(finished: Finished) -> None:
    found = facts(finished.model)
    assert found["kind"] == "model" and found["method"] == "fedgin" and found["study"] == "small"
    assert found["labels"] == [["Liver", 1], ["Kidney", 2]] and "Research use only" in str(found["use"])
    assert found["numbers"] and found["bytes"] == finished.model.stat().st_size
    text = fedseg("info", finished.model).out
    assert "Liver" in text and "CC0 1.0" in text


def test_without_a_file_the_installation_is_told() -> None:
    outcome = fedseg("info", "--json")
    found = outcome.result["summary"]
    assert outcome.code == 0 and "path" not in outcome.result
    assert found["lacking"] == [] and set(found["packages"]) == set(REQUIRED)
    assert str(found["device"]).startswith(("cpu (", "cuda ("))


@pytest.mark.parametrize("version", [None, "2.5.1", "1.99"])
def test_a_package_that_is_missing_or_old_is_told_with_the_version_that_serves(
    version: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(installation, "_version", lambda name: version if name == "torch" else "99.0")
    monkeypatch.setattr(installation, "_device", lambda: "cpu")
    assert installation.describe_installation()["lacking"] == ["torch>=2.6"]


def test_the_packages_are_those_of_pyproject() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    assert project["dependencies"] == [f"{name}>={low}" for name, low in REQUIRED.items()]


def test_a_checkpoint_tells_its_round_and_surroundings(finished: Finished) -> None:
    found = facts(finished.out / "checkpoint.safetensors")
    assert found["kind"] == "checkpoint" and found["round"] == 2 and found["environment"]


def test_a_study_tells_its_sites_and_a_dataset_its_cases(finished: Finished) -> None:
    assert facts(finished.study)["sites"] == ["ct (member)", "mr (member)", "away (outside)"]
    dataset = facts(finished.study.parent / "mr")
    assert (dataset["kind"], dataset["training"], dataset["test"]) == ("dataset", 3, 1)
    assert facts(finished.study.parent / "mr" / "dataset.json") == dataset


def test_a_segmentation_tells_its_structures_and_an_image_its_grid(
    finished: Finished, tmp_path: Path
) -> None:
    assert facts(finished.scan)["kind"] == "image" and facts(finished.scan)["spacing_mm"] == [2.0, 2.0, 2.0]
    for name in ("found.nii.gz", "found.seg.nrrd"):
        image = f"CT={finished.scan}"
        assert fedseg("segment", "--image", image, "--model", finished.model, "-o", tmp_path / name).code == 0
        found = facts(tmp_path / name)
        assert found["kind"] == "segmentation" and found["structures"] == {"Liver": [1], "Kidney": [2]}
        assert found["slices"] == "none, 3-D" and found["shape"] == facts(finished.scan)["shape"]


def test_a_study_with_dates_in_it_is_told_as_text(tmp_path: Path) -> None:
    study = tmp_path / "study.toml"
    study.write_text('name = "a"\nseed = 2020-01-01\nrounds = nan\n')
    assert facts(study)["seed"] == "2020-01-01"
    assert "2020-01-01" in fedseg("info", study).out


def test_files_that_fedseg_did_not_write_are_refused_in_one_sentence(
    finished: Finished, tmp_path: Path
) -> None:
    foreign = {
        "rounds.jsonl": (finished.out / "rounds.jsonl").read_bytes(),
        "empty": b"",
        "short": b"\x01\x02",
        "junk": bytes(range(256)) * 20,
        "half.safetensors": finished.model.read_bytes()[:5000],
        "study.toml": bytes(range(256)),
        "table.toml": b"site = 3",
        "sites.toml": b"site = [1, 2]",
        "other.safetensors": safetensors.numpy.save({}, {"format": "pt"}),
        "damaged.safetensors": _with_tensor_entry({"data_offsets": [0, 0]}, finished.model),
    }
    for name, data in foreign.items():
        (tmp_path / name).write_bytes(data)
        assert name in refused(fedseg("info", tmp_path / name))
    assert "dataset.json" in refused(fedseg("info", tmp_path))


def _with_tensor_entry(entry: dict[str, object], model: Path) -> bytes:
    """A file whose index has one tensor more, without values."""
    data = model.read_bytes()
    length = int.from_bytes(data[:8], "little")
    text = json.dumps({**json.loads(data[8 : 8 + length]), "more": entry}).encode()
    return len(text).to_bytes(8, "little") + text + data[8 + length :]


@pytest.mark.parametrize("name", ["checkpoint.safetensors", "sites/ct/state-2.safetensors"])
def test_only_models_segment(name: str, finished: Finished, tmp_path: Path) -> None:
    words = ("segment", "--image", f"CT={finished.scan}", "--model", finished.out / name)
    line = refused(fedseg(*words, "-o", tmp_path / "found.nii.gz"))
    assert "not a model" in line and "models/*.safetensors" in line
