"""Ingredients of several papers in one study file."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from FedSegCore.tensors.header import read_header, tensor_shapes
from Testing.command import FEW_STEPS, SmallSite, fedseg, refused, write_study

ONE_ROUND = FEW_STEPS.replace("rounds = 2", "rounds = 1")
QUICKLY = "\n[routing]\nsteps = 1\n"
AUGMENTED = ONE_ROUND.replace("[train]", '[train]\naugment = "gin"')
SLICES = AUGMENTED.replace("patch = [8, 8, 8]", "dims = 2\npatch = [8, 8]")
GIVES: dict[str, Any] = {"publish_personal": True}
CT, MR = SmallSite("ct", keys=GIVES), SmallSite("mr", "mr", keys=GIVES)
LIVER, KIDNEY = (
    SmallSite("liver", keys={**GIVES, "labels": ["Liver"]}),
    SmallSite("kidney", "mr", keys={**GIVES, "labels": ["Kidney"]}),
)
FAR = SmallSite("far", "mr", cases=1, keys={"role": "outside"})


def rows(out: Path, site: str) -> list[dict[str, str]]:
    with (out / "scores.csv").open(newline="", encoding="utf-8") as file:
        return [row for row in csv.DictReader(file) if row["site"] == site]


def options(**keys: Any) -> str:
    lines = [f"{key} = {json.dumps(value)}" for key, value in keys.items()]
    return "\n".join(["[method_options]", *lines, ""])


def run(tmp_path: Path, sites: list[SmallSite], *, head: str, rest: str) -> Path:
    study = write_study(tmp_path, sites, head=head, rest=rest)
    outcome = fedseg("simulate", study, "--out", tmp_path / "out", "--json")
    assert outcome.code == 0, outcome
    return tmp_path / "out"


@pytest.mark.parametrize("rest", [AUGMENTED, SLICES], ids=["volumes", "slices"])
def test_gin_with_fedbn_keeps_norms_at_the_sites(rest: str, tmp_path: Path) -> None:
    out = run(
        tmp_path, [CT, MR, FAR], head='method = "fedbn"\noutside_models = ["routed", "uniform"]', rest=rest
    )
    sent = [json.loads(line) for line in (out / "ledger.jsonl").read_text().splitlines()]
    update = next(line for line in sent if line["kind"] == "update")
    whole = tensor_shapes(out / "models" / "personal-ct.safetensors")
    assert {name.partition("/")[2] for name in update["tensors"]} < set(whole)
    assert not any("running_mean" in name for name in update["tensors"])
    assert {row["model"] for row in rows(out, "far")} == {"personal", "routed", "uniform"}


def test_gin_with_iopfl_serves_an_unseen_site(tmp_path: Path) -> None:
    out = run(tmp_path, [CT, MR, FAR], head='method = "iopfl"', rest=AUGMENTED + QUICKLY)
    assert "routed" in {row["model"] for row in rows(out, "far")}


@pytest.mark.parametrize("form", ["masked", "heads"])
def test_partial_labels_other_scanners_personal_models_and_an_unseen_site_in_one_study(
    form: str, tmp_path: Path
) -> None:
    head = 'method = "segviz"\noutside_models = ["routed", "ensemble", "uniform"]'
    rest = AUGMENTED + QUICKLY + options(form=form, personal=0.1)
    out = run(tmp_path, [LIVER, KIDNEY, FAR], head=head, rest=rest)
    found = {(row["model"], row["label"]) for row in rows(out, "far")}
    assert {
        (way, label) for way in ("routed", "ensemble", "uniform") for label in ("Liver", "Kidney")
    } <= found
    scan = next((tmp_path / "far" / "imagesTs").iterdir())
    words = ("--image", f"MR={scan}", "--route", out / "models", "-o", tmp_path / "o.nii.gz", "--json")
    outcome = fedseg("segment", *words)
    assert outcome.code == 0, outcome
    merged = bool(read_header(out / "models" / "global.safetensors")["members"])
    left_out = any("left out of the mixture" in event["message"] for event in outcome.told("warning"))
    assert left_out == merged


def test_segviz_with_gin_publishes_one_model_of_all_structures(tmp_path: Path) -> None:
    out = run(tmp_path, [LIVER, KIDNEY, FAR], head='method = "segviz"', rest=AUGMENTED)
    assert {row["label"] for row in rows(out, "far") if row["model"] == "global"} == {"Liver", "Kidney"}


def test_flowgin_with_fedbn_weighs_sites_by_their_distinct_images(tmp_path: Path) -> None:
    rest = AUGMENTED.replace('"gin"', '"flow"') + options(weighting="modality")
    out = run(tmp_path, [CT, MR], head='method = "fedbn"', rest=rest)
    sent = [json.loads(line) for line in (out / "ledger.jsonl").read_text().splitlines()]
    for line in (line for line in sent if line["kind"] == "update"):
        assert line["scalars"].keys() - {"loss"} == {"scalars.effective_images"}
        assert not any("flow" in name for name in line["tensors"])


@pytest.mark.slow
def test_flow_and_random_networks_take_turns(tmp_path: Path) -> None:
    run(tmp_path, [CT, MR], head='method = "fedavg"', rest=AUGMENTED.replace('"gin"', '"gin+flow"'))


def test_segviz_with_a_moving_average_publishes_personal_models_of_a_sites_own_structure(
    tmp_path: Path,
) -> None:
    out = run(tmp_path, [LIVER, KIDNEY], head='method = "segviz"', rest=ONE_ROUND + options(personal=0.1))
    assert read_header(out / "models" / "personal-liver.safetensors")["known"] == ["Liver"]


def test_weighing_by_distinct_images_without_a_flow_is_refused(tmp_path: Path) -> None:
    study = write_study(tmp_path, [CT, MR], rest=AUGMENTED + options(weighting="modality"))
    told = refused(fedseg("simulate", study, "--out", tmp_path / "out"))
    assert 'augment = "flow"' in told


def test_a_proximal_pull_leaves_private_parts_alone(tmp_path: Path) -> None:
    run(tmp_path, [CT, MR], head='method = "fedbn"', rest=ONE_ROUND + options(mu=0.1))


@pytest.mark.parametrize(
    ("keys", "told"), [({"personal": 0.1, "lambda": 0.1}, "both make a site's own model")]
)
def test_a_combination_that_makes_no_sense_is_refused_with_the_reason(
    keys: dict[str, float], told: str, tmp_path: Path
) -> None:
    study = write_study(tmp_path, [CT, MR], rest=ONE_ROUND + options(**keys))
    assert told in refused(fedseg("simulate", study, "--out", tmp_path / "out"))
