"""Hospitals outside the federation, scored with what they may do with its models."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from Testing.command import FEW_STEPS, SmallSite, fedseg, write_study

ONE_ROUND = FEW_STEPS.replace("rounds = 2", "rounds = 1") + "\n[routing]\nsteps = 1\n"
SLICES = ONE_ROUND.replace("patch = [8, 8, 8]", "dims = 2\npatch = [8, 8]")
GIVES = {"publish_personal": True}
MEMBERS = (SmallSite("a", keys=GIVES), SmallSite("b", "mr", keys=GIVES))
OUTSIDE = SmallSite("far", "mr", cases=1, keys={"role": "outside"})


def models(out: Path, site: str) -> set[str]:
    with (out / "scores.csv").open(newline="", encoding="utf-8") as file:
        return {row["model"] for row in csv.DictReader(file) if row["site"] == site}


@pytest.mark.parametrize("rest", [ONE_ROUND, SLICES], ids=["volumes", "slices"])
def test_an_outside_site_is_scored_in_every_way_that_the_paper_compares(rest: str, tmp_path: Path) -> None:
    study = write_study(tmp_path, [*MEMBERS, OUTSIDE], head='method = "iopfl"', rest=rest)
    outcome = fedseg("simulate", study, "--out", tmp_path / "out", "--json")
    assert outcome.code == 0, outcome
    found = models(tmp_path / "out", "far")
    assert found == {"global", "personal", "uniform", "tent", "batchnorm", "routed"}
    assert models(tmp_path / "out", "a") == {"global", "personal"}
    with (tmp_path / "out" / "routing.csv").open(newline="", encoding="utf-8") as file:
        (line,) = csv.DictReader(file)
    assert line["site"] == "far" and 0 <= float(line["disagreement"] or 1) <= 1 and "like" in line["sentence"]


def test_the_study_chooses_the_ways(tmp_path: Path) -> None:
    head = 'method = "local"\noutside_models = ["single", "ensemble"]'
    study = write_study(tmp_path, [*MEMBERS, OUTSIDE], head=head, rest=ONE_ROUND)
    outcome = fedseg("simulate", study, "--out", tmp_path / "out", "--json")
    assert outcome.code == 0, outcome
    assert models(tmp_path / "out", "far") == {"local", "single", "ensemble"}


def test_it_is_told_where_there_are_no_models_to_choose_among(tmp_path: Path) -> None:
    head = 'method = "fedavg"\noutside_models = ["global", "routed"]'
    study = write_study(tmp_path, [SmallSite("a"), OUTSIDE], head=head, rest=ONE_ROUND)
    outcome = fedseg("simulate", study, "--out", tmp_path / "out", "--json")
    assert outcome.code == 0, outcome
    assert models(tmp_path / "out", "far") == {"global"}
    assert any("nothing to choose among" in event["message"] for event in outcome.told("warning"))


def test_ways_that_a_method_has_no_models_for_are_told_and_the_study_goes_on(tmp_path: Path) -> None:
    head = 'methods = ["fedbn", "segviz", "iopfl"]\noutside_models = ["global", "tent", "routed"]'
    study = write_study(tmp_path, [*MEMBERS, OUTSIDE], head=head, rest=ONE_ROUND)
    outcome = fedseg("simulate", study, "--out", tmp_path / "out", "--json")
    assert outcome.code == 0, outcome
    told = [event["message"] for event in outcome.told("warning")]
    assert any("fedbn is not scored as tent" in message for message in told)
    assert any("segviz is not scored as tent" in message for message in told)
    assert {"global", "tent", "routed"} <= models(tmp_path / "out", "far")


def test_cases_of_an_outside_site_are_shown_though_the_last_run_made_models_of_members_alone(
    tmp_path: Path,
) -> None:
    members = [SmallSite("a", test_cases=0), SmallSite("b", "mr", test_cases=0)]
    head = 'methods = ["fedavg", "local"]'
    study = write_study(tmp_path, [*members, OUTSIDE], head=head)
    outcome = fedseg("simulate", study, "--out", tmp_path / "out")
    assert outcome.code == 0, outcome
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "Worst case" in page and "No case was kept" not in page
