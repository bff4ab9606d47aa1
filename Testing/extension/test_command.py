"""Which program is called, and with which words."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from FedSegLib.command import (
    Command,
    CommandNotFound,
    checkWords,
    coreFolder,
    findCommand,
    infoWords,
    segmentWords,
    trainWords,
)

from FedSegCore.cli import make_parser


def program(folder: Path, name: str) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return path


def test_what_the_user_told_goes_first(tmp_path: Path) -> None:
    mine, other = program(tmp_path / "a", "my-fedseg"), program(tmp_path / "b", "fedseg")
    assert findCommand(str(mine), {"PATH": str(other.parent)}) == Command((str(mine),))


def test_a_told_interpreter_runs_the_core_as_a_module(tmp_path: Path) -> None:
    python = program(tmp_path, "python3.12")
    command = findCommand(str(python), {"PATH": ""})
    assert command.words == (str(python), "-m", "FedSegCore")
    assert command.environment({})["PYTHONPATH"] == str(Path(__file__).parents[2])


def test_fedseg_on_the_path_is_found(tmp_path: Path) -> None:
    found = program(tmp_path, "fedseg")
    assert findCommand("", {"PATH": str(tmp_path)}) == Command((str(found),))


def test_else_slicers_own_python_runs_the_core_beside_the_module(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    python = program(tmp_path, "PythonSlicer")
    monkeypatch.setenv("PATH", str(tmp_path))  # it is on Slicer's path, not on that of the time before
    command = findCommand("", {"PATH": ""})
    assert command.words == (str(python), "-m", "FedSegCore") and command.folders == (coreFolder(),)


def test_without_any_the_error_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(CommandNotFound) as caught:
        findCommand("", {"PATH": ""})
    assert "Install FedSeg" in caught.value.message.fix


def test_a_told_program_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(CommandNotFound, match="gone"):
        findCommand(str(tmp_path / "gone"), dict(os.environ))


def test_a_program_of_its_own_is_not_given_the_modules_core() -> None:
    assert "PYTHONPATH" not in Command(("fedseg",)).environment({"HOME": "h"})


def test_one_model_is_asked_for_without_a_map_of_disagreement(tmp_path: Path) -> None:
    model = tmp_path / "global.safetensors"
    model.touch()
    words = segmentWords({"MR": Path("i.nrrd")}, model, Path("o.seg.nrrd"), Path("d.nrrd"))
    parsed = make_parser().parse_args(words)
    assert (parsed.model, parsed.route, parsed.disagreement) == (model, None, None)
    assert parsed.channels == ["MR=i.nrrd"] and parsed.out == Path("o.seg.nrrd") and parsed.json


def test_a_folder_of_models_is_routed_with_a_map_of_disagreement(tmp_path: Path) -> None:
    parsed = make_parser().parse_args(
        segmentWords({"MR": Path("i.nrrd")}, tmp_path, Path("o.seg.nrrd"), Path("d.nrrd"))
    )
    assert (parsed.model, parsed.route, parsed.disagreement) == (None, tmp_path, Path("d.nrrd"))


def test_a_case_of_several_images_names_each(tmp_path: Path) -> None:
    images = {"T1": Path("a.nrrd"), "FLAIR": Path("b.nrrd")}
    words = segmentWords(images, tmp_path, Path("o.seg.nrrd"), Path("d.nrrd"), resample=True)
    parsed = make_parser().parse_args(words)
    assert parsed.channels == ["T1=a.nrrd", "FLAIR=b.nrrd"] and parsed.resample


def test_a_dataset_is_checked_and_trained_on_as_the_command_understands_it() -> None:
    assert make_parser().parse_args(checkWords(Path("data"))).dataset == Path("data")
    parsed = make_parser().parse_args(
        trainWords(Path("data"), Path("out"), Path("m.safetensors"), resume=True)
    )
    assert (parsed.dataset, parsed.out, parsed.init) == (Path("data"), Path("out"), Path("m.safetensors"))
    assert (
        parsed.resume
        and make_parser().parse_args(trainWords(Path("data"), Path("out"), resume=False)).init is None
    )


def test_info_is_asked_for_as_the_command_understands_it() -> None:
    parsed = make_parser().parse_args(infoWords(Path("m.safetensors")))
    assert parsed.verb == "info" and parsed.file == Path("m.safetensors") and parsed.json


def test_fedsegs_own_packages_are_on_the_path_of_an_interpreter(tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.touch(mode=0o755)
    command = findCommand(str(python), {"PATH": ""}, tmp_path / "packages")
    core = coreFolder()
    assert core is not None and command.isInterpreter
    assert command.environment({})["PYTHONPATH"] == os.pathsep.join([str(core), str(tmp_path / "packages")])
