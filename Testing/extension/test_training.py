"""Where a training goes, and what its curve shows."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from FedSegLib.events import Round
from FedSegLib.training import diceCurves, modelsOf, trainingFolder


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    folder = tmp_path / "liver"
    folder.mkdir()
    (folder / "dataset.json").touch()
    os.utime(folder / "dataset.json", (1000, 1000))
    return folder


def begin(folder: Path, at: float, *, finished: bool = False) -> None:
    (folder / "models").mkdir(parents=True)
    (folder / "study.json").touch()
    os.utime(folder / "study.json", (at, at))
    if finished:
        (folder / "models" / "local-liver.safetensors").touch()


def test_the_first_training_goes_beside_the_dataset(dataset: Path, tmp_path: Path) -> None:
    assert trainingFolder(dataset) == tmp_path / "liver-training" / "training-001"


def test_an_interrupted_training_is_gone_on_with(dataset: Path) -> None:
    first = trainingFolder(dataset)
    begin(first, at=2000)
    assert trainingFolder(dataset) == first


def test_after_a_finished_training_comes_a_new_one(dataset: Path) -> None:
    first = trainingFolder(dataset)
    begin(first, at=2000, finished=True)
    assert trainingFolder(dataset).name == "training-002" and len(modelsOf(first)) == 1


def test_cases_that_came_since_are_not_left_out(dataset: Path) -> None:
    begin(trainingFolder(dataset), at=500)
    assert trainingFolder(dataset).name == "training-002"


def test_a_curve_has_a_point_for_each_round_that_was_measured() -> None:
    rounds = [
        Round(1, 4, 0.9, {}),
        Round(2, 4, 0.7, {"Liver": 0.5}),
        Round(4, 4, 0.6, {"Liver": 0.8, "Spleen": 0.1}),
    ]
    curves = {curve.name: curve.points for curve in diceCurves(rounds)}
    assert curves == {"Liver": ((0.5, 0.5), (1.0, 0.8)), "Spleen": ((1.0, 0.1),)}


def test_before_anything_was_measured_there_is_no_curve() -> None:
    assert diceCurves([Round(1, 4, 0.9, {})]) == []
