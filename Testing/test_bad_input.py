"""Bad input ends in one sentence with a fix and exit code 2, and nothing that was computed is lost."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from FedSegCore.learning.train import Training
from FedSegCore.study import NetworkTable, PlanTable, Study, StudySite
from Testing.command import FEW_STEPS, Finished, Outcome, SmallSite, fedseg, refused, write_study


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study file that runs, beside its datasets."""
    rest = FEW_STEPS.replace("rounds = 2", "rounds = 1")
    return write_study(tmp_path_factory.mktemp("small"), [SmallSite("ct"), SmallSite("mr", "mr")], rest=rest)


def simulate(small: Path, text: str | bytes) -> Outcome:
    """The command on a study of these words beside the datasets; checks that nothing was trained."""
    study, out = small.with_name("changed.toml"), small.with_name("out")
    study.write_bytes(text if isinstance(text, bytes) else text.encode())
    shutil.rmtree(out, ignore_errors=True)
    outcome = fedseg("simulate", study, "--out", out)
    assert not (out / "rounds.jsonl").exists()
    return outcome


CHANGES = {
    "an unknown key": ("rounds = 1", "round = 1", '"rounds"'),
    "an unknown key of a table": ("threads = 1", "thread = 1", '"threads"'),
    "an unknown key of a site": ('data = "ct"', 'data = "ct"\nmodality = ["CT"]', '"modalities"'),
    "an unknown table": ("[train]", "[training]", '"train"'),
    "an unknown method": ('"fedavg"', '"fedagv"', '"fedavg"'),
    "an unknown method option": ("[train]", "[method_options]\nproximity = 1.0\n[train]", '"proximal"'),
    "no method": ('method = "fedavg"', "", "fedgin"),
    "no name": ('name = "small"', "", "name = ..."),
    "a method and methods": ("rounds = 1", 'methods = ["local"]', "method and methods"),
    "two sites of one name": ('name = "mr"', 'name = "CT"', "called"),
    "a site with a path for a name": ('name = "mr"', 'name = "../mr"', "../mr"),
    "a site without a folder": ('data = "mr"', "", "data = ..."),
    "a missing folder": ('data = "mr"', 'data = "mri"', "mri does not exist"),
    "a folder without dataset.json": ('data = "mr"', 'data = "mr/imagesTr"', "no dataset.json"),
    "a file for a folder": ('data = "mr"', 'data = "study.toml"', "study.toml"),
    "an environment variable that is not set": ('data = "mr"', 'data = "$NOT_SET_HERE/mr"', "NOT_SET_HERE"),
    "a label that no site has": ("rounds = 1", 'labels = ["Liver", "Kidny"]', '"Kidney"'),
    "a label that the site does not have": ('data = "mr"', 'data = "mr"\nlabels = ["Livr"]', '"Liver"'),
    "a modality that the site does not have": ('data = "mr"', 'data = "mr"\nmodalities = ["T1"]', '"T1"'),
    "a case that the site does not have": ('data = "mr"', 'data = "mr"\ncases = ["mr_7"]', '"mr_7"'),
    "a test case that the site does not have": ('data = "mr"', 'data = "mr"\ntest_cases = ["x"]', '"x"'),
    "a map to names that are not there": (
        'data = "mr"', 'data = "mr"\nlabel_map = {Kidney = ["Tumour"]}', "Tumour",
    ),
    "a site without training cases": ('data = "mr"', 'data = "mr"\ncases = []', "no training cases"),
    "no case left to train with": ('data = "mr"', 'data = "mr"\nlimit = 0', "limit of site mr"),
    "no member": ('data = "mr"', 'data = "mr"\nrole = "outside"\n[[site]]\nname="x"\ndata="x"\nrole="members"',
                  '"member"'),
    "no rounds": ("rounds = 1", "rounds = 0", "rounds is 0"),
    "more sites wanted than there are": ("rounds = 1", "rounds = 1\nmin_sites = 3", "2 members"),
    "broken TOML": ("rounds = 1", "rounds = = 1", "not valid TOML"),
    "a patch that the network cannot halve": ("[8, 8, 8]", "[7, 8, 8]", "7"),
    "a patch of two sides in 3-D": ("[8, 8, 8]", "[8, 8]", "patch"),
    "a network of one level": ("[4, 8]", "[4]", "channels"),
    "a seed that is no number": ("rounds = 1", "seed = true", "seed"),
    "an unknown rule": ("[train]", '[plan.intensity.CT]\nrule = "hu"\nlower=0\nupper=1\n[train]', "'window'"),
    "a window upside down": (
        "[train]", '[plan.intensity.CT]\nrule = "window"\nlower = 9.0\nupper = 1.0\n[train]', "9",
    ),
    "no plan": ("patch = [8, 8, 8]", "auto = false", "patch"),
}  # fmt: skip


@pytest.mark.parametrize("name", CHANGES)
def test_a_study_that_cannot_run_is_refused(name: str, small: Path) -> None:
    before, after, told = CHANGES[name]
    text = small.read_text()
    assert before in text
    line = refused(simulate(small, text.replace(before, after, 1)))
    assert told in line, line


