"""Slicer's command line for the harness.

python launcher.py [--no-splash] [--testing] [--no-main-window] [--disable-cli-modules] [--disable-settings]
    [--additional-module-paths DIR ...] (--python-script FILE [ARGUMENT ...] | --python-code CODE)

As in Slicer, the exit code is the script's; with --testing it is 1 if any Python code failed, that of callbacks
included. Without --testing a script must end the application itself: Slicer would stay open, here that is an error.
"""

from __future__ import annotations

import logging
import os
import shutil
import sys
import tempfile
import traceback
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

STAYED_OPEN = 3
"""The exit code of a script that does not end the application."""

SILENT = {
    "--no-splash",
    "--no-main-window",
    "--disable-cli-modules",
    "--disable-settings",
    "--ignore-slicerrc",
    "--disable-builtin-cli-modules",
}
"""Switches of what is not there anyway."""


@dataclass
class Options:
    """What the command line says."""

    is_testing: bool = False
    folders: list[Path] = field(default_factory=list)
    script: str = ""
    code: str = ""
    arguments: list[str] = field(default_factory=list)
    """What Slicer does not know, or what follows `--`: the script's."""


def parse(words: list[str]) -> Options:
    """Slicer's words. A list ends at the next word with a dash."""
    options, rest = Options(), list(words)
    while rest:
        word = rest.pop(0)
        if word == "--testing":
            options.is_testing = True
        elif word in ("--additional-module-paths", "--additional-module-path"):
            while rest and not rest[0].startswith("-"):
                options.folders.append(Path(rest.pop(0)))
        elif word == "--python-script":
            options.script = rest.pop(0)
        elif word in ("--python-code", "-c"):
            options.code = rest.pop(0)
        elif word == "--":
            options.arguments += rest
            break
        elif word not in SILENT:
            options.arguments.append(word)
    return options


class Run:
    """One start of the application.

    Attributes:
        has_failed: whether any Python code raised an error.
    """

    def __init__(self, options: Options) -> None:
        self.options = options
        self.has_failed = False

    def __call__(self, folder: Path) -> int:
        """Starts the application with its files in `folder`, runs what it is told, and gives the exit code."""
        sys.excepthook = self._record
        # The script's folder gives way to the package's: nothing of the harness lies on the path of modules.
        sys.path[0] = str(Path(__file__).resolve().parents[1])
        from slicer_harness.boot import boot

        sys.path.pop(0)
        slicer = boot(folder, is_testing=self.options.is_testing)
        sys.argv = [self.options.script, *self.options.arguments]
        try:
            self._load_modules(slicer)
            slicer.app.startupCompleted.emit()
            self._execute()
            slicer.app.processEvents()
        except SystemExit as end:
            return end.code if isinstance(end.code, int) else int(end.code is not None)
        finally:
            for name in slicer.app.moduleManager().modulesNames():
                slicer.app.moduleManager().unload(name)
        if slicer.app.exitCode is not None:
            return int(slicer.app.exitCode)
        if self.options.is_testing:
            return int(self.has_failed)
        print("The script did not end the application; Slicer would stay open.", file=sys.stderr)
        return STAYED_OPEN

    def _load_modules(self, slicer: Any) -> None:
        for folder in self.options.folders:
            for path in sorted(folder.glob("*.py")):
                self._guard(lambda path=path: slicer.app.moduleManager().load(path))

    def _execute(self) -> None:
        names = {"__name__": "__main__", "slicer": sys.modules["slicer"]}
        if self.options.script:
            path = Path(self.options.script)
            code = compile(path.read_text(encoding="utf-8"), str(path), "exec")
            self._guard(lambda: exec(code, {**names, "__file__": str(path)}))
        if self.options.code:
            code = compile(self.options.code, "<python-code>", "exec")
            self._guard(lambda: exec(code, names))

    def _guard(self, call: Any) -> None:
        """An error is told, and the application goes on."""
        try:
            call()
        except Exception:
            self._record(*sys.exc_info())

    def _record(self, kind: Any, error: Any, trace: Any) -> None:
        self.has_failed = True
        traceback.print_exception(kind, error, trace)


def main() -> None:
    """Runs and ends at once: Qt and VTK may not agree on who is destroyed first."""
    logging.basicConfig(level=logging.WARNING)
    folder = Path(tempfile.mkdtemp(prefix="slicer-harness-"))
    code = 1
    try:
        code = Run(parse(sys.argv[1:]))(folder)
    except BaseException:
        traceback.print_exc()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    main()
