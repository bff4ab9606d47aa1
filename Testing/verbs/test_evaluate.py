from __future__ import annotations

import csv
import json
import math
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from FedSegCore.data.io import read_volume, write_label_map
from FedSegCore.data.legend import Legend
from Testing.command import FEW_STEPS, Finished, SmallSite, fedseg, refused, write_study
from Testing.slicer import write_slicer


@pytest.fixture
def labels(finished: Finished) -> Path:
    return finished.study.parent / "mr" / "labelsTr"


def test_references_compared_with_themselves_are_perfect(labels: Path, tmp_path: Path) -> None:
    table = tmp_path / "scores.csv"
    outcome = fedseg("evaluate", labels, labels, "--csv", table, "--json")
    assert outcome.code == 0, outcome
    summary = outcome.result["summary"]
    assert summary["cases"] == 3 and set(summary["means"]) == {"Liver", "Kidney"}
    assert all(mean == {"dice": 1.0, "hd95_mm": 0.0, "nsd_1mm": 1.0} for mean in summary["means"].values())
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["case", "label", "dice", "hd95_mm", "nsd_1mm"]
    assert len(rows) == 6 and {float(row["dice"]) for row in rows} == {1.0}


def test_one_file_against_another_is_scored_by_the_names_of_the_dataset(labels: Path, tmp_path: Path) -> None:
    reference = labels / "mr_000.nii.gz"
    like = read_volume(reference)
    moved = np.roll(like.array.astype(np.uint8), 1, axis=0)
    write_label_map(tmp_path / "found.nii.gz", moved, like=like, segments={"Liver": 1, "Kidney": 2})
    outcome = fedseg("evaluate", tmp_path / "found.nii.gz", reference, "--json")
    liver = outcome.result["summary"]["means"]["Liver"]
    assert 0 < liver["dice"] < 1 and liver["hd95_mm"] == pytest.approx(2.0)
    text = fedseg("evaluate", tmp_path / "found.nii.gz", reference).out
    assert "Liver" in text and "HD95" in text and "1 cases" in text


def test_a_slicer_segmentation_brings_its_own_names(tmp_path: Path, labels: Path) -> None:
    like = read_volume(labels / "mr_000.nii.gz")
    for name in ("found", "truth"):
        (tmp_path / name).mkdir()
        write_label_map(
            tmp_path / name / "a.seg.nrrd",
            like.array.astype(np.uint8),
            like=like,
            segments={"One": 1, "Two": 2},
        )
    outcome = fedseg("evaluate", tmp_path / "found", tmp_path / "truth", "--json")
    assert outcome.result["summary"]["means"]["Two"]["dice"] == 1.0


@pytest.mark.parametrize("described", [True, False], ids=["with dataset.json", "without"])
def test_files_that_slicer_cropped_differently_are_compared_whole(
    described: bool, labels: Path, tmp_path: Path
) -> None:
    if described:
        shutil.copy(labels.parent / "dataset.json", tmp_path)
    affine = read_volume(labels / "mr_000.nii.gz").affine
    for name, part in (("found", slice(2, 8)), ("truth", slice(6, 12))):
        drawn = np.zeros((16, 16, 12), np.uint8)
        drawn[part, 3:9, 3:9] = 7
        crop = (part, slice(3, 9), slice(3, 9))
        write_slicer(tmp_path / f"{name}.seg.nrrd", [drawn], {"Liver": (7, 0)}, affine=affine, crop=crop)
    outcome = fedseg("evaluate", tmp_path / "found.seg.nrrd", tmp_path / "truth.seg.nrrd", "--json")
    assert outcome.result["summary"]["means"]["Liver"]["dice"] == pytest.approx(1 / 3)


def test_what_the_reference_does_not_name_is_scored_by_its_value(tmp_path: Path, labels: Path) -> None:
    shutil.copy(labels / "mr_000.nii.gz", tmp_path / "a.nii.gz")
    outcome = fedseg("evaluate", tmp_path / "a.nii.gz", tmp_path / "a.nii.gz", "--json")
    assert set(outcome.result["summary"]["means"]) == {"1", "2"}


