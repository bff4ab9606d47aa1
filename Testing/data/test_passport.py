"""Passports: pooled over a site's cases, the same numbers as an exact count, and nothing of a single case."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from FedSegCore.data.case import read_dataset
from FedSegCore.data.check import examine_dataset
from FedSegCore.data.histogram import intensity_counts, intensity_quantile, pool, round_length
from FedSegCore.data.labels import Annotation
from FedSegCore.data.passport import Passport, make_passport
from FedSegCore.errors import DataError

MARKER = "marker_case_4711"
MARKER_SPACING, MARKER_VALUE, MARKER_SHAPE = 1.2377, 31337, (19, 23, 29)


def write_site(
    folder: Path,
    *,
    cases: int = 6,
    names: list[str] | None = None,
    dtype: Any = np.int16,
    channel: str = "CT",
) -> Path:
    names = names or [f"case_{number}" for number in range(cases)]
    entries = []
    for number, name in enumerate(names):
        marked = name == MARKER
        shape = MARKER_SHAPE if marked else (20 + number % 3, 24, 16)
        spacing = MARKER_SPACING if marked else (0.75, 1.0)[number % 2]
        values = np.random.default_rng(number).normal(40, 60, shape)
        label = np.zeros(shape, np.uint8)
        label[5:10, 5:10, 5:10] = 1 + number % 2
        if marked:
            values[0, 0, 0] = MARKER_VALUE
        affine = np.diag([spacing, spacing, 3.0, 1.0])
        image = nib.Nifti1Image(values.astype(dtype), affine)
        image.header["descrip"] = b"secret" if marked else b""
        for part, one in (("imagesTr", image), ("labelsTr", nib.Nifti1Image(label, affine))):
            (folder / part).mkdir(parents=True, exist_ok=True)
            nib.save(one, folder / part / f"{name}.nii.gz")
        entries.append({"image": f"imagesTr/{name}.nii.gz", "label": f"labelsTr/{name}.nii.gz"})
    described = {
        "channel_names": {"0": channel},
        "labels": {"background": 0, "Liver": 1, "Spleen": 2},
        "training": entries,
        "validation": [],
        "licence": "CC0 1.0",
    }
    (folder / "dataset.json").write_text(json.dumps(described))
    return folder


def passport_of(folder: Path, **options: Any) -> Passport:
    return make_passport(read_dataset(folder), **options)


def test_counts_are_those_of_the_label_maps(tmp_path: Path) -> None:
    passport = passport_of(write_site(tmp_path, cases=5))
    assert passport.label_voxels == {"Liver": 3 * 125, "Spleen": 2 * 125}
    assert passport.label_cases == {"Liver": 3, "Spleen": 2}
    assert passport.cases == {"training": 5, "validation": 0, "test": 0}
    assert sum(passport.spacing_mm[0].values()) == 5


def test_a_passport_survives_json_and_is_small(tmp_path: Path) -> None:
    passport = passport_of(write_site(tmp_path, cases=12))
    text = json.dumps(passport.to_dict())
    assert Passport.from_dict(json.loads(text)) == passport
    assert len(text) < 20_000


@pytest.mark.parametrize("stated", [True, False], ids=["validation list", "no validation list"])
def test_check_and_make_passport_agree(tmp_path: Path, stated: bool) -> None:
    folder = write_site(tmp_path, cases=11)
    described = json.loads((folder / "dataset.json").read_text())
    if not stated:
        described.pop("validation")
    (folder / "dataset.json").write_text(json.dumps(described))
    assert passport_of(folder).cases["validation"] == (0 if stated else 1)
    assert examine_dataset(folder).passport == passport_of(folder)


def test_pooled_quantiles_are_those_of_the_pooled_voxels(tmp_path: Path) -> None:
    folder = write_site(tmp_path)
    passport = passport_of(folder)
    images = [np.asanyarray(nib.load(path).dataobj).ravel() for path in (folder / "imagesTr").iterdir()]
    exact = np.quantile(np.concatenate(images), [0.005, 0.5, 0.995])
    found = [intensity_quantile(passport.intensity["CT"].every, q) for q in (0.005, 0.5, 0.995)]
    assert found == pytest.approx(exact, rel=0.04, abs=2.0)


def test_a_mean_of_quantiles_would_not_do_and_pooling_does() -> None:
    many, few = np.arange(0, 100), np.arange(900, 910)
    pooled = pool([intensity_counts(many), intensity_counts(few)])
    assert intensity_quantile(pooled, 0.5) == pytest.approx(
        np.quantile(np.concatenate([many, few]), 0.5), rel=0.04
    )


@pytest.mark.parametrize("spacing", [1.0, 2.0, 0.75, 1.25, 0.5, 3.0, 5.0, 0.94])
def test_a_spacing_comes_back_as_the_round_number_that_it_was(spacing: float) -> None:
    passport_bin = round(np.log(spacing) / 0.01)
    assert round_length({int(passport_bin): 3}, 0.5, step=0.01) == spacing


def test_nothing_of_a_single_case_leaves(tmp_path: Path) -> None:
    names = ["case_a", MARKER, "case_c", "case_d"]
    text = json.dumps(passport_of(write_site(tmp_path / "site_9182", names=names, dtype=np.int32)).to_dict())
    for secret in (
        MARKER,
        "4711",
        "case_",
        "secret",
        "site_9182",
        str(MARKER_SPACING),
        str(MARKER_VALUE),
        ".nii",
        "/",
    ):
        assert secret not in text, secret
    for side in MARKER_SHAPE:
        assert f"[{side}," not in text


def test_a_passport_says_nothing_of_the_cases_order(tmp_path: Path) -> None:
    names = [f"case_{letter}" for letter in "abcd"]
    passport = passport_of(write_site(tmp_path, names=names))
    path = tmp_path / "dataset.json"
    described = json.loads(path.read_text())
    described["training"].reverse()
    path.write_text(json.dumps(described))
    assert json.dumps(passport_of(tmp_path).to_dict()) == json.dumps(passport.to_dict())


def test_a_rare_voxel_does_not_show_in_the_intensities(tmp_path: Path) -> None:
    values = np.zeros((200, 200, 60), np.int16)
    values[:100] = 50
    values[0, 0, 0] = 31337
    folder = write_site(tmp_path, cases=1)
    nib.save(nib.Nifti1Image(values, np.eye(4)), folder / "imagesTr/case_0.nii.gz")
    passport = passport_of(folder)
    assert intensity_quantile(passport.intensity["CT"].every, 1.0) < 100


def test_axes_are_right_anterior_superior_whatever_the_file_says(tmp_path: Path) -> None:
    folder = write_site(tmp_path, cases=1)
    affine = np.array([[0, 0, -1.0, 5], [-2.0, 0, 0, 9], [0, 3.0, 0, 1], [0, 0, 0, 1]])  # P-S-L
    image = np.random.default_rng(0).normal(size=(16, 20, 24)).astype(np.float32)
    nib.save(nib.Nifti1Image(image, affine), folder / "imagesTr/case_0.nii.gz")
    passport = passport_of(folder)
    spacing = [round_length(axis, 0.5, step=0.01) for axis in passport.spacing_mm]
    assert spacing == [1.0, 2.0, 3.0]


def test_test_images_are_counted_and_not_looked_at(tmp_path: Path) -> None:
    folder = write_site(tmp_path, cases=4)
    before = passport_of(folder)
    path = folder / "dataset.json"
    described = json.loads(path.read_text())
    described["test"] = [{"image": "imagesTr/not_there.nii.gz"}]
    path.write_text(json.dumps(described))
    after = passport_of(folder)
    assert after.cases["test"] == 1
    assert after.intensity == before.intensity


def test_the_studys_names_count_the_sites_values(tmp_path: Path) -> None:
    annotation = Annotation(labels=("Abdomen", "Lung"), groups=(("Liver", "Spleen"), ()))
    passport = passport_of(write_site(tmp_path, cases=5), annotation=annotation)
    assert passport.label_voxels == {"Abdomen": 5 * 125}
    assert passport.label_cases == {"Abdomen": 5}


def test_an_unreadable_image_is_named(tmp_path: Path) -> None:
    folder = write_site(tmp_path, cases=2)
    (folder / "imagesTr/case_1.nii.gz").write_bytes(b"")
    with pytest.raises(DataError, match=r"case_1\.nii\.gz.*empty"):
        passport_of(folder)


def test_lines_tell_counts_spacings_intensities_and_labels(tmp_path: Path) -> None:
    said = "\n".join(passport_of(write_site(tmp_path)).lines())
    for part in (
        "6 training",
        "CC0 1.0",
        "axis superior: spacing 3 mm",
        "intensity CT",
        "label Liver: 375 voxels, in 3",
    ):
        assert part in said
    assert "note" not in said


def test_a_site_with_few_cases_is_told_what_its_passport_tells(tmp_path: Path) -> None:
    assert "note: pooled over 2 case(s)" in passport_of(write_site(tmp_path, cases=2)).lines()[-1]


@pytest.mark.parametrize(
    "damage", [{"cases": None}, {"spacing_mm": [[], []]}, {"extra": 1}, {"intensity": {"CT": {}}}]
)
def test_a_foreign_passport_is_refused(tmp_path: Path, damage: dict[str, Any]) -> None:
    raw = passport_of(write_site(tmp_path, cases=1)).to_dict() | damage
    with pytest.raises(DataError, match="not a passport"):
        Passport.from_dict(raw)
