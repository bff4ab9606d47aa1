"""The studies of the papers' own data, with random images of a few voxels in the layout that their comments name."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from FedSegCore.methods.registry import named
from FedSegCore.study import Study, read_study
from Testing.command import fedseg

PAPER = Path(__file__).resolve().parents[1] / "Resources" / "studies" / "paper"
FEDGIN, IOPFL, SEGVIZ, FEDMEPD = (
    PAPER / f"{name}.toml"
    for name in (
        "fedgin_totalsegmentator_amos",
        "iopfl_prostate",
        "segviz_msd_kits_btcv",
        "fedmepd_brats",
    )
)
SEQUENCES = ("FLAIR", "T1ce", "T1", "T2")
OWNED = {
    "server": SEQUENCES,
    "c1": ("FLAIR", "T1ce", "T1"),
    "c2": ("FLAIR", "T1", "T2"),
    "c3": ("FLAIR", "T1ce"),
    "c4": ("T1", "T2"),
    "c5": ("T1ce",),
    "c6": ("T2",),
    "c7": SEQUENCES,
    "c8": SEQUENCES,
}
AMOS_LABELS = (
    "background", "spleen", "right kidney", "left kidney", "gall bladder", "esophagus", "liver", "stomach",
    "aorta", "postcava", "pancreas", "right adrenal gland", "left adrenal gland", "duodenum", "bladder",
    "prostate/uterus",
)  # fmt: skip
BTCV_LABELS = (
    "background", "spleen", "right kidney", "left kidney", "gallbladder", "esophagus", "liver", "stomach", "aorta",
    "inferior vena cava", "portal and splenic veins", "pancreas", "right adrenal gland", "left adrenal gland",
)  # fmt: skip


def write_image(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.Nifti1Image(array, np.diag([1.5, 1.5, 2.0, 1.0])).to_filename(path)


def write_case(images: Sequence[Path], label: Path, values: Sequence[int]) -> None:
    """Noise for every image, and a label map that holds each value; no two cases are alike."""
    rng = np.random.default_rng(list(str(label).encode()))
    for path in images:
        write_image(path, rng.integers(-900, 1500, (16, 16, 16), dtype=np.int16))
    write_image(label, rng.choice(np.array([0, *values], np.uint8), (16, 16, 16)))


def describe(folder: Path, **keys: Any) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "dataset.json").write_text(json.dumps({"name": folder.name, "licence": "none", **keys}))


def listed(
    folder: Path, image: str, label: str, *, names: Sequence[str], values: Sequence[int]
) -> list[dict[str, str]]:
    """Cases at the given places, where * is the case's name, and their entries in dataset.json."""
    entries = []
    for name in names:
        entry = {"image": image.replace("*", name), "label": label.replace("*", name)}
        # Without resolving "..", a path cannot be made below a folder that holds a dataset.json alone.
        here = {key: Path(os.path.normpath(folder / path)) for key, path in entry.items()}
        write_case([here["image"]], here["label"], values)
        entries.append(entry)
    return entries


def by_number(names: Sequence[str]) -> dict[str, str]:
    return {str(number): name for number, name in enumerate(names)}


def by_name(names: Sequence[str]) -> dict[str, int]:
    return {name: number for number, name in enumerate(names)}


def write_fedgin(folder: Path) -> None:
    names = ("background", "liver", "spleen", "kidney_left", "kidney_right", "pancreas", "gallbladder")
    amos = {"ct": ("amos_0001", "amos_0004"), "mr": ("amos_0507", "amos_0508")}
    for modality, numbers in amos.items():
        site = folder / "fedgin" / f"totalsegmentator_{modality}"
        channel = {"0": modality.upper()}
        for case in ("s0011", "s0058"):
            image = site / "imagesTr" / f"{case}_0000.nii.gz"
            write_case([image], site / "labelsTr" / f"{case}.nii.gz", range(1, 7))
        describe(site, channel_names=channel, file_ending=".nii.gz", labels=by_name(names))
        site = folder / "fedgin" / f"amos_{modality}"
        test = listed(site, "../amos22/imagesTr/*.nii.gz", "../amos22/labelsTr/*.nii.gz", names=numbers[:1],
                      values=range(1, 16))  # fmt: skip
        test += listed(site, "../amos22/imagesVa/*.nii.gz", "../amos22/labelsVa/*.nii.gz", names=numbers[1:],
                       values=range(1, 16))  # fmt: skip
        describe(site, channel_names=channel, labels=by_number(AMOS_LABELS), test=test)