def test_a_structure_that_both_lack_is_undefined_not_zero(tmp_path: Path, labels: Path) -> None:
    like = read_volume(labels / "mr_000.nii.gz")
    liver = (like.array == 1).astype(np.uint8)
    for name in ("found", "labelsTr"):
        (tmp_path / name).mkdir()
        write_label_map(tmp_path / name / "a.nii.gz", liver, like=like, segments={})
    shutil.copy(labels.parent / "dataset.json", tmp_path)
    table = tmp_path / "scores.csv"
    outcome = fedseg("evaluate", tmp_path / "found", tmp_path / "labelsTr", "--csv", table, "--json")
    summary = outcome.result["summary"]
    assert summary["undefined"] == 1 and summary["means"]["Kidney"]["dice"] is None
    assert "a,Kidney,,," in table.read_text()
    assert "nan" in fedseg("evaluate", tmp_path / "found", tmp_path / "labelsTr").out
    assert not math.isnan(summary["means"]["Liver"]["dice"])


def test_what_cannot_be_compared_is_refused(labels: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    image = nib.load(labels / "mr_000.nii.gz")
    nib.Nifti1Image(np.asarray(image.dataobj)[1:], image.affine).to_filename(other / "mr_000.nii.gz")
    (tmp_path / "empty").mkdir()
    assert "grids" in refused(fedseg("evaluate", other / "mr_000.nii.gz", labels))
    assert "no segmentation" in refused(fedseg("evaluate", tmp_path / "empty", labels))
    assert "/nowhere" in refused(fedseg("evaluate", "/nowhere", labels))
    shutil.move(other / "mr_000.nii.gz", other / "stranger.nii.gz")
    assert "stranger.nii.gz" in refused(fedseg("evaluate", other, labels))


def test_a_reference_that_was_not_segmented_is_told(labels: Path, tmp_path: Path) -> None:
    shutil.copy(labels / "mr_000.nii.gz", tmp_path)
    said = refused(fedseg("evaluate", tmp_path, labels))
    assert "2 of 3 references" in said and "mr_001.nii.gz, mr_002.nii.gz." in said
    assert fedseg("evaluate", tmp_path / "mr_000.nii.gz", labels).code == 0


def test_an_evaluation_of_segmented_images_runs_from_end_to_end(finished: Finished, tmp_path: Path) -> None:
    images = finished.study.parent / "ct"
    (case,) = json.loads((images / "dataset.json").read_text())["test"]
    out = tmp_path / "found" / Path(case["label"]).name
    scan = images / case["image"]
    assert fedseg("segment", "--image", f"CT={scan}", "--model", finished.model, "-o", out).code == 0
    outcome = fedseg("evaluate", out.parent, images / "labelsTs", "--json")
    assert outcome.code == 0 and set(outcome.result["summary"]["means"]) == {"Liver", "Kidney"}


ONE_ROUND = FEW_STEPS.replace("rounds = 2", "rounds = 1")
REGIONS = {"background": 0, "whole": [1, 2, 3], "core": [1, 3], "enhancing": 3}


def bright_inside_bright(net: nn.Module, image: Tensor, **_: object) -> Tensor:
    """A network that finds one structure inside the other: ever brighter voxels."""
    outputs = len(net.state_dict()["head.conv.bias"])
    levels = image.quantile(torch.linspace(0.5, 0.9, outputs))
    return torch.cat([(image > level) * (0.6 + 0.1 * place) for place, level in enumerate(levels)])


def simulated(
    folder: Path, monkeypatch: pytest.MonkeyPatch, *, rest: str = ONE_ROUND, labels: dict[str, object],
    value_of: dict[int, int] | None = None, keys: dict[str, object] | None = None,
) -> Path:  # fmt: skip
    """A finished study of one site with three structures, whose files have these labels and values."""
    monkeypatch.setattr("FedSegCore.inference.segment.predict", bright_inside_bright)
    site = SmallSite("north", "mr", cases=2, test_cases=2, labels=("a", "b", "c"), keys=keys or {})
    study = write_study(folder, [site], rest=rest)
    description = folder / "north" / "dataset.json"
    description.write_text(json.dumps({**json.loads(description.read_text()), "labels": labels}))
    for path in folder.glob("north/labels*/*.nii.gz"):
        image = nib.load(path)
        array = np.asarray(image.dataobj).copy()
        renumbered = np.vectorize(lambda value: (value_of or {}).get(value, value), otypes=[np.uint8])(array)
        nib.Nifti1Image(renumbered, image.affine).to_filename(path)
    outcome = fedseg("simulate", study, "--out", folder / "out")
    assert outcome.code == 0, outcome
    return study


def scored(table: Path) -> dict[tuple[str, str], list[float]]:
    """Dice, HD95 and NSD of the global model or an evaluation, by case and label."""
    with table.open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row.get("model", "global") == "global"]
    metrics = ("dice", "hd95_mm", "nsd_1mm")
    return {(row["case"], row["label"]): [float(row[name] or "nan") for name in metrics] for row in rows}