TABLES = {"": Study, "plan": PlanTable, "network": NetworkTable, "train": Training, "site": StudySite}
KEYS = [
    (name, "site" if field.name == "sites" else field.name)
    for name, kind in TABLES.items()
    for field in fields(kind)
]


@pytest.mark.parametrize(("table", "key"), KEYS)
def test_a_value_of_the_wrong_type_is_refused_and_its_key_named(table: str, key: str, small: Path) -> None:
    tables = ("plan", "network", "train", "method_options", "label_map", "intensity", "site")
    wrong = "3" if key in tables else "{wrong = 1}"
    head = f"{key} = {wrong}\n" if not table else ""
    name = "" if key == "name" and not table else 'name = "small"\n'
    method = "" if key == "methods" else 'method = "fedavg"\n'
    site = "" if key == "site" else '[[site]]\nname = "ct"\ndata = "ct"\n'
    body = f"[{table}]\n{key} = {wrong}\n" if table in ("plan", "network", "train") else ""
    if table == "site":
        given = {"name": '"ct"', "data": '"ct"', key: wrong}
        site = "[[site]]\n" + "".join(f"{one} = {value}\n" for one, value in given.items())
    line = refused(simulate(small, head + name + method + body + site))
    assert key in line


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\n\n",
        bytes(range(256)),
        "name = 'a'".encode("utf-16"),
        b"[[site]]\n",
        b"\x00" * 50,
        b"site = []",
    ],
)
def test_a_file_that_is_no_study_is_refused(content: bytes, small: Path) -> None:
    refused(simulate(small, content))


def test_a_study_that_is_missing_or_a_folder_is_refused(small: Path, tmp_path: Path) -> None:
    for study in (tmp_path / "nowhere.toml", small.parent):
        for words in (("simulate", study, "--out", tmp_path / "out"), ("info", study)):
            assert str(study) in refused(fedseg(*words))


@pytest.mark.parametrize(
    "content",
    [
        b"", bytes(range(256)), b"[]", b"3", b"{}", b'{"labels": 3, "channel_names": {"0": "CT"}}',
        b'{"labels": {"background": 0, "A": "x"}, "channel_names": {"0": "CT"}, "training": []}',
        b'{"labels": {"background": 0, "A": 1}, "channel_names": {"0": "CT"}, "training": 3}',
        b'{"labels": {"background": 0, "A": 1}, "channel_names": {"0": "CT"}, "training": [3]}',
        b'{"labels": {"background": 0, "A": 1}, "channel_names": 7, "training": []}',
        b'{"labels": {"background": 0, "A": 300}, "channel_names": {"0": "CT"}, "training": []}',
        b'{"labels": {"background": 0, "A": 1}, "channel_names": {"0": "CT"}, "training": []}',
        b'{"labels": {"background": 0, "A": 1}, "channel_names": {"0": "CT"},'
        b' "training": [{"image": "imagesTr/no.nii.gz", "label": "labelsTr/no.nii.gz"}]}',
        b'{"labels": {"background": 0, "A": 1}, "channel_names": {"0": "CT", "1": "MR"},'
        b' "training": [{"image": "imagesTr/ct_000.nii.gz", "label": "labelsTr/ct_000.nii.gz"}]}',
        b'{"labels": {"background": 0, "A": 1}, "channel_names": {"0": "CT"},'
        b' "training": [{"image": "dataset.json", "label": "dataset.json"}]}',
    ],
)  # fmt: skip
def test_a_dataset_that_cannot_be_used_is_refused_by_every_verb_that_trains(
    content: bytes, small: Path, tmp_path: Path
) -> None:
    shutil.copytree(small.parent / "ct", tmp_path / "ct")
    (tmp_path / "ct" / "dataset.json").write_bytes(content)
    study = tmp_path / "study.toml"
    study.write_text('name = "a"\nmethod = "local"\nrounds = 1\n[[site]]\nname = "ct"\ndata = "ct"\n')
    for words in (("simulate", study), ("train", tmp_path / "ct")):
        refused(fedseg(*words, "--out", tmp_path / "out"))
    checked = fedseg("check", tmp_path / "ct")
    assert checked.code == 1 and "error: " in checked.out
    dry = fedseg("simulate", study, "--out", tmp_path / "out", "--dry-run")
    assert dry.code in (1, 2) and "Traceback" not in dry.err


def flipped(data: bytes) -> bytes:
    """One bit of the weights is another."""
    return data[:-40] + bytes([data[-40] ^ 1]) + data[-39:]