def write_prostate(folder: Path) -> None:
    """Two to three cases a site; BIDMC, which is tested with all it has, has all twelve."""
    for name in ("BIDMC", "HK", "I2CVB", "ISBI", "ISBI_1.5", "UCL"):
        site = folder / "prostate" / name
        numbers = (
            [f"Case{n:02d}" for n in range(13) if n != 1]
            if name == "BIDMC"
            else ["Case00", "Case02", "Case03"]
        )
        ending = "_Segmentation" if name == "ISBI_1.5" else "_segmentation"
        values = (1, 2) if name.startswith("ISBI") else (1,)
        cases = listed(site, "*.nii.gz", f"*{ending}.nii.gz", names=numbers, values=values)
        describe(
            site,
            channel_names={"0": "T2"},
            labels={"background": 0, "prostate": [1, 2]},
            training=cases[:-2],
            validation=cases[-2:-1],
            test=cases[-1:],
        )


def write_segviz(folder: Path) -> None:
    root = folder / "segviz"
    organs = {
        "Task09_Spleen": ("spleen", ("background", "spleen")),
        "Task03_Liver": ("liver", ("background", "liver", "cancer")),
        "Task07_Pancreas": ("pancreas", ("background", "pancreas", "cancer")),
    }
    places = ("imagesTr/*.nii.gz", "labelsTr/*.nii.gz")
    for task, (prefix, names) in organs.items():
        numbers = [f"{prefix}_{n}" for n in (2, 3, 10)]
        cases = listed(root / task, *places, names=numbers, values=range(1, len(names)))
        describe(root / task, modality={"0": "CT"}, labels=by_number(names), numTraining=2, training=cases[:2],
                 validation=[], test=cases[2:])  # fmt: skip
    numbers = ["case_00000", "case_00001", "case_00168"]
    cases = listed(root / "kits19", *places, names=numbers, values=(1, 2))
    describe(root / "kits19", channel_names={"0": "CT"}, labels=by_name(("background", "kidney", "tumour")),
             training=cases[:2], validation=[], test=cases[2:])  # fmt: skip
    test = listed(
        root / "btcv", "img/img*.nii.gz", "label/label*.nii.gz", names=("0001", "0040"), values=range(1, 14)
    )
    describe(root / "btcv", channel_names={"0": "CT"}, labels=by_name(BTCV_LABELS), test=test)


def write_brats(folder: Path) -> None:
    """Three patients a site; of sequences that a site does not own there is no file."""
    for site, owned in OWNED.items():
        here = folder / "brats2018" / site
        entries = []
        for number in range(3):
            case = f"Brats18_{site}_{number}_1"
            images = {name: f"{case}/{case}_{name.lower()}.nii.gz" for name in SEQUENCES}
            label = f"{case}/{case}_seg.nii.gz"
            write_case([here / images[name] for name in owned], here / label, (1, 2, 4))
            entries.append({"image": list(images.values()), "label": label})
        describe(
            here,
            channel_names=by_number(SEQUENCES),
            labels={"background": 0, "NCR": 1, "ED": 2, "ET": 4},
            training=entries[:2],
            validation=[],
            test=entries[2:],
        )


@pytest.fixture
def paper_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FEDSEG_PAPER_DATA", str(tmp_path / "data"))
    return tmp_path / "data"


def roles(study: Study) -> Mapping[str, str]:
    return {site.name: site.role for site in study.sites}


