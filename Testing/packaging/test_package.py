"""The extension is configured, built and packed as Slicer's build does it; what comes out is unpacked and run."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from FedSegCore.data.io import write_volume
from FedSegCore.data.segments import read_segments
from FedSegCore.data.volume import Volume
from FedSegCore.inference.modelfile import ModelHeader
from Testing.inference.conftest import MakeBank
from Testing.packaging.mock_slicer import write_mock

ROOT = Path(__file__).parents[2]
LAUNCHER = ROOT / "Testing" / "slicer_harness" / "launcher.py"
SHIPPED = ("FedSegCore/", "FedSegExtension/FedSeg/")
"""The folders whose every file is shipped, and whose contents lie side by side in the package."""

STUB = """
import os, sys
from types import SimpleNamespace

app = SimpleNamespace(slicerUserSettingsFilePath=os.path.join(os.environ["HOME"], "Slicer.ini"))
util = SimpleNamespace(
    exit=sys.exit, startupEnvironment=lambda: dict(os.environ), settingsValue=lambda key, default: default
)
"""


def tracked() -> list[str]:
    """The files of the extension, from git where it is a checkout, without what lies beside them by chance."""
    if (ROOT / ".git").exists():
        command = ["git", "-C", str(ROOT), "ls-files", "-z", "FedSegCore", "FedSegExtension"]
        found = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split("\0")
        return [name for name in found if name and (ROOT / name).is_file()]
    paths = (path for part in ("FedSegCore", "FedSegExtension") for path in (ROOT / part).rglob("*"))
    return [path.relative_to(ROOT).as_posix() for path in paths if path.is_file() and path.suffix != ".pyc"]


def run(*command: str | Path, cwd: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """A program, found beside this Python first, where the package that brings CMake put it."""
    programs = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": programs, **variables}
    found = [shutil.which(command[0], path=environment["PATH"]) or command[0], *command[1:]]
    return subprocess.run(found, cwd=cwd, env=environment, capture_output=True, text=True, check=False)


def build(source: Path, binary: Path, *, launcher: Sequence[str] = ()) -> None:
    mock = write_mock(binary / "slicer", launcher=launcher)
    for words in (["-S", source, "-B", binary, f"-DSlicer_DIR={mock}"], ["--build", binary]):
        done = run("cmake", *words, cwd=binary)
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def binary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The build folder of a copy of the extension, in which lies what must not be shipped."""
    source = tmp_path_factory.mktemp("source")
    for name in [*tracked(), "CMakeLists.txt", "LICENSE.txt", "README.md"]:
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, source / name)
    for name in ("FedSegCore/__pycache__/cli.cpython-312.pyc", "Testing/test_it.py", "FedSegCore/notes.orig"):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_bytes(b"not to be shipped")
    binary = tmp_path_factory.mktemp("binary")
    launcher = [sys.executable, str(LAUNCHER)] if LAUNCHER.is_file() else []
    build(source, binary, launcher=launcher)
    return binary