BROKEN: dict[str, Callable[[bytes], bytes]] = {
    "truncated": lambda data: data[: len(data) // 2],
    "cut in its header": lambda data: data[:200],
    "empty": lambda data: b"",
    "junk": lambda data: bytes(range(256)) * 40,
    "text": lambda data: b"weights" * 100,
    "a zip, as torch.save writes": lambda data: b"PK\x03\x04" + bytes(500),
    "foreign": lambda data: safetensors.torch.save({"a": torch.ones(3)}),
    "of another version": lambda data: data.replace(rb"\"format\":1", rb"\"format\":2", 1),
    "altered weights": flipped,
    "altered label": lambda data: data.replace(b"Liver", b"Heart"),
    "longer": lambda data: data + b"more",
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_model_that_cannot_be_trusted_is_refused(name: str, finished: Finished, tmp_path: Path) -> None:
    data = BROKEN[name](finished.model.read_bytes())
    assert data != finished.model.read_bytes()
    model = tmp_path / "model.safetensors"
    model.write_bytes(data)
    scan, out = f"CT={finished.scan}", tmp_path / "found.nii.gz"
    lines = [
        refused(fedseg("segment", "--image", scan, "--model", model, "-o", out)),
        refused(fedseg("train", finished.study.parent / "ct", "--init", model, "--out", tmp_path / "out")),
    ]
    for line in lines:
        assert str(model) in line
    if name == "of another version":
        assert "version 2" in lines[0]
    if "altered" in name:
        assert "altered" in lines[0]
    assert not out.exists() and not (tmp_path / "out").exists()


def test_a_model_that_is_missing_or_a_folder_is_refused(finished: Finished, tmp_path: Path) -> None:
    for model in (tmp_path / "nowhere.safetensors", tmp_path):
        words = ("segment", "--image", f"CT={finished.scan}", "--model", model, "-o", tmp_path / "a.nii.gz")
        assert str(model) in refused(fedseg(*words))


@pytest.mark.parametrize("option", ["--out", "-o", "--csv"])
def test_an_output_below_a_file_is_refused(option: str, finished: Finished, tmp_path: Path) -> None:
    (tmp_path / "notes").write_text("mine")
    below = tmp_path / "notes" / "out.nii.gz"
    labels = finished.study.parent / "ct" / "labelsTr"
    words: dict[str, tuple[object, ...]] = {
        "--out": ("simulate", finished.study),
        "-o": ("segment", "--image", f"CT={finished.scan}", "--model", finished.model),
        "--csv": ("evaluate", labels, labels),
    }
    assert "notes" in refused(fedseg(*words[option], option, below))
    assert (tmp_path / "notes").read_text() == "mine"


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[int], None]]:
    """Makes the disk full once it has taken that many more files or lines."""
    left = [10**9]

    def limited(write: Callable[..., Any]) -> Callable[..., Any]:
        def writing(*arguments: Any, **named: Any) -> Any:
            left[0] -= 1
            if left[0] < 0:
                raise OSError(28, os.strerror(28))
            return write(*arguments, **named)

        return writing

    monkeypatch.setattr(os, "fsync", limited(os.fsync))
    monkeypatch.setattr(Path, "write_bytes", limited(Path.write_bytes))
    monkeypatch.setattr(Path, "write_text", limited(Path.write_text))

    def fill(after: int) -> None:
        left[0] = after

    yield fill
    left[0] = 10**9


@pytest.fixture(scope="module")
def whole(small: Path) -> Path:
    """The output of the small study, run without trouble."""
    out = small.with_name("whole")
    assert fedseg("simulate", small, "--out", out).code == 0
    return out


@pytest.mark.parametrize("after", [0, 2, 4, 6, 8, 10, 12, 14, 15, 16])
def test_a_full_disk_loses_nothing_and_the_study_goes_on_when_there_is_space(
    after: int, small: Path, whole: Path, disk: Callable[[int], None], tmp_path: Path
) -> None:
    disk(after)
    line = refused(fedseg("simulate", small, "--out", tmp_path / "out"))
    assert "No space left" in line
    disk(10**9)
    assert fedseg("simulate", small, "--out", tmp_path / "out", "--resume").code == 0
    for name in ("models/global.safetensors", "scores.csv"):
        assert (tmp_path / "out" / name).read_bytes() == (whole / name).read_bytes()
    left = {path.name for path in (tmp_path / "out").rglob("*")}
    assert not [name for name in left if "part" in name or name == "spool"]


def test_a_full_disk_while_segmenting_keeps_the_older_result(
    finished: Finished, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    out = tmp_path / "found.nii.gz"
    words = ("segment", "--image", f"CT={finished.scan}", "--model", finished.model, "-o", out)
    assert fedseg(*words).code == 0
    before = out.read_bytes()

    def full(path: Path, *rest: object) -> None:
        path.write_bytes(b"half")
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr("FedSegCore.data.nifti.write", full)
    assert "could not be written" in refused(fedseg(*words))
    assert out.read_bytes() == before and [path.name for path in tmp_path.iterdir()] == [out.name]


def test_in_json_the_refusal_is_an_error_event(small: Path, tmp_path: Path) -> None:
    study = small.with_name("changed.toml")
    study.write_text(small.read_text().replace('"fedavg"', '"fedagv"'))
    outcome = fedseg("simulate", study, "--out", tmp_path / "out", "--json")
    assert outcome.code == 2 and outcome.err == ""
    assert json.loads(outcome.out) == {
        "event": "error", "message": 'Unknown method "fedagv".', "fix": 'Did you mean "fedavg"?',
    }  # fmt: skip
