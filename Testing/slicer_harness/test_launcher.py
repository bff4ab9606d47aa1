"""Slicer's command line, and how a script's end becomes the exit code."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from Testing.slicer_harness.app import MODULE
from Testing.slicer_harness.launcher import STAYED_OPEN, parse

LAUNCHER = Path(__file__).with_name("launcher.py")


def run(script: str, folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    (folder / "script.py").write_text(script)
    options = ["--no-splash", "--no-main-window", *words, "--additional-module-paths", str(MODULE)]
    command = [
        sys.executable,
        str(LAUNCHER),
        *options,
        "--python-script",
        str(folder / "script.py"),
        "a",
        "--b",
    ]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def test_the_words_are_slicers_and_the_rest_the_scripts() -> None:
    words = ["--no-splash", "--testing", "--additional-module-paths", "one", "two"]
    options = parse([*words, "--python-script", "s.py", "x", "--y", "1", "--", "--testing"])
    assert options.is_testing and options.script == "s.py" and options.folders == [Path("one"), Path("two")]
    assert options.arguments == ["x", "--y", "1", "--testing"]


def test_a_script_sees_the_modules_and_its_words_and_its_code_comes_out(tmp_path: Path) -> None:
    script = "import sys, slicer\nprint(sys.argv[1:], slicer.modules.fedseg.title)\nslicer.util.exit(4)"
    done = run(script, tmp_path, "--testing")
    assert done.returncode == 4 and done.stdout.strip() == "['a', '--b'] FedSeg", done.stderr


def test_an_error_in_a_callback_fails_a_test_run(tmp_path: Path) -> None:
    script = (
        "import qt, slicer\ntimer = qt.QTimer()\ntimer.connect('timeout()', lambda: 1 / 0)\ntimer.start(0)\n"
    )
    done = run(script + "slicer.app.processEvents()", tmp_path, "--testing")
    assert done.returncode == 1 and "ZeroDivisionError" in done.stderr


def test_a_script_that_does_not_end_the_application_would_hang(tmp_path: Path) -> None:
    done = run("import slicer", tmp_path)
    assert done.returncode == STAYED_OPEN and "would stay open" in done.stderr