def segmented(folder: Path) -> Path:
    model = folder / "out" / "models" / "global.safetensors"
    out = folder / "found"
    assert fedseg("segment", folder / "north" / "imagesTs", "--model", model, "-o", out).code == 0
    return out


def assert_equal_to_the_study(folder: Path, *words: object) -> None:
    table = folder / "table.csv"
    outcome = fedseg("evaluate", folder / "found", folder / "north" / "labelsTs", "--csv", table, *words)
    assert outcome.code == 0, outcome
    assert "warning" not in outcome.err
    expected, found = scored(folder / "out" / "scores.csv"), scored(table)
    assert found.keys() == expected.keys()
    for key, numbers in expected.items():
        assert found[key] == pytest.approx(numbers, abs=1e-4, nan_ok=True), key
    assert any(dice > 0.05 for dice, _, _ in found.values())


def test_regions_inside_each_other_score_as_in_the_study(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    simulated(tmp_path, monkeypatch, labels=REGIONS)
    path = segmented(tmp_path) / "north_002.nii.gz"
    assert set(np.unique(read_volume(path).array)) == {0, 1, 2, 3}
    assert_equal_to_the_study(tmp_path)


def test_layers_for_slicer_score_as_in_the_study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    simulated(tmp_path, monkeypatch, labels=REGIONS)
    model = tmp_path / "out" / "models" / "global.safetensors"
    for case in ("north_002", "north_003"):
        image, out = (
            tmp_path / "north" / "imagesTs" / f"{case}.nii.gz",
            tmp_path / "found" / f"{case}.seg.nrrd",
        )
        assert fedseg("segment", image, "--model", model, "-o", out).code == 0
    assert_equal_to_the_study(tmp_path)


def test_merged_structures_score_as_in_the_study_that_merges_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    labels = {"background": 0, "Liver": 5, "Kidney": 1, "Tumour": 2}
    study = simulated(
        tmp_path, monkeypatch, labels=labels, value_of={1: 5, 2: 1, 3: 2},
        keys={"label_map.Liver": ["Liver", "Tumour"]},
    )  # fmt: skip
    found = segmented(tmp_path)
    assert set(np.unique(read_volume(found / "north_002.nii.gz").array)) <= {0, 1, 5}
    assert_equal_to_the_study(tmp_path, "--study", study, "--site", "north")
    alone = fedseg("evaluate", found, tmp_path / "north" / "labelsTs").err
    assert "Tumour, which only the references name" in alone and "--study STUDY.toml" in alone


def test_slices_are_measured_as_in_the_study_of_slices(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rest = ONE_ROUND.replace("patch = [8, 8, 8]", "dims = 2\npatch = [8, 8]")
    simulated(tmp_path, monkeypatch, labels={"background": 0, "a": 1, "b": 2, "c": 3}, rest=rest)
    found, references = segmented(tmp_path), tmp_path / "north" / "labelsTs"
    assert_equal_to_the_study(tmp_path)
    told = fedseg("evaluate", found, references).out
    assert "in the slices along axis 3 (2 cases), as the segmentations say" in told
    solid = fedseg("evaluate", found, references, "--slices", "none", "--json").result["summary"]
    flat = fedseg("evaluate", found, references, "--json").result["summary"]
    assert solid["surfaces"] == {"in 3-D": 2} and flat["surfaces"] == {"in the slices along axis 3": 2}
    assert solid["means"]["a"]["hd95_mm"] != flat["means"]["a"]["hd95_mm"]
    assert solid["means"]["a"]["dice"] == flat["means"]["a"]["dice"]


def test_slices_of_another_programs_segmentations_are_told_by_an_option(labels: Path, tmp_path: Path) -> None:
    like = read_volume(labels / "mr_000.nii.gz")
    moved = np.roll(like.array.astype(np.uint8), 1, axis=2)
    nib.Nifti1Image(moved, like.affine).to_filename(tmp_path / "mr_000.nii.gz")
    words = ("evaluate", tmp_path / "mr_000.nii.gz", labels / "mr_000.nii.gz")
    flat = fedseg(*words, "--slices", "3")
    assert "in the slices along axis 3 (1 cases), as --slices says" in flat.out
    assert "in 3-D (1 cases), as the segmentations say" in fedseg(*words).out
    assert flat.out != fedseg(*words, "--slices", "1").out
    assert "--slices" in refused(fedseg(*words, "--slices", "4"))


def written(path: Path, labels: Path, structures: dict[str, tuple[int, ...]]) -> Path:
    """The reference mr_000 as if FedSeg had found it under these names."""
    like = read_volume(labels / "mr_000.nii.gz")
    legend = Legend(structures).to_text()
    write_label_map(path, like.array.astype(np.uint8), like=like, segments={}, legend=legend)
    return path


def test_names_decide_over_values_in_what_fedseg_wrote(labels: Path, tmp_path: Path) -> None:
    swapped = written(tmp_path / "a.nii.gz", labels, {"Liver": (2,), "Kidney": (1,)})
    means = fedseg("evaluate", swapped, labels / "mr_000.nii.gz", "--json").result["summary"]["means"]
    assert means["Liver"]["dice"] == means["Kidney"]["dice"] == 0.0


def test_structures_that_one_side_does_not_name_are_told_in_one_line(labels: Path, tmp_path: Path) -> None:
    found = written(tmp_path / "a.nii.gz", labels, {"Liver": (1,), "Spleen": (2,)})
    outcome = fedseg("evaluate", found, labels / "mr_000.nii.gz", "--json")
    assert set(outcome.result["summary"]["means"]) == {"Liver"}
    (warning,) = outcome.told("warning")
    assert "Spleen, which only the segmentations name" in warning["message"]
    assert "Kidney, which only the references name" in warning["message"]
    assert "--study STUDY.toml --site NAME" in warning["fix"]


def test_without_any_shared_name_nothing_can_be_scored(labels: Path, tmp_path: Path) -> None:
    found = written(tmp_path / "a.nii.gz", labels, {"Spleen": (1,), "Aorta": (2,)})
    said = refused(fedseg("evaluate", found, labels / "mr_000.nii.gz"))
    assert "Spleen, Aorta" in said and "Liver, Kidney" in said and "--study" in said


def test_references_without_a_dataset_are_read_with_the_segmentations_names(
    labels: Path, tmp_path: Path
) -> None:
    found = written(tmp_path / "a.nii.gz", labels, {"both": (1, 2), "one": (1,)})
    shutil.copy(labels / "mr_000.nii.gz", tmp_path / "b.nii.gz")
    means = fedseg("evaluate", found, tmp_path / "b.nii.gz", "--json").result["summary"]["means"]
    assert {name: mean["dice"] for name, mean in means.items()} == {"both": 1.0, "one": 1.0}


def test_a_site_is_named_with_its_study_and_of_it(finished: Finished, labels: Path, tmp_path: Path) -> None:
    words = ("evaluate", labels, labels)
    assert "belong together" in refused(fedseg(*words, "--study", finished.study))
    assert '"mrr"' in refused(fedseg(*words, "--study", finished.study, "--site", "mrr"))
    assert fedseg(*words, "--study", finished.study, "--site", "mr").code == 0
    shutil.copy(labels / "mr_000.nii.gz", tmp_path)
    alone = tmp_path / "mr_000.nii.gz"
    said = refused(fedseg("evaluate", alone, alone, "--study", finished.study, "--site", "mr"))
    assert "dataset.json" in said


def test_a_site_that_annotates_none_of_the_studys_structures_cannot_be_scored(
    labels: Path, tmp_path: Path
) -> None:
    study = tmp_path / "study.toml"
    study.write_text(
        'name = "a"\nmethod = "fedavg"\nlabels = ["Organs"]\n[[site]]\nname = "mr"\ndata = "mr"\nlabels = ["Liver"]\n'
        'label_map = {Organs = ["Liver", "Kidney"]}\n'
    )
    (tmp_path / "mr").mkdir()
    said = refused(fedseg("evaluate", labels, labels, "--study", study, "--site", "mr"))
    assert "none of the study's structures" in said


def test_two_files_of_one_case_are_refused_on_either_side(labels: Path, tmp_path: Path) -> None:
    reference = labels / "mr_000.nii.gz"
    for folder, names in (("both", ("mr_000.nii.gz", "mr_000_0001.nii.gz")), ("one", ("mr_000.nii.gz",))):
        (tmp_path / folder).mkdir()
        for name in names:
            shutil.copy(reference, tmp_path / folder / name)
    said = refused(fedseg("evaluate", tmp_path / "both", tmp_path / "one"))
    assert "mr_000.nii.gz and mr_000_0001.nii.gz" in said and "of case mr_000" in said
    like = read_volume(reference)
    write_label_map(tmp_path / "one" / "mr_000.nrrd", np.ones(like.shape), like=like, segments={})
    assert "of case mr_000" in refused(
        fedseg("evaluate", tmp_path / "one" / "mr_000.nii.gz", tmp_path / "one")
    )


def test_layers_that_all_count_from_one_are_not_compared_by_value(tmp_path: Path) -> None:
    first, second = np.zeros((8, 8, 8), np.uint8), np.zeros((8, 8, 8), np.uint8)
    first[:4], second[6:] = 1, 1
    segments = {"A": (1, 0), "C": (1, 1)}
    write_slicer(tmp_path / "found.seg.nrrd", [first, second], segments, affine=np.eye(4))
    nib.Nifti1Image(first, np.eye(4)).to_filename(tmp_path / "truth.nii.gz")
    said = refused(fedseg("evaluate", tmp_path / "found.seg.nrrd", tmp_path / "truth.nii.gz"))
    assert "names its structures (A, C)" in said and "dataset.json" in said


def test_with_a_study_only_its_structures_are_scored(
    finished: Finished, labels: Path, tmp_path: Path
) -> None:
    study = tmp_path / "study.toml"
    site = f'[[site]]\nname = "mr"\ndata = "{labels.parent}"\nlabels = ["Liver"]\n'
    study.write_text(f'name = "one"\nmethod = "local"\nlabels = ["Liver"]\n{site}')
    outcome = fedseg("evaluate", labels, labels, "--study", study, "--site", "mr", "--json")
    assert list(outcome.result["summary"]["means"]) == ["Liver"]
