"""What one site's folder tells, whoever the other sites are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from FedSegCore.data.phantom import STYLES, write_phantom_dataset
from FedSegCore.errors import DataError, StudyError
from FedSegCore.sitedata import SiteFolder, declare, feeding, read_site
from FedSegCore.study import StudySite
from Testing.command import SHAPE


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two training cases and a test case of CT and MR, with a liver and a kidney."""
    path = tmp_path_factory.mktemp("folder")
    styles = [STYLES["ct"], STYLES["mr"]]
    write_phantom_dataset(
        path, cases=2, test_cases=1, seed=0, style=styles, labels=("Liver", "Kidney"), shape=SHAPE
    )
    return path


def site(folder: Path, **keys: Any) -> SiteFolder:
    return read_site(StudySite("north", folder, **keys))


def test_a_site_tells_who_it_is_and_what_it_brings(folder: Path) -> None:
    found = declare(site(folder, modalities=("MR",)), within=None, passport=False)
    assert (found.name, found.modalities, found.num_cases, found.passport) == ("north", ("MR",), 2, {})
    assert (found.labels, found.values) == (("Liver", "Kidney"), {"Liver": (1,), "Kidney": (2,)})
    assert found.licence == json.loads((folder / "dataset.json").read_text())["licence"]


def test_of_a_study_that_lists_its_structures_it_tells_no_others(folder: Path) -> None:
    found = declare(site(folder), within=("Spleen", "Kidney"), passport=True)
    assert (found.labels, found.values) == (("Kidney",), {"Kidney": (2,)})
    assert "Liver" not in json.dumps(found.passport)


def test_merged_structures_bring_one_name_and_all_their_values(folder: Path) -> None:
    found = declare(site(folder, label_map={"Organ": ("Kidney", "Liver")}), within=("Organ",), passport=False)
    assert (found.labels, found.values) == (("Organ",), {"Organ": (2, 1)})


def test_what_another_site_may_bring_is_told_where_the_study_lists_nothing(folder: Path) -> None:
    found = declare(site(folder, label_map={"Organ": ("Kidney", "Liver")}), within=None, passport=False)
    assert found.labels == ("Organ",)
    assert found.values == {"Organ": (2, 1), "Liver": (1,), "Kidney": (2,)}


def test_what_the_site_does_not_annotate_is_not_told(folder: Path) -> None:
    found = declare(site(folder, labels=("Kidney",)), within=None, passport=False)
    assert (found.labels, dict(found.values)) == (("Kidney",), {"Kidney": (2,)})


def test_the_passport_counts_training_cases_and_owned_channels_alone(folder: Path) -> None:
    heard: list[float] = []
    found = declare(
        site(folder, modalities=("CT",), limit=1), within=None, passport=True, progress=heard.append
    )
    assert found.num_cases == 1
    assert found.passport["cases"] == {"training": 1, "validation": 0, "test": 0}
    assert list(found.passport["intensity"]) == ["CT"]
    assert heard == [1.0]


def test_a_site_with_none_of_the_studys_structures_is_refused(folder: Path) -> None:
    with pytest.raises(DataError, match="None of the study's labels"):
        declare(site(folder), within=("Spleen",), passport=False)


def test_a_folder_that_cannot_be_used_is_named_with_its_site(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="Site north: "):
        site(tmp_path / "none")


def test_a_member_needs_a_case_to_train_with(folder: Path) -> None:
    with pytest.raises(StudyError, match="Site north has no training cases"):
        site(folder, cases=())


@pytest.mark.parametrize(
    ("owned", "inputs", "fed"),
    [
        (("CT",), (("CT", "MR"),), ("CT",)),
        (("PET",), (("CT", "MR"),), ("PET",)),
        (("PET", "MR"), (("CT", "MR"),), ("MR",)),
        (("MR", "CT"), (("CT", "MR"),), ("MR",)),
        (("MR", "PET"), (("CT",), ("MR",)), ("MR",)),
        (("PET",), (("CT",), ("MR",)), ()),
    ],
)
def test_a_modality_feeds_the_input_that_may_take_it_and_an_only_one_the_only_input(
    owned: tuple[str, ...], inputs: tuple[tuple[str, ...], ...], fed: tuple[str, ...]
) -> None:
    assert feeding(owned, inputs) == fed
