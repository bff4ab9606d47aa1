"""The scripts that segment and train without a window: their table, their words, and how they end."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from FedSegLib.batch import runScript, segmentFolder, trainOn
from FedSegLib.batchtable import Table
from FedSegLib.command import Command

from FedSegCore.data.io import write_volume
from FedSegCore.data.segments import read_segments
from FedSegCore.data.volume import Volume
from FedSegCore.inference.modelfile import ModelHeader
from Testing.command import fedseg
from Testing.inference.conftest import MakeBank
from Testing.slicer_harness.app import MODULE

SCRIPTS = MODULE / "Resources" / "Scripts"

FAKE = """
import json, sys
from pathlib import Path
here = Path(__file__).parent
(here / "words.json").write_text(json.dumps(sys.argv[1:]))
print((here / "events.jsonl").read_text(), flush=True)
sys.exit(int((here / "code").read_text()))
"""

STUB = """
import os, sys
from types import SimpleNamespace

def leave(code):
    sys.stdout.flush(), sys.stderr.flush()
    os._exit(code)

app = SimpleNamespace(slicerUserSettingsFilePath=os.environ["STUB_SETTINGS"])
util = SimpleNamespace(
    exit=leave,
    startupEnvironment=lambda: dict(os.environ),
    settingsValue=lambda key, default: os.environ["STUB_COMMAND"] if key == "FedSeg/command" else default,
)
"""


class Fake:
    """A command that tells these events and ends with this code."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.program = folder / "fake.py"
        self.program.write_text(FAKE)
        self.command = Command((sys.executable, "-S", str(self.program)))

    def tells(self, *events: dict[str, Any], code: int = 0) -> None:
        text = "a library's words\n" + "\n".join(json.dumps(event) for event in events)
        (self.folder / "events.jsonl").write_text(text)
        (self.folder / "code").write_text(str(code))

    @property
    def words(self) -> list[str]:
        found: list[str] = json.loads((self.folder / "words.json").read_text())
        return found


@pytest.fixture
def fake(tmp_path: Path) -> Fake:
    folder = tmp_path / "fake"
    folder.mkdir()
    return Fake(folder)


def case(name: str, state: str = "done", **facts: Any) -> dict[str, Any]:
    path = None if state == "failed" else f"/out/{name}.seg.nrrd"
    return {"event": "case", "name": name, "file": f"/in/{name}.nii", "path": path, "state": state, "volumes_ml": {},
            **facts}  # fmt: skip


def problem(name: str) -> dict[str, Any]:
    return {"event": "problem", "file": f"/in/{name}.nii", "severity": "error", "message": "It is cut off.",
            "fix": "Copy it again."}  # fmt: skip


def result(**states: list[str]) -> dict[str, Any]:
    return {"event": "result", "paths": [], "summary": {"done": [], "failed": [], "skipped": [], **states}}


