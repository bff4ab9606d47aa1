"""One site of a study against its dataset.json: every name that does not fit is told at once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from FedSegCore.data.case import Case, Dataset
from FedSegCore.data.labels import LabelSet
from FedSegCore.data.siteview import check_site_view


def case(name: str) -> Case:
    return Case(name, (Path(f"{name}_0000.nii.gz"),), Path(f"{name}.nii.gz"))


def unlabelled(name: str) -> Case:
    return replace(case(name), label=None)


def dataset(**changes: Any) -> Dataset:
    fields: dict[str, Any] = {
        "folder": Path("site"),
        "name": "site",
        "channel_names": ("T1", "FLAIR"),
        "labels": LabelSet({"Liver": (1,), "Tumour": (2,)}),
        "training": (case("a"), case("b")),
        "validation": (),
        "test": (case("c"),),
        "licence": "",
        "raw": {},
    }
    return Dataset(**(fields | changes))


def found(**view: Any) -> list[tuple[str, str]]:
    site = view.pop("site", dataset())
    problems = check_site_view(site, **({"study_labels": ["Liver", "Tumour"]} | view))
    assert all(one.fix for one in problems)
    return [(one.severity, one.message) for one in problems]


def test_a_fitting_site_has_no_problem() -> None:
    view = {"labels": ["Liver"], "modalities": ["T1"], "cases": ["a"], "test_cases": ["c"], "limit": 1}
    assert found(**view) == []


@pytest.mark.parametrize(
    ("view", "severity", "says"),
    [
        ({"study_labels": ["Kidney"]}, "error", "Kidney"),
        ({"labels": ["Livr"]}, "error", "Livr"),
        ({"label_map": {"Liver": ["Lever"], "Tumour": ["Tumour"]}}, "error", "Lever"),
        ({"study_labels": ["Liver"]}, "warning", "Tumour"),
        ({"modalities": ["T2"]}, "error", "T2"),
        ({"modalities": []}, "error", "no modality"),
        ({"cases": ["a", "z"]}, "error", '"z"'),
        ({"test_cases": ["z"]}, "error", '"z"'),
        ({"cases": ["a", "b"], "test_cases": ["b"]}, "error", "leak"),
        ({"limit": 5}, "warning", "`limit` is 5"),
        ({"site": dataset(training=())}, "error", "no training case"),
        ({"site": dataset(training=(), test=()), "trains": False}, "error", "no labelled test case"),
        ({"site": dataset(test=(unlabelled("c"),))}, "warning", "1 test cases have no label"),
        ({"cases": ["c"]}, "error", '"c" is to train and to test'),
    ],
    ids=lambda value: str(value)[:40] if isinstance(value, dict) else None,
)
def test_a_misfit_is_told(view: dict[str, Any], severity: str, says: str) -> None:
    ((is_severity, message),) = found(**view)
    assert is_severity == severity
    assert says in message


def test_several_misfits_are_told_at_once() -> None:
    assert len(found(study_labels=["Kidney"], modalities=["T2"], cases=["z"])) == 4


def test_structures_mapped_to_one_of_the_studys_are_used() -> None:
    assert found(study_labels=["Liver"], label_map={"Liver": ["Liver", "Tumour"]}) == []
