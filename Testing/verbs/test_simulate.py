from __future__ import annotations

import csv
import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from FedSegCore.data.io import read_volume
from FedSegCore.tensors.tensorfile import load
from Testing.command import CT_AND_MR, FEW_STEPS, Finished, SmallSite, fedseg, refused, write_study

COLUMNS = [
    *("study", "method", "seed", "round", "model", "owner", "site", "modalities", "case", "label"),
    *("dice", "hd95_mm", "nsd_1mm"),
]


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_it_writes_the_files_of_the_contract(finished: Finished) -> None:
    assert finished.outcome.code == 0, finished.outcome
    written = {
        path.relative_to(finished.out).as_posix() for path in finished.out.rglob("*") if path.is_file()
    }
    assert written >= {
        "scores.csv", "rounds.jsonl", "ledger.jsonl", "report.html", "checkpoint.safetensors", "models/index.json",
        "models/global.safetensors", "models/personal-mr.safetensors",
        "sites/ct/personal.safetensors", "sites/mr/personal.safetensors",
    }  # fmt: skip
    assert "models/personal-ct.safetensors" not in written, "its site did not allow it"
    assert not [name for name in written if "part" in name or "spool" in name]


def test_scores_are_tidy_and_cover_every_model_at_every_site_that_it_answers_for(finished: Finished) -> None:
    found = rows(finished.out / "scores.csv")
    assert list(found[0]) == COLUMNS
    answered = {(row["model"], row["owner"], row["site"], row["modalities"]) for row in found}
    assert answered == {
        ("global", "", "ct", "CT"), ("global", "", "mr", "MR"), ("global", "", "away", "MR"),
        ("personal", "ct", "ct", "CT"), ("personal", "ct", "away", "MR"),
        ("personal", "mr", "mr", "MR"), ("personal", "mr", "away", "MR"),
    }  # fmt: skip
    assert {row["label"] for row in found} == {"Liver", "Kidney"}
    assert {(row["study"], row["method"], row["seed"], row["round"]) for row in found} == {
        ("small", "fedgin", "0", "2")
    }
    assert all(row["dice"] == "" or 0 <= float(row["dice"]) <= 1 for row in found)


def test_a_line_a_round_tells_who_took_part_and_what_it_cost(finished: Finished) -> None:
    first, last = lines(finished.out / "rounds.jsonl")
    assert (first["round"], last["round"], last["total"]) == (1, 2, 2)
    for line in (first, last):
        assert line["took_part"] == ["ct", "mr"] and line["left_out"] == {}
        assert line["seconds"] >= 0 and line["bytes_up"] > 0 and line["bytes_down"] > 0
        assert line["loss"] > 0 and isinstance(line["dice"], dict)


def test_the_ledger_has_every_message_that_left_a_site(finished: Finished) -> None:
    ledger = lines(finished.out / "ledger.jsonl")
    assert {tuple(sorted(line)) for line in ledger} == {
        ("bytes", "kind", "previous", "round", "scalars", "sha256", "site", "tensors")
    }
    sent = [(line["round"], line["site"], line["kind"]) for line in ledger]
    joined = [(0, "ct", "join"), (0, "mr", "join")]
    updates = [(number, site, "update") for number in (1, 2) for site in ("ct", "mr")]
    assert sent == [*joined, *updates, (2, "ct", "publish"), (2, "mr", "publish")]
    offers = {line["site"]: line["tensors"] for line in ledger if line["kind"] == "publish"}
    assert offers["ct"] == {} and offers["mr"], "only the site that allows it gives its personal model away"


