"""`fedseg segment` of many cases: one bad case is no reason to stop, and a run that was stopped goes on."""

from __future__ import annotations

import os
import shutil
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from FedSegCore.data import itk
from FedSegCore.data.io import read_volume, write_label_map
from FedSegCore.errors import StorageError
from FedSegCore.verbs import line
from FedSegCore.verbs.account import Account
from Testing.command import Finished, Outcome, fedseg, refused
from Testing.verbs.test_segment import dicom_series

NAMES = ("anna", "berta", "clara")

Segmented = Callable[..., Outcome]


@pytest.fixture
def scans(finished: Finished, tmp_path: Path) -> Path:
    """Three patients' images."""
    folder = tmp_path / "scans"
    folder.mkdir()
    for name in NAMES:
        shutil.copy(finished.scan, folder / f"{name}.nii.gz")
    return folder


@pytest.fixture
def segmented(finished: Finished, tmp_path: Path) -> Segmented:
    """Segments into the folder `found` with a model of CT and MR images."""

    def call(*words: object) -> Outcome:
        return fedseg(
            "segment", *words, "--model", finished.model, "--modality", "CT", "-o", tmp_path / "found"
        )

    return call


def names_in(folder: Path) -> list[str]:
    """Everything there, hidden files too."""
    return sorted(path.name for path in folder.iterdir())


def states(outcome: Outcome) -> dict[str, str]:
    return {event["name"]: event["state"] for event in outcome.told("case")}


def test_a_broken_image_is_told_and_the_others_are_segmented(
    scans: Path, segmented: Segmented, tmp_path: Path
) -> None:
    (scans / "berta.nii.gz").write_bytes((scans / "anna.nii.gz").read_bytes()[:600])
    outcome = segmented(scans, "--json")
    assert outcome.code == 1
    (problem,) = outcome.told("problem")
    assert problem["file"] == str(scans / "berta.nii.gz") and problem["severity"] == "error"
    assert "berta.nii.gz" in problem["message"] and problem["fix"]
    summary, found = outcome.result["summary"], [str(tmp_path / "found" / f"{n}.nii.gz") for n in NAMES]
    assert summary["done"] == [found[0], found[2]] == outcome.result["paths"] == list(summary["volumes_ml"])
    assert summary["failed"] == [problem["file"]] and summary["skipped"] == []
    assert states(outcome) == {"anna": "done", "berta": "failed", "clara": "done"}
    assert [event["file"] for event in outcome.told("case")] == [str(scans / f"{n}.nii.gz") for n in NAMES]
    assert [event["path"] for event in outcome.told("case")] == [found[0], None, found[2]]
    assert names_in(tmp_path / "found") == ["anna.nii.gz", "clara.nii.gz"]


def test_for_people_a_failure_is_one_line(scans: Path, segmented: Segmented) -> None:
    (scans / "berta.nii.gz").write_bytes(b"junk")
    outcome = segmented(scans)
    (line,) = [line for line in outcome.out.splitlines() if "failed:" in line]
    assert line.startswith(str(scans / "berta.nii.gz")) and "Traceback" not in outcome.err
    assert outcome.out.splitlines()[-1] == "2 done, 1 failed, 0 skipped"


def test_an_image_that_is_missing_does_not_stop_the_others(scans: Path, segmented: Segmented) -> None:
    outcome = segmented(scans / "anna.nii.gz", scans / "dora.nii.gz", "--json")
    assert outcome.code == 1 and states(outcome) == {"anna": "done", "dora": "failed"}