def rows(out: Path) -> list[dict[str, str]]:
    with (out / "batch.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def segment(fake: Fake, out: Path, *more: str) -> tuple[int, list[str]]:
    said: list[str] = []
    words = ["--input", str(out.parent), "--model", "m.safetensors", "--output", str(out), *more]
    return segmentFolder(words, fake.command, os.environ, said.append), said


def test_each_case_is_a_row_with_its_volumes_and_every_result_is_unreviewed(
    fake: Fake, tmp_path: Path
) -> None:
    routing = {"abstain": True, "reason": "They disagree."}
    fake.tells(
        case("anna", volumes_ml={"Liver": 12.5, "Niere, links": 0.25}, routing=routing),
        problem("berta"),
        case("berta", "failed"),
        case("clara", volumes_ml={"Liver": 3.0}, routing={"abstain": None, "reason": "Nobody knows."}),
        result(done=["a", "c"], failed=["b"]),
        code=1,
    )
    code, said = segment(fake, tmp_path / "out")
    assert code == 1 and said[-1] == "2 done, 1 failed, 0 skipped"
    anna, berta, clara = rows(tmp_path / "out")
    assert list(anna) == [
        "case", "file", "state", "status", "volumes_ml:Liver", "volumes_ml:Niere, links", "verdict", "reason",
        "message", "fix",
    ]  # fmt: skip
    assert list(anna.values()) == [
        "anna", "anna.seg.nrrd", "done", "unreviewed", "12.5", "0.25", "abstain", "They disagree.", "", "",
    ]  # fmt: skip
    assert (berta["file"], berta["state"], berta["message"]) == ("", "failed", "It is cut off.")
    assert berta["fix"] == "Copy it again." and (clara["verdict"], clara["message"]) == ("unknown", "")
    assert {row["status"] for row in (anna, berta, clara)} == {"unreviewed"}


def test_the_table_is_whole_after_every_case(tmp_path: Path) -> None:
    table = Table(tmp_path / "out" / "batch.csv", goOn=False)
    assert table.take(case("anna")) and not table.take({"event": "progress"})
    table.write()
    assert [row["case"] for row in rows(tmp_path / "out")] == ["anna"]
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["batch.csv"]


def test_a_resumed_batch_keeps_what_was_known_of_the_cases_that_it_skips(fake: Fake, tmp_path: Path) -> None:
    out, routing = tmp_path / "out", {"abstain": False, "reason": "They agree."}
    fake.tells(
        case("anna", volumes_ml={"Liver": 1.5}, routing=routing), problem("berta"), case("berta", "failed")
    )
    code, said = segment(fake, out)
    assert code == 1 and "ended without a result" in said[-1]
    text = (out / "batch.csv").read_text().replace("done,unreviewed", "done,flagged")
    (out / "batch.csv").write_text(text)
    fake.tells(
        case("anna", "skipped"), case("berta", volumes_ml={"Liver": 2.0}), result(done=["b"], skipped=["a"])
    )
    assert segment(fake, out, "--resume")[0] == 0
    anna, berta = rows(out)
    assert (anna["state"], anna["status"], anna["verdict"]) == ("skipped", "flagged", "agree")
    assert anna["volumes_ml:Liver"] == "1.5" and anna["reason"] == "They agree."
    assert (berta["state"], berta["status"], berta["message"]) == ("done", "unreviewed", "")
    assert segment(fake, out)[0] == 0 and rows(out)[0]["status"] == "unreviewed", "a new batch begins anew"


def test_one_process_is_asked_for_the_whole_folder(fake: Fake, tmp_path: Path) -> None:
    fake.tells(result())
    out = tmp_path / "out"
    words = ["--input", str(tmp_path), "--route", str(tmp_path), "--output", str(out), "--modality", "CT"]
    assert segmentFolder([*words, "--resume", "--device", "cpu"], fake.command, os.environ) == 0
    here = str(tmp_path.resolve())
    assert fake.words == [
        "segment", "--json", here, "-o", f"{here}/out", "--format", "seg.nrrd", "--device", "cpu", "--route", here,
        "--modality", "CT", "--resume",
    ]  # fmt: skip


def test_training_is_asked_for_and_told_round_by_round(fake: Fake, tmp_path: Path) -> None:
    told = {"event": "round", "number": 2, "total": 5, "loss": 0.3, "dice": {"Liver": 0.75, "Kidney": None}}
    fake.tells(told, {"event": "result", "path": "/models/local.safetensors", "summary": {}})
    said: list[str] = []
    words = [
        "--data",
        str(tmp_path),
        "--out",
        str(tmp_path / "out"),
        "--init",
        str(tmp_path / "m"),
        "--resume",
    ]
    assert trainOn(words, fake.command, os.environ, said.append) == 0
    assert said == ["round 2 of 5: Dice Liver 0.750", "/models/local.safetensors"]
    here = str(tmp_path.resolve())
    assert fake.words == ["train", "--json", here, "--out", f"{here}/out", "--init", f"{here}/m", "--resume"]


def test_results_among_the_images_are_refused(fake: Fake, tmp_path: Path) -> None:
    words = ["--input", str(tmp_path), "--model", "m", "--output", str(tmp_path)]
    assert segmentFolder(words, fake.command, os.environ) == 2
    assert not (fake.folder / "words.json").exists()


def test_a_table_that_cannot_be_written_is_told_and_the_batch_goes_on(fake: Fake, tmp_path: Path) -> None:
    fake.tells(case("anna"), case("berta"), result(done=["a", "b"]))
    out = tmp_path / "out"
    (out / "batch.csv").mkdir(parents=True)
    code, said = segment(fake, out)
    assert code == 1 and "done berta" in said and "could not be written" in said[-1]


def ends(work: Callable[..., int], told: str = sys.executable) -> int:
    """The code with which Slicer is told to end."""
    codes: list[int] = []
    util = SimpleNamespace(
        exit=codes.append, startupEnvironment=lambda: {"PATH": ""}, settingsValue=lambda key, default: told
    )
    runScript(
        SimpleNamespace(app=SimpleNamespace(slicerUserSettingsFilePath="/s/Slicer.ini"), util=util), work
    )
    (code,) = codes
    return code


@pytest.mark.parametrize("error", [RuntimeError("odd"), OSError("no such program")])
def test_slicer_is_ended_whatever_happens(error: BaseException, capsys: pytest.CaptureFixture[str]) -> None:
    def work(*_: object) -> int:
        raise error

    assert ends(work) == 1 and type(error).__name__ in capsys.readouterr().err


def test_an_interruption_is_told_in_a_word(capsys: pytest.CaptureFixture[str]) -> None:
    def work(*_: object) -> int:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(60)
        return 0

    before = signal.getsignal(signal.SIGTERM)
    assert ends(work) == 1 and capsys.readouterr().err == "Interrupted.\n"
    assert signal.getsignal(signal.SIGTERM) is before


def test_slicer_is_ended_where_its_own_handler_was_not_set_from_python(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = signal.getsignal(signal.SIGTERM)
    genuine = signal.signal

    def unknown_before(number: signal.Signals, handler: Any) -> Any:
        return None if genuine(number, handler) is before else signal.SIG_DFL

    monkeypatch.setattr(signal, "signal", unknown_before)
    try:
        assert ends(lambda *_: 0) == 0
    finally:
        genuine(signal.SIGTERM, before)


def test_a_command_that_is_not_there_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert ends(lambda *_: 0, told="/nowhere/fedseg") == 2
    assert "There is no program /nowhere/fedseg" in capsys.readouterr().err


@pytest.mark.parametrize("dashes", [[], ["--"]])
def test_words_are_read_with_and_without_dashes_before_them(
    dashes: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["FedSegBatch.py", *dashes, "--input", "a"])
    taken: list[object] = []
    assert ends(lambda words, command, environment: taken.extend([words, command]) or 0) == 0
    words, command = taken
    assert words == ["--input", "a"] and isinstance(command, Command) and command.isInterpreter


def run_script(name: str, *words: str, command: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    """A script as Slicer runs it, over a stub of `slicer`."""
    stub = folder / "stub"
    stub.mkdir(exist_ok=True)
    (stub / "slicer.py").write_text(STUB)
    environment = {**os.environ, "PYTHONPATH": str(stub), "STUB_COMMAND": str(command), "OMP_NUM_THREADS": "1",
                   "STUB_SETTINGS": str(folder / "Slicer.ini")}  # fmt: skip
    call = [sys.executable, "-S", str(SCRIPTS / name), *words]
    return subprocess.run(call, env=environment, capture_output=True, text=True, check=False, timeout=120)


@pytest.mark.parametrize("name", ["FedSegBatch.py", "FedSegTrain.py"])
def test_a_script_ends_slicer_with_the_commands_code(name: str, fake: Fake, tmp_path: Path) -> None:
    fake.tells({"event": "error", "message": "The model is cut off.", "fix": "Fetch it."}, code=2)
    program = fake.folder / "fedseg"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -S "{fake.program}" "$@"\n')
    program.chmod(0o755)
    here, out = str(tmp_path), str(tmp_path / "out")
    words = {
        "FedSegBatch.py": ["--input", here, "--model", here, "--output", out],
        "FedSegTrain.py": ["--data", here, "--out", out],
    }[name]
    ran = run_script(name, "--", *words, command=program, folder=tmp_path)
    assert ran.returncode == 2 and ran.stdout.splitlines() == ["error: The model is cut off. Fetch it."], ran
    wrong = run_script(name, *words, "--approve", command=program, folder=tmp_path)
    assert wrong.returncode == 2 and "--approve" in wrong.stderr and "usage: FedSeg" in wrong.stderr


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    """Two patients, of which one's image is broken."""
    folder = tmp_path / "scans"
    voxels = np.random.default_rng(0).normal(50, 100, (10, 9, 8)).astype(np.float32)
    write_volume(folder / "anna.nii.gz", Volume(voxels, np.diag([2.0, 2.0, 2.0, 1.0]), None))
    (folder / "berta.nrrd").write_bytes(b"NRRD0004\nbroken")
    return folder


def check_results(out: Path) -> None:
    assert sorted(path.name for path in out.iterdir()) == ["anna.seg.nrrd", "batch.csv"]
    assert read_segments(out / "anna.seg.nrrd") == {"Liver": 1, "Kidney": 2}
    anna, berta = rows(out)
    assert (anna["case"], anna["file"], anna["state"]) == ("anna", "anna.seg.nrrd", "done")
    assert float(anna["volumes_ml:Liver"]) > 0 and {anna["status"], berta["status"]} == {"unreviewed"}
    assert (berta["case"], berta["state"]) == ("berta", "failed") and "berta.nrrd" in berta["message"]


def test_the_real_commands_words_and_events_are_those_of_the_script(
    scans: Path, fake: Fake, header: ModelHeader, bank_of: MakeBank, tmp_path: Path
) -> None:
    bank, out = str(bank_of(header, "north")), tmp_path / "out"
    words = [
        "--input",
        str(scans),
        "--route",
        bank,
        "--output",
        str(out),
        "--modality",
        "CT",
        "--device",
        "cpu",
    ]
    fake.tells()
    segmentFolder(words, fake.command, os.environ)
    real = fedseg(*fake.words)
    fake.tells(*real.events, code=real.code)
    said: list[str] = []
    assert segmentFolder(words, fake.command, os.environ, said.append) == real.code == 1
    check_results(out)
    assert said[-1] == "1 done, 1 failed, 0 skipped"
    verdict, reason = rows(out)[0]["verdict"], rows(out)[0]["reason"]
    assert verdict == "unknown" and "no calibration" in reason
    again = fedseg(*fake.words, "--resume")
    fake.tells(*again.events, code=again.code)
    assert segmentFolder([*words, "--resume"], fake.command, os.environ) == 1
    anna = rows(out)[0]
    assert (anna["state"], anna["verdict"], anna["reason"]) == ("skipped", verdict, reason)


@pytest.mark.slow
def test_a_script_segments_a_folder_with_the_real_command(
    scans: Path, header: ModelHeader, bank_of: MakeBank, tmp_path: Path
) -> None:
    model, out = bank_of(header) / "global.safetensors", tmp_path / "out"
    words = ["--", "--input", str(scans), "--model", str(model), "--output", str(out), "--device", "cpu"]
    ran = run_script("FedSegBatch.py", *words, command=Path(sys.executable), folder=tmp_path)
    assert ran.returncode == 1 and "1 done, 1 failed, 0 skipped" in ran.stdout, ran
    check_results(out)
