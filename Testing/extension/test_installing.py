"""FedSeg's own packages go into FedSeg's own folder."""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path

import pytest
from FedSegLib.command import Command
from FedSegLib.installing import Installation, installationText, installer, readInstallation
from FedSegLib.job import DONE, FAILED, Job

from FedSegCore.installation import REQUIRED

REQUIREMENTS = Path(__file__).parents[2] / "FedSegExtension" / "FedSeg" / "Resources" / "requirements.txt"
BUNDLED = {"numpy", "scipy", "SimpleITK", "requests"}


def wheel(folder: Path) -> Path:
    """A package of one line, as pip takes it."""
    path = folder / "tiny-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("tiny.py", "answer = 42\n")
        file.writestr("tiny-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n")
        file.writestr(
            "tiny-1.0.dist-info/WHEEL",
            "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        )
        file.writestr("tiny-1.0.dist-info/RECORD", "tiny.py,,\ntiny-1.0.dist-info/METADATA,,\n")
    return path


def run(requirement: str, tmp_path: Path) -> Job:
    (tmp_path / "requirements.txt").write_text(requirement + "\n")
    command = Command((sys.executable, "-m", "FedSegCore"))
    script, words = installer(command, tmp_path / "requirements.txt", tmp_path / "packages")
    job = Job(script, words, folder=tmp_path, environment={})
    job.wait(60)
    return job


def test_packages_are_installed_into_a_folder_of_their_own(tmp_path: Path) -> None:
    job = run(str(wheel(tmp_path)), tmp_path)
    assert job.state == DONE and job.story.result == {"summary": {"folder": str(tmp_path / "packages")}}
    assert (tmp_path / "packages" / "tiny.py").is_file()


def test_a_package_that_cannot_be_had_is_told_with_pips_reason(tmp_path: Path) -> None:
    job = run(f"file://{tmp_path}/absent-1.0-py3-none-any.whl", tmp_path)
    assert job.state == FAILED and job.story.error is not None
    assert "could not install" in job.story.error.text and "absent" in job.story.error.text


def test_every_package_that_slicer_lacks_is_listed_but_torch() -> None:
    lines = REQUIREMENTS.read_text().splitlines()
    listed = {line.split(">=")[0]: line for line in lines if not line.startswith("#")}
    needed = set(REQUIRED) - BUNDLED - {"torch"}
    assert needed <= set(listed) and not (BUNDLED | {"torch"}) & set(listed)
    assert all(listed[name] == f"{name}>={REQUIRED[name]}" for name in needed)


@pytest.mark.parametrize(
    ("lacking", "torch", "others"),
    [
        ([], False, False),
        (["torch>=2.6"], True, False),
        (["monai>=1.5"], False, True),
        (["torch>=2.6", "a>=1"], True, True),
    ],
)
def test_what_is_lacking_says_who_can_bring_it(lacking: list[str], torch: bool, others: bool) -> None:
    found = readInstallation({"python": "3.12.1", "lacking": lacking, "device": None})
    assert (found.lacksTorch, found.lacksOthers) == (torch, others)


def test_the_installation_is_told_in_words() -> None:
    text = installationText(Installation("3.12.1", ("torch>=2.6",), "cpu (2 threads)"))
    assert "Python 3.12.1" in text and "Missing or too old: torch>=2.6." in text and "cpu (2 threads)" in text


def test_other_facts_are_no_installation() -> None:
    with pytest.raises(ValueError, match="no installation"):
        readInstallation({"kind": "model"})