def test_what_no_code_foresaw_in_a_case_does_not_stop_the_others(
    scans: Path, segmented: Segmented, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read(paths: dict[str, Path]) -> object:
        if "anna" in paths["CT"].name:
            raise RuntimeError("an odd image")
        return {name: read_volume(path) for name, path in paths.items()}

    monkeypatch.setattr("FedSegCore.verbs.line.read_case", read)
    outcome = segmented(scans, "--json")
    assert outcome.code == 1 and states(outcome) == {"anna": "failed", "berta": "done", "clara": "done"}
    assert "an odd image" in outcome.told("problem")[0]["message"]


def test_a_full_disk_is_the_end(scans: Path, segmented: Segmented, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, *_: object, **__: object) -> None:
        raise StorageError(path, OSError(28, "No space left on device"))

    monkeypatch.setattr("FedSegCore.verbs.line.write_segmentation", full)
    outcome = segmented(scans, "--json")
    assert outcome.code == 2 and outcome.events[-1]["event"] == "error" and not outcome.told("case")


@pytest.mark.parametrize("kind", ["nii.gz", "nrrd", "seg.nrrd"])
def test_a_resumed_run_makes_only_what_is_not_there_and_whole(
    kind: str, scans: Path, segmented: Segmented, tmp_path: Path
) -> None:
    found = tmp_path / "found"
    first = segmented(scans, "--format", kind, "--json")
    assert first.code == 0 and names_in(found) == [f"{name}.{kind}" for name in NAMES]
    before = {path.name: path.read_bytes() for path in found.iterdir()}
    (found / f"anna.{kind}").unlink()
    (found / f"berta.{kind}").write_bytes(before[f"berta.{kind}"][:-40])
    kept = (found / f"clara.{kind}").stat().st_mtime_ns
    again = segmented(scans, "--format", kind, "--resume", "--json")
    assert again.code == 0 and states(again) == {"anna": "done", "berta": "done", "clara": "skipped"}
    assert again.result["summary"]["skipped"] == [str(found / f"clara.{kind}")]
    assert again.result["summary"]["volumes_ml"] == first.result["summary"]["volumes_ml"]
    assert [event["value"] for event in again.told("progress")] == pytest.approx([0, 1 / 3, 2 / 3])
    assert (found / f"clara.{kind}").stat().st_mtime_ns == kept
    assert {path.name: path.read_bytes() for path in found.iterdir()} == before


def test_a_resumed_run_says_what_it_leaves_out_and_keeps_what_others_drew(
    scans: Path, segmented: Segmented, tmp_path: Path
) -> None:
    like = read_volume(scans / "anna.nii.gz")
    drawn = tmp_path / "found" / "anna.nii.gz"
    write_label_map(drawn, np.ones(like.shape), like=like, segments={})
    before = drawn.read_bytes()
    outcome = segmented(scans, "--resume")
    assert outcome.code == 0 and f"{drawn}: there already, left out" in outcome.out
    assert outcome.out.splitlines()[-1] == "2 done, 0 failed, 1 skipped" and drawn.read_bytes() == before


def test_a_routed_case_tells_its_progress_and_without_its_map_of_disagreement_is_not_done(
    finished: Finished, scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Account, "EVERY_S", 0.0)
    monkeypatch.setattr("FedSegCore.learning.windows._MOST", 2)  # as few at once as of windows of real size
    maps, source = tmp_path / "maps", ("--route", finished.model.parent, "--modality", "CT")
    words = (
        "segment",
        scans / "anna.nii.gz",
        *source,
        "-o",
        tmp_path / "found",
        "--disagreement",
        maps,
        "--resume",
    )
    first = fedseg(*words, "--json")
    (told,) = first.told("case")
    assert told["state"] == "done" and "like" in told["routing"]["sentence"]
    values = [event["value"] for event in first.told("progress")]
    assert values == sorted(values) and values[0] == 0 and values[-1] == 1 and len(set(values)) > 8
    assert states(fedseg(*words, "--json")) == {"anna": "skipped"}
    (maps / "anna.nii.gz").unlink()
    assert states(fedseg(*words, "--json")) == {"anna": "done"} and names_in(maps) == ["anna.nii.gz"]


def test_a_format_is_for_folders_of_results(scans: Path, finished: Finished, tmp_path: Path) -> None:
    words = ("segment", scans / "anna.nii.gz", "--modality", "CT", "--model", finished.model)
    out = tmp_path / "o.nrrd"
    assert "is a file" in refused(fedseg(*words, "-o", out, "--format", "nii.gz"))


def test_each_dicom_folder_of_a_folder_is_a_patient(
    scans: Path, segmented: Segmented, tmp_path: Path
) -> None:
    for number in range(2):
        dicom_series(scans / f"patient_{number:04d}", scans / "anna.nii.gz")
    outcome = segmented(scans, "--json", "--format", "seg.nrrd")
    assert outcome.code == 0
    patients = [f"patient_{number:04d}" for number in range(2)]
    assert names_in(tmp_path / "found") == [f"{name}.seg.nrrd" for name in (*NAMES, *patients)]


def test_a_modality_is_said_of_all_images_once(scans: Path, segmented: Segmented, finished: Finished) -> None:
    unsaid = fedseg("segment", scans, "--model", finished.model, "-o", scans / "o")
    assert "prepared differently" in refused(unsaid)
    image = f"CT={scans / 'anna.nii.gz'}"
    assert "Use one of them" in refused(segmented("--image", image))
    shutil.copy(scans / "anna.nii.gz", scans / "scan_0000.nii.gz")
    shutil.copy(scans / "anna.nii.gz", scans / "scan_0001.nii.gz")
    assert "2 channels of scan" in refused(segmented(scans))


def test_progress_is_told_while_a_volume_is_segmented(
    scans: Path, segmented: Segmented, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Account, "EVERY_S", 0.0)
    monkeypatch.setattr("FedSegCore.learning.windows._MOST", 2)  # as few at once as of windows of real size
    told = segmented(scans / "anna.nii.gz", scans / "berta.nii.gz", "--json").told("progress")
    values = [event["value"] for event in told]
    assert {event["stage"] for event in told} == {"segment"}
    assert values == sorted(values) and values[0] == 0 and values[-1] == 1 and len(set(values)) > 8
    assert told[0]["eta_s"] is None and told[-1]["eta_s"] == 0 and told[len(told) // 2]["eta_s"] > 0


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
@pytest.mark.parametrize("when", ["between windows", "while a file is written"])
def test_a_run_that_is_stopped_leaves_whole_files_alone(
    when: str, name: str, scans: Path, segmented: Segmented, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object) -> None:
        if (tmp_path / "found" / "anna.nrrd").exists():
            os.kill(os.getpid(), signal.Signals[name])

    if when == "between windows":
        monkeypatch.setattr(Account, "share", stop)
    else:
        whole = itk.write

        def write(path: Path, *words: Any) -> None:
            path.write_bytes(b"half")
            stop()
            time.sleep(0.3)
            whole(path, *words)

        monkeypatch.setattr("FedSegCore.data.itk.write", write)
    before = signal.getsignal(signal.SIGTERM)
    outcome = segmented(scans, "--format", "nrrd", "--json")
    last = outcome.events[-1]
    assert outcome.code == 1 and last["message"] == "Interrupted." and "--resume" in last["fix"]
    left = names_in(tmp_path / "found")
    assert (
        left == ["anna.nrrd"]
        if when == "between windows"
        else left in (["anna.nrrd"], ["anna.nrrd", "berta.nrrd"])
    )
    assert all(read_volume(tmp_path / "found" / one).shape for one in left)
    assert signal.getsignal(signal.SIGTERM) is before


def test_the_next_case_is_read_and_the_last_is_written_while_one_is_computed(
    scans: Path, segmented: Segmented, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = segmented(scans, "--json")
    results = {path.name: path.read_bytes() for path in (tmp_path / "found").iterdir()}
    shutil.rmtree(tmp_path / "found")
    events: list[str] = []
    read_before, write_before, segment_before = line.read_case, line.write_segmentation, Account.end
    second_read, first_told = threading.Event(), threading.Event()

    def read(paths: dict[str, Path]) -> object:
        events.append(f"read {paths['CT'].name[:5]}")
        if len(events) > 1:
            second_read.set()
        return read_before(paths)

    def write(path: Path, *words: Any, **more: Any) -> None:
        assert first_told.wait(20), "the second case is computed while the first is written"
        write_before(path, *words, **more)

    def end(account: Account) -> None:
        assert second_read.wait(20), "the second case is read while the first is computed"
        if account._worked == 0:
            time.sleep(0.1)
            assert events == ["read anna.", "read berta"], "no more than one case is read ahead"
        else:
            first_told.set()
        segment_before(account)

    monkeypatch.setattr(line, "read_case", read)
    monkeypatch.setattr(line, "write_segmentation", write)
    monkeypatch.setattr(Account, "end", end)
    found = segmented(scans, "--json")
    assert found.code == 0 and found.told("case") == plain.told("case") and found.result == plain.result
    assert {path.name: path.read_bytes() for path in (tmp_path / "found").iterdir()} == results
