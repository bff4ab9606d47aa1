"""What ends with Slicer, and the script that trains without a window, as processes with the real command."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from FedSegCore.data.phantom import write_phantom_dataset
from FedSegCore.inference.modelfile import ModelHeader
from Testing.extension.test_batch import SCRIPTS
from Testing.inference.conftest import MakeBank
from Testing.processes import gone, tree
from Testing.slicer_harness.app import MODULE
from Testing.slicer_harness.test_launcher import LAUNCHER

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc"),
]
PATIENCE_S = 240

QUIT = """
import sys, time
import qt, slicer

qt.QSettings().setValue("FedSeg/command", sys.argv[1])
volume = slicer.util.addVolumeFromArray(__import__("numpy").zeros((6, 5, 4), "int16"), name="scan")
panel = slicer.modules.fedseg.widgetRepresentation().self()
panel.parent.enter()
run = panel.logic.startSegmentation({"CT": volume}, sys.argv[2])
panel._segmenting._run = run
while run.job.story.progress is None:
    run.job.poll()
    time.sleep(0.02)
print(run.job._process.pid, flush=True)
slicer.util.exit(5)
"""


def slicer(folder: Path, script: Path, *words: str | Path, **variables: str) -> subprocess.Popen[str]:
    """Slicer without a window, whose own Python has FedSeg's packages and where no `fedseg` is installed."""
    programs = folder / "programs"
    programs.mkdir(exist_ok=True)
    (programs / "PythonSlicer").write_text(f'#!/bin/sh\n"{sys.executable}" "$@"\nexit $?\n')
    (programs / "PythonSlicer").chmod(0o755)
    environment = {**os.environ, "PATH": f"{programs}:/usr/bin:/bin", "OMP_NUM_THREADS": "1", **variables}
    start = [sys.executable, LAUNCHER, "--no-splash", "--no-main-window", "--additional-module-paths", MODULE]
    return subprocess.Popen(
        [*start, "--python-script", script, *words],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_quitting_ends_a_segmentation_and_leaves_nothing(tmp_path: Path, fake_fedseg: Path) -> None:
    (tmp_path / "quit.py").write_text(QUIT)
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    variables = {"FAKE_FEDSEG": "wait", "TMPDIR": str(temporary)}
    process = slicer(tmp_path, tmp_path / "quit.py", fake_fedseg, tmp_path / "m.safetensors", **variables)
    out, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 5, err
    assert gone([int(out)], within_s=5) and not list(temporary.iterdir())


def small(real_data: Path, folder: Path) -> Path:
    """A dataset of two real cases."""
    source = real_data / "hippocampus"
    facts = json.loads((source / "dataset.json").read_text())
    facts["training"] = facts["training"][:2]
    for entry in facts["training"]:
        for name in entry.values():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source / name, folder / name)
    facts.pop("test", None)
    (folder / "dataset.json").write_text(json.dumps({**facts, "numTraining": 2, "numTest": 0}))
    return folder


def test_a_training_is_interrupted_with_all_its_processes_goes_on_and_ends_with_a_model(
    real_data: Path, tmp_path: Path, header: ModelHeader, bank_of: MakeBank
) -> None:
    data, out = small(real_data, tmp_path / "data"), tmp_path / "out"
    labels = (("Anterior", 1), ("Posterior", 2))
    tiny = replace(header, labels=labels, known=("Anterior", "Posterior"), inputs=(("MRI",),), owned=("MRI",),
                   plan=replace(header.plan, intensity={}))  # fmt: skip
    words = ["--", "--data", data, "--out", out, "--init", bank_of(tiny) / "global.safetensors"]
    process = slicer(tmp_path, SCRIPTS / "FedSegTrain.py", *words)
    assert process.stdout is not None
    told = next(line for line in process.stdout if line.startswith("round 1 of "))
    pids = tree(process.pid)[1:]
    assert len(pids) == 2, "the shell that stands for PythonSlicer, and what it started"
    process.send_signal(signal.SIGTERM)
    out_rest, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 1 and "Traceback" not in err, err
    assert gone(pids, within_s=5)
    assert "--resume" in out_rest.splitlines()[-1], out_rest
    assert not list(out.glob("models/*.safetensors"))

    again = slicer(tmp_path, SCRIPTS / "FedSegTrain.py", *words)
    out_again, _err = again.communicate(timeout=PATIENCE_S)
    assert again.returncode == 2 and "not empty" in out_again, "what was begun is not trained over"

    resumed = slicer(tmp_path, SCRIPTS / "FedSegTrain.py", *words, "--resume")
    out_resumed, err = resumed.communicate(timeout=2 * PATIENCE_S)
    assert resumed.returncode == 0, err
    rounds = [line for line in out_resumed.splitlines() if line.startswith("round ")]
    assert len(rounds) < int(told.split()[3].rstrip(":")) and rounds[-1].startswith("round 20 of 20")
    assert out_resumed.splitlines()[-1] == str(out / "models" / "local-data.safetensors")


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (lambda folder: (folder / "dataset.json").unlink(), "dataset.json"),
        (lambda folder: (folder / "imagesTr" / "phantom_001.nii.gz").write_bytes(b"torn"), "phantom_001.nii.gz"),
    ],
)  # fmt: skip
def test_a_dataset_that_cannot_be_trained_on_is_told_and_ends_with_2(
    spoil: object, told: str, tmp_path: Path
) -> None:
    data = write_phantom_dataset(tmp_path / "data", cases=2, seed=0, shape=(16, 16, 12))
    assert callable(spoil)
    spoil(data)
    process = slicer(tmp_path, SCRIPTS / "FedSegTrain.py", "--", "--data", data, "--out", tmp_path / "out")
    out, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 2 and "Traceback" not in err, err
    assert told in out.splitlines()[-1] and out.splitlines()[-1].startswith("error: ")
    assert not list((tmp_path / "out").glob("models/*"))