def test_each_published_model_has_its_card(finished: Finished) -> None:
    cards = json.loads((finished.out / "models" / "index.json").read_text(encoding="utf-8"))
    assert set(cards) == {"global.safetensors", "personal-mr.safetensors"}
    card = cards["global.safetensors"]
    assert card["method"] == "fedgin" and card["sites"] == [["ct", 2], ["mr", 3]]
    assert card["labels"] == [["Liver", 1], ["Kidney", 2]] and card["inputs"] == [["CT", "MR"]]
    assert card["licences"] == ["CC0 1.0"] and "Research use only" in card["use"]
    assert set(card["dice_by_site"]) == {"ct", "mr", "away"} and "failures" in card and card["plan"]
    for name, one in cards.items():
        file = finished.out / "models" / name
        assert one["file_sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()


def test_the_checkpoint_records_what_its_bits_depend_on(finished: Finished) -> None:
    header, weights = load(finished.out / "checkpoint.safetensors")
    assert header["round"] == 2 and weights
    assert set(header["environment"]) >= {"device", "instruction_set", "torch", "threads", "precision"}


def test_the_report_is_one_page_that_fetches_nothing(finished: Finished) -> None:
    page = (finished.out / "report.html").read_text(encoding="utf-8")
    assert "small" in page and "not a medical device" in page
    assert 'src="http' not in page and "<script" not in page


def test_events_are_those_of_the_contract(finished: Finished) -> None:
    fields = {
        "progress": {"stage", "value", "message", "eta_s"},
        "round": {"number", "total", "loss", "dice", "seconds"},
        "site_state": {"site", "state"},
        "ledger": {"round", "site", "kind", "tensors", "scalars", "bytes", "sha256", "previous"},
        "model": {"path", "name", "card"},
        "result": {"path", "summary"},
    }
    events = finished.outcome.events
    assert {event["event"] for event in events} == set(fields)
    for event in events:
        assert set(event) - {"event"} == fields[event["event"]]
    assert [event["event"] for event in events].index("result") == len(events) - 1
    progress = finished.outcome.told("progress")
    assert all(0 <= event["value"] <= 1 for event in progress) and progress[-1]["value"] == 1


def test_events_tell_where_each_site_is_and_what_leaves_it(finished: Finished) -> None:
    states = [(event["site"], event["state"]) for event in finished.outcome.told("site_state")]
    a_round = [("ct", "training"), ("ct", "sent"), ("mr", "training"), ("mr", "sent")]
    assert states == [("ct", "joined"), ("mr", "joined"), *a_round, *a_round]
    told = [{k: v for k, v in event.items() if k != "event"} for event in finished.outcome.told("ledger")]
    assert told == lines(finished.out / "ledger.jsonl")
    models = {event["name"]: event["card"] for event in finished.outcome.told("model")}
    assert set(models) == {"global", "personal-mr"}
    assert models["global"]["dice_by_site"]


def test_a_finished_study_ends_at_once_and_nothing_is_written_again(finished: Finished) -> None:
    before = {path: path.stat().st_mtime_ns for path in finished.out.rglob("*")}
    outcome = fedseg("simulate", finished.study, "--out", finished.out, "--resume", "--json")
    assert outcome.code == 0 and outcome.result["summary"] == finished.outcome.result["summary"]
    assert [event["event"] for event in outcome.events] == ["progress", "result"]
    assert before == {path: path.stat().st_mtime_ns for path in finished.out.rglob("*")}


def test_an_output_folder_that_is_not_empty_needs_resume(finished: Finished) -> None:
    line = refused(fedseg("simulate", finished.study, "--out", finished.out))
    assert "not empty" in line and "--resume" in line


def test_resume_starts_anew_in_an_absent_or_empty_folder_and_refuses_another_study(tmp_path: Path) -> None:
    study, out = write_study(tmp_path, rest=FEW_STEPS.replace("rounds = 2", "rounds = 1")), tmp_path / "out"
    out.mkdir()
    assert fedseg("simulate", study, "--out", out, "--resume").code == 0
    kept = (out / "models" / "global.safetensors").read_bytes()
    study.write_text(study.read_text().replace("rounds = 1", "rounds = 2"))
    assert "another study" in refused(fedseg("simulate", study, "--out", out, "--resume"))
    assert (out / "models" / "global.safetensors").read_bytes() == kept


def test_resume_refuses_a_folder_that_fedseg_did_not_write(tmp_path: Path) -> None:
    study, out = write_study(tmp_path), tmp_path / "thesis"
    out.mkdir()
    (out / "chapter.tex").write_text("important")
    for mark in (None, "not json", "[]", "{}"):
        if mark is not None:
            (out / "study.json").write_text(mark)
        assert "another study" in refused(fedseg("simulate", study, "--out", out, "--resume"))
    assert (out / "chapter.tex").read_text() == "important"


def test_a_resumed_study_ends_with_the_bytes_of_one_that_was_not_interrupted(
    finished: Finished, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    shutil.copytree(finished.out, out)
    for name in ("report.html", "scores.csv", "models/index.json", "models/global.safetensors"):
        (out / name).unlink()
    outcome = fedseg("simulate", finished.study, "--out", out, "--resume", "--json")
    assert outcome.code == 0
    assert (out / "models/global.safetensors").read_bytes() == finished.model.read_bytes()
    assert (out / "scores.csv").read_bytes() == (finished.out / "scores.csv").read_bytes()


def test_the_report_is_told_the_time_of_all_rounds_of_an_interrupted_study(
    finished: Finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, told = tmp_path / "out", []
    shutil.copytree(finished.out, out)
    (out / "report.html").unlink()
    monkeypatch.setattr(
        "FedSegCore.simulation.simulate.report", lambda *_, seconds, **__: told.append(seconds)
    )
    assert fedseg("simulate", finished.study, "--out", out, "--resume").code == 0
    assert told == [sum(line["seconds"] for line in lines(out / "rounds.jsonl"))] and told[0] > 0


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Local and central training with two seeds each."""
    folder = tmp_path_factory.mktemp("compared")
    rest = FEW_STEPS.replace("rounds = 2", "rounds = 1\nseeds = [0, 3]")
    study = write_study(folder, head='methods = ["local", "central"]', rest=rest)
    outcome = fedseg("simulate", study, "--out", folder / "out", "--json")
    assert outcome.code == 0, outcome
    return folder / "out"


def test_several_methods_and_seeds_get_a_folder_each_and_one_table(compared: Path) -> None:
    folders = sorted(path.name for path in (compared / "runs").iterdir())
    assert folders == ["central-seed0", "central-seed3", "local-seed0", "local-seed3"]
    union = rows(compared / "scores.csv")
    parts = [row for name in folders for row in rows(compared / "runs" / name / "scores.csv")]
    assert sorted(map(str, union)) == sorted(map(str, parts))
    assert {(row["method"], row["seed"]) for row in union} == {
        (method, seed) for method in ("local", "central") for seed in ("0", "3")
    }
    above = {path.name for path in compared.iterdir()}
    assert above == {"runs", "scores.csv", "report.html", "study.json"}
    page = (compared / "report.html").read_text(encoding="utf-8")
    assert "Epochs of training" in page and "1 at each site, in batches of 2" in page


def test_local_models_stand_among_the_models_and_central_is_one(compared: Path) -> None:
    def models(run: str) -> set[str]:
        return {path.name for path in (compared / "runs" / run / "models").glob("*.safetensors")}

    assert models("local-seed0") == {"local-ct.safetensors", "local-mr.safetensors"}
    assert models("central-seed0") == {"central.safetensors"}
    assert {row["model"] for row in rows(compared / "scores.csv")} == {"local", "central"}


def test_local_training_sends_no_weights_and_central_has_an_empty_ledger(compared: Path) -> None:
    local = lines(compared / "runs" / "local-seed0" / "ledger.jsonl")
    assert not any(line["tensors"] for line in local)
    assert lines(compared / "runs" / "central-seed0" / "ledger.jsonl") == []


def test_a_dry_run_checks_study_and_data_and_trains_nothing(finished: Finished, tmp_path: Path) -> None:
    outcome = fedseg("simulate", finished.study, "--out", tmp_path / "out", "--dry-run", "--json")
    assert outcome.code == 0 and not (tmp_path / "out").exists()
    summary = outcome.result["summary"]
    assert summary["errors"] == 0 and summary["labels"] == ["Liver", "Kidney"] and summary["plan"]
    text = fedseg("simulate", finished.study, "--out", tmp_path / "out", "--dry-run").out
    assert "Ready" in text and "2 training" in text


def test_a_dry_run_tells_every_problem_and_exits_with_1(tmp_path: Path) -> None:
    study = write_study(tmp_path)
    (tmp_path / "ct" / "imagesTr" / "ct_000.nii.gz").write_bytes(b"no image")
    (tmp_path / "mr" / "labelsTr" / "mr_001.nii.gz").unlink()
    outcome = fedseg("simulate", study, "--out", tmp_path / "out", "--dry-run", "--json")
    assert outcome.code == 1
    problems = [event for event in outcome.told("problem") if event["severity"] == "error"]
    files = " ".join(event["file"] for event in problems)
    assert "imagesTr/ct_000.nii.gz" in files and "labelsTr/mr_001.nii.gz" in files
    assert outcome.result["summary"]["errors"] == len(problems)


def test_sites_in_two_processes_come_to_the_same_bytes(tmp_path: Path) -> None:
    study = write_study(tmp_path, CT_AND_MR)
    for workers in (1, 2):
        out = tmp_path / f"out{workers}"
        outcome = fedseg("simulate", study, "--out", out, "--workers", workers, "--json")
        assert outcome.code == 0, outcome
        assert len(lines(out / "ledger.jsonl")) == 8
    one, two = ((tmp_path / f"out{n}" / "models" / "global.safetensors").read_bytes() for n in (1, 2))
    assert one == two


def test_regions_that_overlap_are_trained_scored_and_painted_outer_first(tmp_path: Path) -> None:
    learns = 'epochs = 4\nlearning_rate = 0.02\naugment = "none"\nspatial = false\nbatch_size = 2\n'
    rest = FEW_STEPS.replace("rounds = 2", "rounds = 12") + learns
    study = write_study(tmp_path, [SmallSite("north", cases=3)], rest=rest)
    dataset = tmp_path / "north" / "dataset.json"
    raw = json.loads(dataset.read_text())
    raw["labels"] = {"background": 0, "Core": 1, "Whole": [1, 2]}  # the inner one first, as it may come
    dataset.write_text(json.dumps(raw))
    out = tmp_path / "out"
    assert fedseg("simulate", study, "--out", out).code == 0
    header, _ = load(out / "models" / "global.safetensors")
    assert header["overlapping"] is True and header["labels"] == [["Core", 1], ["Whole", 2]]
    dice = {row["label"]: float(row["dice"] or "nan") for row in rows(out / "scores.csv")}
    assert dice["Core"] > 0.3 and dice["Whole"] > 0.3, dice
    scan, target = tmp_path / "north" / "imagesTs" / "north_003.nii.gz", tmp_path / "found.nii.gz"
    told = fedseg("segment", scan, "--model", out / "models" / "global.safetensors", "-o", target, "--json")
    painted = read_volume(target).array
    assert (painted == 1).any() and (painted == 2).any(), "neither region hides the other"
    volumes_ml = told.result["summary"]["volumes_ml"][str(target)]
    assert volumes_ml["Whole"] > (painted == 2).sum() * 0.008, "a region's volume counts what lies within it"


def test_methods_that_differ_in_their_norm_layers_are_told_apart(tmp_path: Path) -> None:
    study = write_study(tmp_path, head='methods = ["fedavg", "fedbn"]')
    outcome = fedseg("simulate", study, "--out", tmp_path / "out", "--json")
    assert outcome.code == 0, outcome
    warnings = [event["message"] for event in outcome.events if event["event"] == "warning"]
    assert any("fedavg instance, fedbn batch" in message for message in warnings)
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "fedavg: instance, fedbn: batch" in page


def test_a_damaged_line_of_the_ledger_is_named_and_mended_by_hand(finished: Finished, tmp_path: Path) -> None:
    out = tmp_path / "out"
    shutil.copytree(finished.out, out)
    (out / "report.html").unlink()
    (out / "models" / "index.json").unlink()
    ledger = out / "ledger.jsonl"
    whole = ledger.read_bytes().splitlines(keepends=True)
    ledger.write_bytes(b"".join([*whole[:2], whole[2][:40] + b"\n", *whole[3:]]))
    line = refused(fedseg("simulate", finished.study, "--out", out, "--resume"))
    assert "ledger.jsonl, line 3: " in line and "take that line out" in line
    ledger.write_bytes(b"".join([*whole[:2], *whole[3:]]))
    assert fedseg("simulate", finished.study, "--out", out, "--resume").code == 0


def test_the_reading_of_cases_is_told_before_anything_is_trained(finished: Finished) -> None:
    events = finished.outcome.events
    first = next(place for place, event in enumerate(events) if event["event"] == "round")
    told = [event for event in events[:first] if event["event"] == "progress"]
    values = [event["value"] for event in told]
    assert {event["stage"] for event in told} == {"data"} and values == sorted(values)
    assert values[0] == 0.0 and values[-1] == 1.0 and len(values) > 5
    assert {"ct: 2 of 2 cases read", "away: 1 of 1 cases read"} <= {event["message"] for event in told}


def test_a_dry_run_tells_how_far_the_reading_has_come(finished: Finished, tmp_path: Path) -> None:
    outcome = fedseg("simulate", finished.study, "--out", tmp_path / "out", "--dry-run", "--json")
    told = outcome.told("progress")
    assert told[-1]["value"] == 1.0 and {event["stage"] for event in told} == {"data"}
    assert all(event["message"].endswith("cases read") for event in told)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_limit_that_cannot_be_kept_in_one_process_is_told(workers: int, tmp_path: Path) -> None:
    rest = FEW_STEPS.replace("rounds = 2", "rounds = 1\nround_timeout = 100")
    study = write_study(tmp_path, rest=rest)
    outcome = fedseg("simulate", study, "--out", tmp_path / "out", "--workers", workers, "--json")
    assert outcome.code == 0, outcome
    warned = [
        event for event in outcome.told("warning") if "round_timeout = 100 has no effect" in event["message"]
    ]
    assert len(warned) == (1 if workers == 1 else 0)
    assert all("--workers" in event["fix"] for event in warned)