@pytest.fixture(scope="module")
def modules(binary: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of scripted modules in the unpacked package."""
    done = run("cpack", "-C", "Release", cwd=binary)
    assert done.returncode == 0, done.stdout + done.stderr
    (package,) = binary.glob("*.tar.gz")
    folder = tmp_path_factory.mktemp("installed")
    with tarfile.open(package) as archive:
        archive.extractall(folder, filter="data")
    (found,) = folder.glob("*/lib/Slicer-*/qt-scripted-modules")
    return found


def test_the_package_holds_every_file_of_the_core_and_the_module_and_nothing_else(modules: Path) -> None:
    expected = {
        name.removeprefix("FedSegExtension/FedSeg/") for name in tracked() if name.startswith(SHIPPED)
    }
    there = {path.relative_to(modules).as_posix() for path in modules.rglob("*") if path.is_file()}
    compiled = {name for name in there if name.endswith(".pyc")}
    assert there - compiled == expected - {"CMakeLists.txt"}
    assert not [name for name in compiled if name[:-1] not in there]


def test_the_package_says_what_it_is(modules: Path) -> None:
    (description,) = modules.parents[2].rglob("FedSeg.s4ext")
    lines = description.read_text().splitlines()
    assert "depends PyTorch" in lines and "category Segmentation" in lines


def test_slicer_finds_one_module_in_the_package_and_no_script_beside_it(modules: Path) -> None:
    assert [path.name for path in modules.glob("*.py")] == ["FedSeg.py"]


def test_the_packed_core_answers_where_no_package_is_installed(modules: Path, tmp_path: Path) -> None:
    done = run(sys.executable, "-S", "-m", "FedSegCore", "info", cwd=tmp_path, PYTHONPATH=str(modules))
    assert done.returncode == 0 and "torch" in done.stdout, done.stderr


def write_small_module(folder: Path, words: str) -> None:
    """An extension of one module in no language, which CMake configures at once."""
    (folder / "Small.py").touch()
    (folder / "Small.ui").touch()
    (folder / "CMakeLists.txt").write_text(
        "cmake_minimum_required(VERSION 3.16...3.19)\nproject(Small NONE)\nfind_package(Slicer REQUIRED)\n"
        f"include(${{Slicer_USE_FILE}})\nslicerMacroBuildScriptedModule(NAME Small {words})\n"
        "slicer_add_python_unittest(SCRIPT Small.py)\n"
    )


@pytest.mark.parametrize("keyword", ["SCRIPTS", "RESOURCES"])
def test_a_listed_file_that_is_missing_is_an_error(keyword: str, tmp_path: Path) -> None:
    files = {"SCRIPTS": "Small.py", "RESOURCES": "Small.ui", keyword: "missing.ui"}
    write_small_module(tmp_path, " ".join(f"{key} {name}" for key, name in files.items()))
    mock = write_mock(tmp_path / "slicer")
    done = run("cmake", "-S", tmp_path, "-B", tmp_path / "build", f"-DSlicer_DIR={mock}", cwd=tmp_path)
    assert done.returncode != 0 and "missing.ui" in done.stderr


def test_ctest_starts_slicer_with_the_words_that_slicer_takes(tmp_path: Path) -> None:
    write_small_module(tmp_path, "SCRIPTS Small.py WITH_GENERIC_TESTS")
    told = tmp_path / "told"
    program = f"import sys; open({str(told)!r}, 'a').write(' '.join(sys.argv[1:]) + chr(10))"
    (tmp_path / "slicer.py").write_text(program)
    binary = tmp_path / "build"
    binary.mkdir()
    build(tmp_path, binary, launcher=[sys.executable, str(tmp_path / "slicer.py")])
    done = run("ctest", cwd=binary)
    assert done.returncode == 0 and "py_nomainwindow_qSlicerSmallModuleGenericTest" in done.stdout, (
        done.stdout
    )
    generic, own = told.read_text().splitlines()
    for words, name in ((generic, "qSlicerSmallModuleGenericTest"), (own, "Small")):
        assert words.startswith("--no-splash --testing ") and f"{binary}/lib/Slicer-5.12/qt-scripted" in words
        assert (
            words.endswith(f"'{tmp_path}'], '{name}')") and "--python-code import slicer.testing; " in words
        )
    assert "--no-main-window" in generic


@pytest.mark.skipif(not LAUNCHER.is_file(), reason="there is nothing that stands for Slicer")
def test_the_modules_own_tests_pass_under_ctest(binary: Path) -> None:
    done = run("ctest", "--output-on-failure", cwd=binary)
    assert done.returncode == 0, done.stdout
    assert {"py_FedSeg", "py_nomainwindow_qSlicerFedSegModuleGenericTest"} <= set(done.stdout.split())


def segment_folder(
    modules: Path, folder: Path, python: str, *words: str | Path
) -> subprocess.CompletedProcess[str]:
    """The packed script as Slicer runs it, where there is no `fedseg` but only Slicer's own Python."""
    programs = folder / "programs"
    programs.mkdir()
    (programs / "PythonSlicer").write_text(f"#!/bin/sh\n{python}\n")
    (programs / "PythonSlicer").chmod(0o755)
    script = modules / "Resources" / "Scripts" / "FedSegBatch.py"
    variables = {"PATH": f"{programs}:/usr/bin:/bin", "HOME": str(folder)}
    slicer: list[str | Path] = [
        sys.executable,
        LAUNCHER,
        "--no-splash",
        "--no-main-window",
        "--python-script",
        script,
    ]
    if not LAUNCHER.is_file():
        (programs / "slicer.py").write_text(STUB)
        variables["PYTHONPATH"] = str(programs)
        slicer = [sys.executable, "-S", script]
    return run(*slicer, *words, cwd=folder, **variables)


def test_the_packed_batch_script_calls_the_packed_core(modules: Path, tmp_path: Path) -> None:
    told = '{"event": "error", "message": "It is cut off.", "fix": ""}'
    python = f"""echo "$PYTHONPATH $*" > '{tmp_path}/called'; echo '{told}'; exit 2"""
    words = ["--", "--input", tmp_path, "--model", tmp_path / "m.safetensors", "--output", tmp_path / "out"]
    done = segment_folder(modules, tmp_path, python, *words)
    assert done.returncode == 2 and "It is cut off." in done.stdout, done.stdout + done.stderr
    called = (tmp_path / "called").read_text()
    assert called.startswith(f"{modules}:") and " -m FedSegCore segment --json " in called


@pytest.mark.slow
def test_the_packed_batch_script_segments_a_folder(
    modules: Path,
    header: ModelHeader,
    bank_of: MakeBank,
    tmp_path: Path,
) -> None:
    voxels = np.random.default_rng(0).normal(50, 100, (10, 9, 8)).astype(np.float32)
    write_volume(tmp_path / "scans" / "anna.nii.gz", Volume(voxels, np.diag([2.0, 2.0, 2.0, 1.0]), None))
    model, out = bank_of(header, "north") / "global.safetensors", tmp_path / "out"
    words = ["--input", tmp_path / "scans", "--model", model, "--output", out]
    done = segment_folder(modules, tmp_path, f'exec "{sys.executable}" "$@"', *words)
    assert done.returncode == 0, done.stdout + done.stderr
    assert read_segments(out / "anna.seg.nrrd") == {"Liver": 1, "Kidney": 2}
