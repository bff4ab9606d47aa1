from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from FedSegCore import cli
from FedSegCore.cli import VERBS
from FedSegCore.errors import RunError, StorageError
from Testing.command import Finished, fedseg, refused

WITHOUT_TORCH = """
import json, sys
from FedSegCore.cli import main
for words in json.loads(sys.argv[1]):
    try:
        code = main(words)
    except SystemExit as ended:
        code = ended.code
    assert code == 0, words
heavy = {"torch", "monai", "scipy", "matplotlib"} & set(sys.modules)
assert not heavy, heavy
"""


def in_a_fresh_process(*calls: list[object]) -> subprocess.CompletedProcess[str]:
    words = json.dumps([[str(word) for word in call] for call in calls])
    command = [sys.executable, "-c", WITHOUT_TORCH, words]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def test_without_a_verb_the_help_lists_every_verb() -> None:
    outcome = fedseg()
    assert outcome.code == 0
    assert all(verb in outcome.out for verb in VERBS)
    assert "not a medical device" in outcome.out


@pytest.mark.parametrize("verb", VERBS)
def test_each_verb_has_help_with_json_and_a_module_of_its_name(verb: str) -> None:
    outcome = fedseg(verb, "--help")
    assert outcome.code == 0
    assert "--json" in outcome.out and f"fedseg {verb}" in outcome.out
    assert (Path(cli.__file__).parent / "verbs" / f"{verb.replace('-', '_')}.py").is_file()


def test_help_answers_without_torch() -> None:
    ran = in_a_fresh_process(*([verb, "--help"] for verb in VERBS))
    assert ran.returncode == 0, ran.stderr


@pytest.mark.parametrize("kind", ["model", "checkpoint", "study", "dataset"])
def test_info_answers_without_torch(kind: str, finished: Finished) -> None:
    file = {
        "model": finished.model,
        "checkpoint": finished.out / "checkpoint.safetensors",
        "study": finished.study,
        "dataset": finished.study.parent / "ct",
    }[kind]
    ran = in_a_fresh_process(["info", file])
    assert ran.returncode == 0, ran.stderr
    assert kind in ran.stdout


@pytest.mark.slow
def test_info_of_a_model_takes_less_than_three_tenths_of_a_second(finished: Finished) -> None:
    took = []
    for _ in range(5):
        started = time.perf_counter()
        subprocess.run(
            [sys.executable, "-m", "FedSegCore", "info", finished.model],
            check=True,
            stdout=subprocess.DEVNULL,
        )
        took.append(time.perf_counter() - started)
    assert min(took) < 0.3


def test_an_unknown_verb_names_the_nearest_one() -> None:
    assert (
        refused(fedseg("simulat", "study.toml")) == 'fedseg: Unknown verb "simulat". Did you mean "simulate"?'
    )


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["simulate", "study.toml", "--out", "x", "--wokers", "2"], '"--wokers"'),
        (["simulate", "study.toml"], "--out"),
        (["simulate", "study.toml", "--out", "x", "--workers", "two"], "two"),
        (["simulate", "study.toml", "--out", "x", "--device", "tpu"], "tpu"),
        (["info", "one", "two"], '"two"'),
        (["--nothing"], "VERB"),
    ],
)
def test_a_wrong_call_is_refused_in_one_line_that_names_the_help(words: list[str], told: str) -> None:
    line = refused(fedseg(*words))
    assert told in line and "--help" in line


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_device_that_is_not_there_is_refused(finished: Finished, tmp_path: Path) -> None:
    line = refused(fedseg("simulate", finished.study, "--out", tmp_path / "out", "--device", "cuda"))
    assert "--device cpu" in line and not (tmp_path / "out").exists()


def test_an_error_is_the_last_json_line() -> None:
    outcome = fedseg("info", "/nowhere/at/all", "--json")
    assert outcome.code == 2 and outcome.err == ""
    assert outcome.events[-1]["event"] == "error"
    assert outcome.events[-1]["message"] and outcome.events[-1]["fix"]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["simulate", "study.toml", "--out", "x"], "simulate goes on with --resume"),
        (["train", "x", "--out", "y"], "train goes on with --resume"),
        (["demo"], "fedseg simulate DIR/hospitals/study.toml --out DIR --resume"),
        (["check", "x"], "Run the command again"),
    ],
)
def test_ctrl_c_says_how_the_verb_goes_on(
    words: list[str], told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(arguments: Any, console: Any) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(f"FedSegCore.verbs.{words[0]}.run", run)
    outcome = fedseg(*words)
    assert outcome.code == 1 and told in outcome.err and outcome.err.count("\n") == 1


def stub_info(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    def run(arguments: Any, console: Any) -> int:
        raise error

    monkeypatch.setattr("FedSegCore.verbs.info.run", run)


@pytest.mark.parametrize(
    ("error", "code", "told"),
    [
        (RunError("It broke.", "Mend it."), 1, "It broke. Mend it."),
        (KeyboardInterrupt(), 1, "Interrupted. Run the command again."),
        (OSError(28, "No space left on device", "scores.csv"), 2, "scores.csv: No space left on device."),
        (StorageError("scores.csv", OSError(28, "No space left")), 2, "scores.csv could not be written"),
        (MemoryError("4 GiB"), 1, "Memory ran out"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), 1, "Memory ran out"),
        (ZeroDivisionError("x\ny"), 1, "did not foresee"),
    ],
)
def test_whatever_goes_wrong_is_one_line_and_an_exit_code(
    error: BaseException, code: int, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    stub_info(monkeypatch, error)
    outcome = fedseg("info", "file")
    assert outcome.code == code
    assert told in outcome.err and outcome.err.count("\n") == 1
    last = json.loads(fedseg("info", "file", "--json").out)
    assert last["event"] == "error" and set(last) == {"event", "message", "fix"}


def test_an_unforeseen_error_shows_where_it_came_from_when_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    stub_info(monkeypatch, ZeroDivisionError("x"))
    monkeypatch.setenv("FEDSEG_TRACEBACK", "1")
    with pytest.raises(ZeroDivisionError):
        fedseg("info", "file")


def test_output_that_nobody_reads_any_more_ends_quietly(finished: Finished) -> None:
    command = [sys.executable, "-m", "FedSegCore", "info", str(finished.model)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == ""


def test_letters_that_the_terminal_lacks_are_no_reason_to_fail(finished: Finished, tmp_path: Path) -> None:
    study = tmp_path / "study.toml"
    study.write_text('name = "Leber und Nieren \u80be"', encoding="utf-8")
    for words in ([], ["--json"]):
        ran = subprocess.run(
            [sys.executable, "-m", "FedSegCore", "info", study, *words],
            env={**os.environ, "PYTHONIOENCODING": "ascii"}, capture_output=True, text=True,
        )  # fmt: skip
        assert ran.returncode == 0 and "Leber" in ran.stdout, ran.stderr


def test_a_missing_package_is_named_with_the_way_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise ModuleNotFoundError("No module named 'torch'", name="torch")

    monkeypatch.setattr("FedSegCore.cli.importlib.import_module", missing)
    outcome = fedseg("segment", "scan.nii.gz", "--model", "m.safetensors", "-o", "out.nii.gz")
    assert (
        outcome.code == 1 and "lacks the Python package torch" in outcome.err and "pip install" in outcome.err
    )