def tried(study: Path, folder: Path) -> dict[str, Any]:
    """What a dry run says of a study, which must find nothing wrong: no error, and no warning either."""
    outcome = fedseg("simulate", study, "--out", folder / "out", "--dry-run", "--json")
    assert outcome.code == 0, outcome
    assert outcome.told("problem") == [] and outcome.told("warning") == []
    summary: dict[str, Any] = outcome.result["summary"]
    assert summary["errors"] == 0
    return summary


def test_every_paper_has_a_study_file_that_is_tested_here() -> None:
    assert sorted(PAPER.glob("*.toml")) == sorted([FEDGIN, IOPFL, SEGVIZ, FEDMEPD])


def test_fedgins_study_is_ready_with_totalsegmentator_and_amos(paper_data: Path, tmp_path: Path) -> None:
    write_fedgin(paper_data)
    found = tried(FEDGIN, tmp_path)
    assert found["labels"] == ["liver"]
    assert (found["plan"]["dims"], found["plan"]["patch"]) == (2, [256, 256])
    study = read_study(FEDGIN)
    assert roles(study) == {"ct": "member", "mr": "member", "amos_ct": "outside", "amos_mr": "outside"}


def test_fedgins_organ_is_changed_as_its_comments_say(paper_data: Path, tmp_path: Path) -> None:
    write_fedgin(paper_data)
    text = FEDGIN.read_text(encoding="utf-8").replace('labels = ["liver"]', 'labels = ["kidneys"]')
    members = 'label_map = {kidneys = ["kidney_left", "kidney_right"]}'
    others = 'label_map = {kidneys = ["left kidney", "right kidney"]}'
    assert members in text.replace("\n# ", " ") and others in text.replace("\n# ", " ")
    for modality in ("ct", "mr"):
        text = text.replace(f'/totalsegmentator_{modality}"', f'/totalsegmentator_{modality}"\n{members}')
        text = text.replace(f'/amos_{modality}"', f'/amos_{modality}"\n{others}')
    changed = tmp_path / "kidneys.toml"
    changed.write_text(text, encoding="utf-8")
    assert tried(changed, tmp_path)["labels"] == ["kidneys"]


def test_fedgins_study_has_the_papers_settings(paper_data: Path) -> None:
    study = read_study(FEDGIN)
    assert (study.rounds, study.seeds, study.train.epochs) == (100, (42, 123, 215), 1)
    assert set(study.methods) == {"fedavg", "fedgin", "local", "central"}
    train = study.train
    assert (train.batch_size, train.learning_rate, train.weight_decay) == (8, 5e-4, 1e-4)
    assert (train.loss, train.augment_probability) == ("dice_focal", 1.0)


def test_iop_fls_study_is_ready_with_six_prostate_sites(paper_data: Path, tmp_path: Path) -> None:
    write_prostate(paper_data)
    found = tried(IOPFL, tmp_path)
    assert found["labels"] == ["prostate"]
    assert (found["plan"]["dims"], found["plan"]["patch"]) == (2, [384, 384])
    study = read_study(IOPFL)
    members = ("HK", "I2CVB", "ISBI", "ISBI_1.5", "UCL")
    assert roles(study) == {**dict.fromkeys(members, "member"), "BIDMC": "outside"}


def test_iop_fls_outside_site_is_tested_with_all_its_twelve_cases(paper_data: Path, tmp_path: Path) -> None:
    write_prostate(paper_data)
    outcome = fedseg("simulate", IOPFL, "--out", tmp_path / "out", "--dry-run")
    line = next(line for line in outcome.out.splitlines() if line.startswith("BIDMC"))
    assert "outside" in line and "0 training, 0 validation, 12 test" in line


