from __future__ import annotations

import json
from pathlib import Path

import pytest

from FedSegCore.tensors.tensorfile import load
from Testing.command import CT_AND_MR, FEW_STEPS, Finished, fedseg, refused, write_study


def test_training_with_a_studys_plan_writes_a_local_model_and_its_scores(
    finished: Finished, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    outcome = fedseg("train", finished.study.parent / "mr", "--out", out, "--study", finished.study, "--json")
    assert outcome.code == 0, outcome
    model = Path(outcome.result["path"])
    assert model == out / "models" / "local-mr.safetensors"
    header, _ = load(model)
    assert header["method"] == "local" and header["sites"] == [["mr", 3]]
    assert header["plan"]["patch"] == [8, 8, 8] and header["network"]["channels"] == [4, 8]
    assert (out / "scores.csv").is_file() and (out / "report.html").is_file()


def test_fine_tuning_starts_from_the_models_weights_and_keeps_its_plan_and_structures(
    finished: Finished, tmp_path: Path
) -> None:
    tiny = write_study(tmp_path, CT_AND_MR, rest=FEW_STEPS.replace("rounds = 2", "rounds = 1"))
    tiny.write_text(tiny.read_text().replace("threads = 1", "threads = 1\nlearning_rate = 1e-9"))
    out = tmp_path / "out"
    outcome = fedseg(
        "train", tmp_path / "mr", "--out", out, "--init", finished.model, "--study", tiny, "--json"
    )
    assert outcome.code == 0, outcome
    before, start = load(finished.model)
    after, tuned = load(Path(outcome.result["path"]))
    for key in ("plan", "network", "labels", "inputs"):
        assert after[key] == before[key], key
    assert all((tuned[name] - start[name]).abs().max() < 1e-6 for name in start)


@pytest.mark.slow
def test_training_without_a_study_plans_for_itself(finished: Finished, tmp_path: Path) -> None:
    outcome = fedseg("train", finished.study.parent / "ct", "--out", tmp_path / "out", "--json")
    assert outcome.code == 0, outcome


def test_what_cannot_be_trained_is_refused_and_nothing_is_lost(finished: Finished, tmp_path: Path) -> None:
    data = finished.study.parent / "ct"
    line = refused(fedseg("train", data, "--out", finished.out))
    assert "not empty" in line and "--resume" in line
    assert "/nowhere" in refused(fedseg("train", "/nowhere", "--out", tmp_path / "a"))
    checkpoint = finished.out / "checkpoint.safetensors"
    line = refused(fedseg("train", data, "--out", tmp_path / "b", "--init", checkpoint))
    assert "checkpoint, not a model" in line
    assert "/nowhere" in refused(fedseg("train", data, "--out", tmp_path / "c", "--init", "/nowhere"))
    assert "study.toml" not in str(list(tmp_path.iterdir()))


def test_training_that_was_interrupted_goes_on_with_resume_and_ends_with_the_same_model(
    finished: Finished, tmp_path: Path
) -> None:
    words = ["train", finished.study.parent / "mr", "--study", finished.study, "--out", tmp_path / "out"]
    assert fedseg(*words, "--resume").code == 0, "an absent folder is started in"
    model = tmp_path / "out" / "models" / "local-mr.safetensors"
    whole = model.read_bytes()
    for path in (model, tmp_path / "out" / "report.html", model.with_name("index.json")):
        path.unlink()
    assert "--resume" in refused(fedseg(*words))
    outcome = fedseg(*words, "--resume", "--json")
    assert outcome.code == 0 and outcome.told("round") == [], "its rounds were done"
    assert model.read_bytes() == whole


def test_resume_refuses_another_model_to_start_from(finished: Finished, tmp_path: Path) -> None:
    study = write_study(tmp_path, CT_AND_MR, rest=FEW_STEPS.replace("rounds = 2", "rounds = 1"))
    network = '[network]\nnorm = "instance"'  # as the model's, so that the settings are the same without it
    study.write_text(study.read_text().replace("[network]", network))
    words = ["train", tmp_path / "mr", "--study", study, "--resume", "--out"]
    afresh, from_model = [*words, tmp_path / "afresh"], [*words, tmp_path / "tuned"]
    start = ["--init", finished.model]
    assert fedseg(*afresh).code == fedseg(*from_model, *start).code == 0
    assert fedseg(*from_model, *start).code == 0, "the same model goes on"
    assert "another study" in refused(fedseg(*afresh, *start))
    assert "another study" in refused(fedseg(*from_model))


def test_training_that_was_refused_does_not_block_its_folder(finished: Finished, tmp_path: Path) -> None:
    data, out = tmp_path / "mr", tmp_path / "out"
    study = write_study(tmp_path, CT_AND_MR, rest=FEW_STEPS.replace("rounds = 2", "rounds = 1"))
    listing = data / "dataset.json"
    kept = listing.read_text()
    listing.write_text(json.dumps({**json.loads(kept), "training": []}))
    assert "no training cases" in refused(fedseg("train", data, "--out", out, "--study", study))
    listing.write_text(kept)
    outcome = fedseg("train", data, "--out", out, "--study", study)
    assert outcome.code == 0, outcome


def test_what_a_study_says_of_its_own_sites_and_report_does_not_hold_for_training(
    finished: Finished, tmp_path: Path
) -> None:
    head = 'method = "fedavg"\nbaseline = "fedavg"\nstand_in = "Made up."\nround_timeout = 5'
    study = write_study(tmp_path, CT_AND_MR, head=head, rest=FEW_STEPS.replace("rounds = 2", "rounds = 1"))
    outcome = fedseg("train", tmp_path / "mr", "--out", tmp_path / "out", "--study", study, "--json")
    assert outcome.code == 0 and outcome.told("warning") == [], outcome
    assert "Made up." not in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
