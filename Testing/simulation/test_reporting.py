"""What a finished study hands to its report."""

from __future__ import annotations

import html
from pathlib import Path
from types import SimpleNamespace

import pytest

from FedSegCore.report.inputs import ReportInputs
from FedSegCore.report.scores import Score
from FedSegCore.simulation import reporting
from Testing.command import FEW_STEPS, fedseg, write_study

STAND_IN = "Generated images stand in for two hospitals."
HEAD = f'methods = ["local", "central", "fedavg"]\nbaseline = "fedavg/global"\nstand_in = "{STAND_IN}"'


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ReportInputs]:
    """One round of three methods, and what the report was given."""
    folder, given = tmp_path_factory.mktemp("compared"), []
    real = reporting.write_report

    def heard(out: Path, inputs: ReportInputs) -> Path:
        given.append(inputs)
        return real(out, inputs)

    study = write_study(folder, head=HEAD, rest=FEW_STEPS.replace("rounds = 2", "rounds = 1"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reporting, "write_report", heard)
        outcome = fedseg("simulate", study, "--out", folder / "out")
    assert outcome.code == 0, outcome
    return folder, given[0]


def page(folder: Path) -> str:
    return html.unescape((folder / "out" / "report.html").read_text(encoding="utf-8"))


def test_shared_models_are_validated_before_a_round_and_a_sites_own_after_it(
    compared: tuple[Path, ReportInputs],
) -> None:
    placed = {(line["method"], line["round"], line["validated"]) for line in compared[1].rounds}
    assert placed == {("local", 1, 1), ("central", 1, 0), ("fedavg", 1, 0)}


def test_nothing_leaves_a_hospital_in_pooled_training(compared: tuple[Path, ReportInputs]) -> None:
    sent = {line["method"]: line["bytes_up"] > 0 for line in compared[1].rounds}
    assert sent == {"local": True, "central": False, "fedavg": True}


def test_the_page_compares_with_the_baseline_of_the_study(compared: tuple[Path, ReportInputs]) -> None:
    assert compared[1].baseline == "fedavg/global"
    assert "Difference in Dice to <strong>FedAvg, global</strong>" in page(compared[0])


def test_the_page_says_that_central_trains_over_all_sites_cases(compared: tuple[Path, ReportInputs]) -> None:
    told = "1 at each site, in batches of 2 (central: over all sites' cases together)"
    assert compared[1].study["effort"] == told and told in page(compared[0])


def test_the_page_says_that_the_data_stand_in_and_nothing_that_leaves_a_site_does(
    compared: tuple[Path, ReportInputs],
) -> None:
    folder, _ = compared
    assert f"<strong>Stand-in data. </strong>{STAND_IN}" in page(folder)
    others = [path for path in (folder / "out").rglob("*") if path.is_file() and path.name != "report.html"]
    assert others and not [path for path in others if STAND_IN.encode() in path.read_bytes()]


def test_another_baseline_may_be_given_on_resuming(compared: tuple[Path, ReportInputs]) -> None:
    folder, _ = compared
    study = folder / "study.toml"
    study.write_text(study.read_text().replace('"fedavg/global"', '"central"'))
    (folder / "out" / "report.html").unlink()
    outcome = fedseg("simulate", study, "--out", folder / "out", "--resume", "--json")
    assert outcome.code == 0 and outcome.told("round") == []
    assert "Difference in Dice to <strong>Central</strong>" in page(folder)


def test_settings_of_an_augmentation_that_no_row_has_are_not_told(
    compared: tuple[Path, ReportInputs],
) -> None:
    told = compared[1].study["train"]
    assert told["learning_rate"] and not {"flow_mode", "gin_kernels", "gin_balance"} & set(told)


def test_where_only_an_outside_site_is_tested_the_model_of_all_is_shown(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        reporting, "_overlay", lambda run, title, site, case, *, kind: (title, site, case, kind)
    )
    run = SimpleNamespace(entry=SimpleNamespace(name="segviz"), seed=0)
    told = {"study": "s", "method": "segviz", "seed": 0, "round": 1, "site": "away", "modalities": "MRI",
            "label": "Liver", "hd95_mm": 1.0, "nsd_1mm": 1.0}  # fmt: skip
    scores = [
        Score(**told, model=model, owner=owner, case=case, dice=dice)
        for model, owner in (("personal", "clinic"), ("global", ""))
        for case, dice in (("a", 0.5), ("b", 0.7), ("c", 0.9))
    ]
    assert reporting.overlays(run, scores) == [  # type: ignore[arg-type]
        ("Worst case", "away", "a", "global"),
        ("Median case", "away", "b", "global"),
        ("Best case", "away", "c", "global"),
    ]
