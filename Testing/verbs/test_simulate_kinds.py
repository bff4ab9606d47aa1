"""Kinds of studies from end to end: partial labels, several modalities, slices, lost sites."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from FedSegCore.data.io import read_volume
from FedSegCore.federation.method import Offer, Site
from FedSegCore.methods.averaging import Averaging
from FedSegCore.tensors.header import read_header
from FedSegCore.tensors.weights import Weights
from Testing.command import FEW_STEPS, SmallSite, fedseg, refused, write_study

ONE_ROUND = FEW_STEPS.replace("rounds = 2", "rounds = 1")


def rows(out: Path) -> list[dict[str, str]]:
    with (out / "scores.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("form", ["heads", "masked"])
def test_sites_that_annotate_different_organs_publish_one_model_of_all(form: str, tmp_path: Path) -> None:
    sites = [
        SmallSite("a", keys={"labels": ["Liver"]}),
        SmallSite("b", keys={"labels": ["Kidney"]}),
        SmallSite("all", cases=1, keys={"role": "outside"}),
    ]
    rest = ONE_ROUND + f'[method_options]\nform = "{form}"\n'
    study, out = write_study(tmp_path, sites, head='method = "segviz"', rest=rest), tmp_path / "out"
    outcome = fedseg("simulate", study, "--out", out, "--json")
    assert outcome.code == 0, outcome
    model = out / "models" / "global.safetensors"
    header = read_header(model)
    assert header["known"] == ["Liver", "Kidney"]
    members = [{"site": "a", "labels": ["Liver"]}, {"site": "b", "labels": ["Kidney"]}]
    assert header["members"] == members
    scored = {(row["model"], row["owner"], row["site"], row["label"]) for row in rows(out)}
    assert {("global", "", "all", "Liver"), ("global", "", "all", "Kidney")} <= scored
    assert ("global", "", "a", "Kidney") not in scored, "site a has no reference for it"
    assert ("personal", "a", "all", "Kidney") not in scored, "its owner never saw one"
    scan = tmp_path / "all" / "imagesTs" / "all_001.nii.gz"
    assert fedseg("segment", scan, "--model", model, "-o", tmp_path / "found.nii.gz").code == 0


def test_each_site_trains_with_the_modalities_that_it_owns(tmp_path: Path) -> None:
    sites = [
        SmallSite("both", "t1+flair", keys={"publish_personal": True}),
        SmallSite("half", "t1+flair", keys={"modalities": ["FLAIR"], "publish_personal": True}),
    ]
    rest = ONE_ROUND + "[method_options]\npersonal = 0.1\n"
    study, out = write_study(tmp_path, sites, rest=rest), tmp_path / "out"
    assert fedseg("simulate", study, "--out", out).code == 0
    fed = {(row["model"], row["owner"], row["site"]): row["modalities"] for row in rows(out)}
    assert fed["global", "", "both"] == "T1+FLAIR" and fed["global", "", "half"] == "FLAIR"
    assert fed["personal", "half", "half"] == "FLAIR"
    header = read_header(out / "models" / "personal-half.safetensors")
    assert header["inputs"] == [["T1"], ["FLAIR"]] and header["owned"] == ["FLAIR"]
    t1, flair = (tmp_path / "both" / "imagesTs" / f"both_002_000{channel}.nii.gz" for channel in (0, 1))
    found = {}
    for name, images in {"alone": [("FLAIR", flair)], "both": [("T1", t1), ("FLAIR", flair)]}.items():
        words = [word for modality, path in images for word in ("--image", f"{modality}={path}")]
        target = tmp_path / f"{name}.nii.gz"
        model = out / "models" / "personal-half.safetensors"
        assert fedseg("segment", *words, "--model", model, "-o", target).code == 0
        found[name] = read_volume(target).array
    assert np.array_equal(found["alone"], found["both"])


@pytest.mark.parametrize("method", ["fedavg", "iopfl", "segviz"])
def test_a_study_of_slices_segments_volumes(method: str, tmp_path: Path) -> None:
    rest = ONE_ROUND.replace("patch = [8, 8, 8]", "dims = 2\npatch = [8, 8]")
    study = write_study(tmp_path, [SmallSite("north")], head=f'method = "{method}"', rest=rest)
    out = tmp_path / "out"
    assert fedseg("simulate", study, "--out", out).code == 0
    model = out / "models" / "global.safetensors"
    assert read_header(model)["plan"]["dims"] == 2
    scan = tmp_path / "north" / "imagesTs" / "north_002.nii.gz"
    assert fedseg("segment", scan, "--model", model, "-o", tmp_path / "found.nii.gz").code == 0
    assert read_volume(tmp_path / "found.nii.gz").shape == read_volume(scan).shape


def test_a_given_network_grows_an_automatic_patch_to_what_it_can_halve(tmp_path: Path) -> None:
    rest = "rounds = 1\n[network]\nchannels = [4, 4, 4, 4, 4]\n[train]\nthreads = 1\n"
    study = write_study(tmp_path, [SmallSite("north")], rest=rest)
    outcome = fedseg("simulate", study, "--out", tmp_path / "out", "--dry-run", "--json")
    assert outcome.code == 0, outcome
    assert all(side % 16 == 0 for side in outcome.result["summary"]["plan"]["patch"])


def test_sites_that_take_too_long_stop_the_study_with_the_reason_and_a_state_to_go_on_from(
    tmp_path: Path,
) -> None:
    slow = ONE_ROUND.replace("rounds = 1", "rounds = 1\nround_timeout = 0.01")
    study, out = write_study(tmp_path, [SmallSite("a"), SmallSite("b")], rest=slow), tmp_path / "out"
    outcome = fedseg("simulate", study, "--out", out, "--workers", 2, "--json")
    assert outcome.code == 1
    error = outcome.events[-1]
    assert error["event"] == "error" and "0 of 2 sites" in error["message"] and "--resume" in error["fix"]
    assert "no answer within round_timeout = 0.01 s" in error["message"]
    assert [event["state"] for event in outcome.told("site_state")].count("lost") == 2
    assert len(outcome.told("warning")) == 2
    study.write_text(study.read_text(encoding="utf-8").replace("0.01", "600"), encoding="utf-8")
    assert fedseg("simulate", study, "--out", out, "--resume").code == 0


def test_what_a_site_keeps_to_itself_does_not_hang_on_what_it_is_called(tmp_path: Path) -> None:
    names = ("models", "personal-a", "a")
    sites = [SmallSite(name, keys={"publish_personal": name == "a"}) for name in names]
    rest = ONE_ROUND + "[method_options]\npersonal = 0.1\n"
    study, out = write_study(tmp_path, sites, rest=rest), tmp_path / "out"
    outcome = fedseg("simulate", study, "--out", out, "--json")
    assert outcome.code == 0, outcome
    assert {path.name for path in (out / "models").iterdir()} == {
        "global.safetensors", "personal-a.safetensors", "index.json",
    }  # fmt: skip
    assert {event["name"] for event in outcome.told("model")} == {"global", "personal-a"}
    assert read_header(out / "models" / "personal-a.safetensors")["sites"] == [["a", 2]]
    found = rows(out)
    assert {row["owner"] for row in found if row["model"] == "personal"} == set(names)
    keys = [(row["model"], row["owner"], row["site"], row["case"], row["label"]) for row in found]
    assert len(keys) == len(set(keys)), "no model is scored twice"


def test_a_local_model_that_may_be_published_is_published_once(tmp_path: Path) -> None:
    sites = [SmallSite("a", keys={"publish_personal": True})]
    study, out = write_study(tmp_path, sites, head='method = "local"', rest=ONE_ROUND), tmp_path / "out"
    assert fedseg("simulate", study, "--out", out).code == 0
    assert [path.name for path in (out / "models").glob("*.safetensors")] == ["local-a.safetensors"]
    assert {(row["model"], row["owner"]) for row in rows(out)} == {("local", "a")}


def test_a_merged_model_knows_only_what_the_sites_in_it_annotate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sites = [SmallSite("a", keys={"labels": ["Liver"]}), SmallSite("b", keys={"labels": ["Kidney"]})]
    rest = ONE_ROUND.replace("rounds = 1", "rounds = 1\nmin_sites = 1")
    study, out = write_study(tmp_path, sites, head='method = "segviz"', rest=rest), tmp_path / "out"
    real = Averaging.offer

    def fail(method: Averaging, personal: Weights, state: Any, site: Site) -> Offer:
        if site.info.name == "b":
            raise ValueError("gone")
        return real(method, personal, state, site)

    monkeypatch.setattr(Averaging, "offer", fail)
    assert fedseg("simulate", study, "--out", out).code == 0
    header = read_header(out / "models" / "global.safetensors")
    assert header["known"] == ["Liver"] and header["members"] == [{"site": "a", "labels": ["Liver"]}]
    assert {row["label"] for row in rows(out) if row["model"] == "global"} == {"Liver"}


def test_a_study_that_too_few_sites_conclude_writes_no_model_and_repeats_the_exchange(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study, out = write_study(tmp_path, [SmallSite("a"), SmallSite("b")], rest=ONE_ROUND), tmp_path / "out"
    with monkeypatch.context() as patch:
        patch.setattr(Averaging, "offer", lambda *_: 1 / 0)
        outcome = fedseg("simulate", study, "--out", out, "--json")
    assert outcome.code == 1 and "--resume" in outcome.events[-1]["fix"]
    assert "its personal model failed (ZeroDivisionError)" in outcome.events[-1]["message"]
    assert not (out / "models").exists()
    assert fedseg("simulate", study, "--out", out, "--resume").code == 0
    assert (out / "models" / "global.safetensors").is_file()


@pytest.mark.parametrize("workers", [1, 2])
def test_a_damaged_label_map_is_told_before_anything_is_trained(workers: int, tmp_path: Path) -> None:
    rest = ONE_ROUND.replace(
        "[plan]", "[plan]\nauto = false"
    )  # no passport is made, so training reads it first
    study, out = write_study(tmp_path, [SmallSite(name) for name in "abc"], rest=rest), tmp_path / "out"
    (tmp_path / "c" / "labelsTr" / "c_000.nii.gz").write_bytes(b"damaged")
    assert "c_000.nii.gz" in refused(fedseg("simulate", study, "--out", out, "--workers", workers))
    assert not (out / "rounds.jsonl").exists()


@pytest.mark.parametrize("fault", ["shape", "affine"])
def test_a_test_reference_on_another_grid_is_told_before_anything_is_trained(
    fault: str, tmp_path: Path
) -> None:
    study, out = write_study(tmp_path, [SmallSite("a")], rest=ONE_ROUND), tmp_path / "out"
    path = next((tmp_path / "a" / "labelsTs").iterdir())
    image = nib.load(path)
    affine = image.affine + (np.eye(4, k=3) * 5.0 if fault == "affine" else 0.0)
    array = np.asarray(image.dataobj)
    nib.Nifti1Image(array[1:] if fault == "shape" else array, affine).to_filename(path)
    assert "grid" in refused(fedseg("simulate", study, "--out", out))
    assert not (out / "rounds.jsonl").exists()


def test_a_dry_run_tells_of_cases_that_are_not_scored_or_train_twice(tmp_path: Path) -> None:
    sites = [SmallSite("a", test_cases=2), SmallSite("b", keys={"data": "a"})]
    study = write_study(tmp_path, sites, rest=ONE_ROUND)
    listing = tmp_path / "a" / "dataset.json"
    described = json.loads(listing.read_text())
    del described["test"][0]["label"]
    listing.write_text(json.dumps(described))
    outcome = fedseg("simulate", study, "--out", tmp_path / "out", "--dry-run", "--json")
    assert outcome.code == 0, outcome
    said = [event["message"] for event in outcome.told("warning")]
    assert "Site a: 1 test cases have no label and are not scored." in said
    assert 'The case "a_000" of site b also trains at site a.' in said


def test_a_study_runs_one_method_in_two_ways_side_by_side(tmp_path: Path) -> None:
    rest = ONE_ROUND + '[method_options."central+gin"]\nlike = "central"\naugment = "gin"\n'
    study = write_study(tmp_path, head='methods = ["central", "central+gin"]', rest=rest)
    out = tmp_path / "out"
    assert fedseg("simulate", study, "--out", out).code == 0
    assert {(row["method"], row["model"]) for row in rows(out)} == {
        ("central", "central"),
        ("central+gin", "central"),
    }
    plain, other = (out / "runs" / f"{name}-seed0" / "models" for name in ("central", "central+gin"))
    weights = [(models / "central.safetensors").read_bytes() for models in (plain, other)]
    assert weights[0] != weights[1]
    assert read_header(other / "central.safetensors")["method"] == "central+gin"
    assert "central+gin: like: central" in (out / "report.html").read_text(encoding="utf-8")