def test_iop_fls_study_has_the_papers_settings(paper_data: Path) -> None:
    study = read_study(IOPFL)
    assert (study.rounds, study.seeds, study.train.epochs, study.train.learning_rate) == (100, (0,), 1, 1e-3)
    assert study.network.norm == "batch" and study.network.channels == (32, 64, 128, 256, 512)
    assert study.method_options["iopfl"]["personal"] == 0.1
    ways = named("iopfl", study.method_options).outside
    assert study.outside_models is None and {"global", "routed", "tent", "batchnorm", "uniform"} <= set(ways)
    assert all(site.publish_personal for site in study.sites if site.role == "member")


def test_segvizs_study_is_ready_with_four_partly_labelled_datasets_and_btcv(
    paper_data: Path, tmp_path: Path
) -> None:
    write_segviz(paper_data)
    found = tried(SEGVIZ, tmp_path)
    assert found["labels"] == ["spleen", "liver", "pancreas", "kidney"]
    assert (found["plan"]["patch"], found["plan"]["spacing_mm"]) == ([128, 128, 32], [1.5, 1.5, 2.0])
    assert found["plan"]["intensity"]["CT"] == {"rule": "window", "lower": -200.0, "upper": 304.0}
    study = read_study(SEGVIZ)
    members = ("spleen", "liver", "pancreas", "kidney")
    assert roles(study) == {**dict.fromkeys(members, "member"), "btcv": "outside"}


def test_segvizs_clients_each_annotate_one_organ_with_its_tumours(paper_data: Path, tmp_path: Path) -> None:
    write_segviz(paper_data)
    outcome = fedseg("simulate", SEGVIZ, "--out", tmp_path / "out", "--dry-run")
    annotated = {
        line.split()[0]: line.split("; ")[-1] for line in outcome.out.splitlines() if "training, " in line
    }
    assert annotated == {
        "spleen": "spleen",
        "liver": "liver",
        "pancreas": "pancreas",
        "kidney": "kidney",
        "btcv": "spleen, liver, pancreas, kidney",
    }
    merged = {site.name: site.label_map for site in read_study(SEGVIZ).sites}
    assert merged["liver"] == {"liver": ("liver", "cancer")}
    assert merged["kidney"] == {"kidney": ("kidney", "tumour")}


def test_segvizs_study_has_the_papers_settings(paper_data: Path) -> None:
    study = read_study(SEGVIZ)
    assert (study.rounds, study.train.epochs, study.train.learning_rate) == (50, 10, 1e-4)
    assert (study.train.batch_size, study.seeds) == (8, (0,))
    assert study.network.channels == (16, 32, 64, 128, 256) and study.network.norm == "batch"


def test_fedmepds_study_is_ready_with_sites_that_hold_only_the_sequences_they_own(
    paper_data: Path, tmp_path: Path
) -> None:
    write_brats(paper_data)
    found = tried(FEDMEPD, tmp_path)
    assert found["labels"] == ["WT", "TC", "ET"]
    assert found["plan"]["patch"] == [80, 80, 80]
    # The regions overlap; a label map shows each by the value that lies in it but in none inside it.
    assert found["values"] == {"WT": 2, "TC": 1, "ET": 4}
    clients = {f"c{number}": "member" for number in range(1, 9)}
    assert roles(read_study(FEDMEPD)) == {"server": "server", **clients, "server_test": "outside"}


def test_fedmepds_sites_own_the_sequences_of_the_papers_table(paper_data: Path) -> None:
    sites = [site for site in read_study(FEDMEPD).sites if site.role != "outside"]
    assert {site.name: site.modalities for site in sites} == OWNED


def test_fedmepds_study_has_the_papers_settings(paper_data: Path) -> None:
    study = read_study(FEDMEPD)
    assert (study.rounds, study.train.epochs, study.train.batch_size) == (1000, 1, 1)
    assert (study.train.learning_rate, study.train.weight_decay) == (2e-4, 1e-5)
    options = study.method_options["fedmepd"]
    assert (options["warm_up"], options["patience"], options["momentum"]) == (30, 10, 0.999)
    assert (options["anchors"], options["keep"]) == (4, 0.3)
