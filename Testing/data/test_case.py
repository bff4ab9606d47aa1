from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from FedSegCore.data.case import read_dataset
from FedSegCore.errors import DataError

LABELS = {"background": 0, "LV": 1}


def write(folder: Path, **keys: Any) -> Path:
    folder.mkdir(exist_ok=True)
    raw = {"channel_names": {"0": "MRI"}, "labels": LABELS, "training": [], **keys}
    (folder / "dataset.json").write_text(json.dumps({k: v for k, v in raw.items() if v is not None}))
    return folder


def entry(name: str) -> dict[str, str]:
    return {"image": f"./imagesTr/{name}.nii.gz", "label": f"./labelsTr/{name}.nii.gz"}


def test_an_msd_folder_gives_its_cases_channels_labels_and_licence(tmp_path: Path) -> None:
    case = {"image": ["imagesTr/p1_0000.nii.gz", "imagesTr/p1_0001.nii.gz"], "label": "../x/p1.nii.gz"}
    write(
        tmp_path / "site",
        name="Site",
        channel_names=None,
        modality={"1": "FLAIR", "0": "T1"},
        labels={"0": "background", "1": "LV"},
        training=[case],
        validation=[],
        test=["./imagesTs/p2_0000.nii.gz", {"image": "imagesTs/p3.nii.gz", "label": "labelsTs/p3.nii.gz"}],
        license="CC0 1.0",
    )
    dataset = read_dataset(tmp_path / "site")
    assert (dataset.name, dataset.channel_names, dataset.licence) == ("Site", ("T1", "FLAIR"), "CC0 1.0")
    assert dataset.labels.names == ("LV",)
    (one,) = dataset.training
    assert one.name == "p1"
    assert one.images == tuple(tmp_path / "site" / f"imagesTr/p1_000{c}.nii.gz" for c in (0, 1))
    assert one.label is not None
    assert one.label.resolve() == (tmp_path / "x" / "p1.nii.gz").resolve()
    assert [case.name for case in dataset.test] == ["p2", "p3"]
    assert dataset.test[0].label is None
    assert dataset.validation == ()
    assert dataset.raw["license"] == "CC0 1.0"


def test_an_nnunet_folder_is_read_without_lists(tmp_path: Path) -> None:
    write(tmp_path, training=None, channel_names={"0": "T1", "1": "T2"}, file_ending=".nrrd", name=None)
    (tmp_path / "imagesTr").mkdir()
    for name in (
        "b_0000.nrrd",
        "b_0001.nrrd",
        "a_1_0000.nrrd",
        "notes.txt",
        "a_1_0000.nii.gz",
        "._b_0000.nrrd",
    ):
        (tmp_path / "imagesTr" / name).touch()
    dataset = read_dataset(tmp_path)
    assert [case.name for case in dataset.training] == ["a_1", "b"]
    assert [path.name for path in dataset.training[0].images] == ["a_1_0000.nrrd", "a_1_0001.nrrd"]
    assert dataset.training[1].label == tmp_path / "labelsTr" / "b.nrrd"
    assert dataset.name == tmp_path.name
    assert dataset.test == ()


def test_without_a_validation_list_every_tenth_case_by_name_validates(tmp_path: Path) -> None:
    names = [f"case{number:02d}" for number in range(23)]
    dataset = read_dataset(write(tmp_path, training=[entry(name) for name in reversed(names)]))
    assert [case.name for case in dataset.validation] == ["case19", "case09"]
    assert len(dataset.training) == 21


def test_with_fewer_than_ten_cases_none_validates(tmp_path: Path) -> None:
    dataset = read_dataset(write(tmp_path, training=[entry(f"c{number}") for number in range(9)]))
    assert (len(dataset.training), len(dataset.validation)) == (9, 0)


def test_an_empty_validation_list_is_respected(tmp_path: Path) -> None:
    dataset = read_dataset(write(tmp_path, training=[entry(f"c{n}") for n in range(30)], validation=[]))
    assert (len(dataset.training), len(dataset.validation)) == (30, 0)


def test_four_digits_that_the_label_shares_belong_to_the_name(tmp_path: Path) -> None:
    entries = [
        entry("knee_0012"),
        {"image": "i/hip_0001.nii.gz", "label": "l/hip.nii.gz"},
        entry("scan_2019"),
    ]
    names = [case.name for case in read_dataset(write(tmp_path, training=entries)).training]
    assert names == ["knee_0012", "hip", "scan_2019"]


def test_duplicate_names_and_missing_files_are_left_to_the_check(tmp_path: Path) -> None:
    dataset = read_dataset(write(tmp_path, training=[entry("a"), entry("a")]))
    assert [case.name for case in dataset.training] == ["a", "a"]


def test_a_missing_folder_or_description_is_said(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nowhere does not exist"):
        read_dataset(tmp_path / "nowhere")
    with pytest.raises(DataError, match=r"has no dataset\.json"):
        read_dataset(tmp_path)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{\n"name": "x",\n"labels": {"a": 1,}\n}', "line 3"),
        ('{"labels": {"a": 1, "a": 2}}', '"a" stands twice'),
        ("[]", "JSON object"),
        ("\xff\xfe", "UTF-8"),
    ],
)
def test_a_broken_description_is_one_sentence(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "dataset.json").write_text(text, encoding="latin-1")
    with pytest.raises(DataError, match=said) as caught:
        read_dataset(tmp_path)
    assert "dataset.json" in caught.value.message
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"channel_names": None}, "channel_names"),
        ({"channel_names": {"0": "T1", "2": "T2"}}, "numbered from 0"),
        ({"channel_names": {"0": 7}}, "channel_names"),
        ({"channel_names": ["T1", "T1"]}, "same name"),
        ({"labels": None}, "no `labels`"),
        ({"training": "all"}, "must be a list"),
        ({"training": [{"label": "a.nii.gz"}]}, "`training` entry 1"),
        ({"training": [entry("a"), 3]}, "`training` entry 2"),
        ({"test": [{"image": [1]}]}, "`test` entry 1"),
        ({"training": None}, "no `training` list"),
    ],
)
def test_a_wrong_key_is_named(tmp_path: Path, keys: dict[str, Any], said: str) -> None:
    with pytest.raises(DataError, match=said) as caught:
        read_dataset(write(tmp_path, **keys))
    assert caught.value.fix


def test_an_nnunet_folder_without_cases_is_refused(tmp_path: Path) -> None:
    (tmp_path / "imagesTr").mkdir()
    with pytest.raises(DataError, match=r"CASE_0000\.nii\.gz"):
        read_dataset(write(tmp_path, training=None))


def test_every_real_dataset_is_read_and_names_existing_files(real_data: Path) -> None:
    for description in sorted(real_data.rglob("dataset.json")):
        dataset = read_dataset(description.parent)
        cases = (*dataset.training, *dataset.validation, *dataset.test)
        assert cases, description
        for case in cases:
            assert len(case.images) == len(dataset.channel_names), case
            assert all(path.is_file() for path in (*case.images, case.label) if path), case


def test_the_real_splits_are_as_described(real_data: Path) -> None:
    hippocampus = read_dataset(real_data / "hippocampus")
    assert (len(hippocampus.training), len(hippocampus.validation), len(hippocampus.test)) == (162, 18, 40)
    island = read_dataset(real_data / "hippo_shift" / "island")
    assert (len(island.training), len(island.validation), len(island.test)) == (30, 6, 8)
    assert read_dataset(real_data / "hippo_modalities" / "c3").training[0].name == "hippocampus_077"
    assert read_dataset(real_data / "brain_ixi_hh10").training[0].name == "IXI012-HH-1211"
