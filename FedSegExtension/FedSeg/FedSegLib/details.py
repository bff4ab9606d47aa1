"""What a person who helps has to know of an error, and nothing of a patient: for the clipboard, and for others."""

from __future__ import annotations

import platform
import re
from collections.abc import Iterable
from pathlib import Path

from FedSegLib.command import coreFolder
from FedSegLib.events import Message
from FedSegLib.job import Job

_LONGEST = 80
"""Lines of tracebacks that are kept, the last ones."""
_SHORTEST_NAME = 3
_FRAME = re.compile(r'^\s*File "(?P<path>[^"]+)", line (?P<line>\d+)(?P<rest>, in \S+)?$')
_RAISED = re.compile(r"^((?:[A-Za-z_]\w*\.)*[A-Z]\w*(?:Error|Exception|Exit|Interrupt|Warning))(?::.*)?$")
_SEPARATOR = re.compile(r"[/\\]")
_WHOLE_PATH = re.compile(r"(?:(?<![\w<>])(?:[A-Za-z]:|~|\.{1,2}|\w+:/)?|<path>\S*)[/\\]")
"""Where a path begins of which nothing stands before this place; what it holds may have spaces."""
_REST_OF_PATH = re.compile(
    r"(?<!\S)(?!(?:Input/output|I/O|dataset\.json)\b(?![/\\]))"
    r"(?:\S*[/\\]|\S+\.(?:nii|gz|nrrd|nhdr|mha|mhd|dcm|ima|json|jsonl|toml|csv|txt|log|zip|mrb|mrml|"
    r"safetensors|fedseg)\b)",
    re.IGNORECASE,
)
"""A word that ends or continues a relative path or a file's name, whose beginning may be the words before it."""


def detailsOf(
    error: Message, *, names: Iterable[str] = (), slicer: str = "", job: Job | None = None, trace: str = ""
) -> str:
    """Cause, fix, versions and tracebacks. Paths and names of files go; of tracebacks only places and kinds stay.

    Args:
        names: of patients, cases and people, and known paths, which are taken out wherever they stand.
        slicer: its version.
        job: the run of the command that failed.
        trace: the module's own traceback.
    """
    names = list(names)
    lines = [
        f"Error: {withoutNames(error.text, names)}",
        f"What to do: {withoutNames(error.fix, names)}",
        f"FedSeg {_version()}, Slicer {slicer or 'unknown'}, Python {platform.python_version()}, "
        f"{platform.system()} {platform.release()}, {platform.machine()}",
    ]
    if job is not None:
        lines.append(f"Command: fedseg {job.verb}, exit code {job.exitCode}")
    kept = tracebackLines(trace) + (tracebackLines(job.log) if job is not None else [])
    return "\n".join([*lines, *kept[-_LONGEST:]]) + "\n"


def withoutNames(text: str, names: Iterable[str]) -> str:
    """A text in which no path, file or known name is left.

    Known ones are taken out alone. Others may have spaces and full stops, so that nobody can tell where they end.
    They go with the rest of their line, and with all of it where their beginning is as unclear.
    """
    known = sorted({name.strip() for name in names}, key=len, reverse=True)
    patterns = [_patternOf(name) for name in known if len(name) >= _SHORTEST_NAME]
    if patterns:
        text = re.sub("|".join(patterns), _markOf, text, flags=re.IGNORECASE)
    return "\n".join(map(_withoutPaths, text.splitlines()))


def namesOf(*paths: str | Path | None) -> list[str]:
    """What must not be told of files and folders: where they lie, and what they are called."""
    told = [Path(path) for path in paths if path]
    return [name for path in told for name in (str(path), path.name)]


def _patternOf(name: str) -> str:
    """A name as it may be written: Qt's separators are not Windows' own, and some texts double them."""
    return r"[/\\]+".join(map(re.escape, _SEPARATOR.split(name)))


def _markOf(found: re.Match[str]) -> str:
    return "<path>" if _SEPARATOR.search(found[0]) else "<name>"


def _withoutPaths(line: str) -> str:
    whole = _WHOLE_PATH.search(line)
    before = line[: whole.start()] if whole else line
    if _REST_OF_PATH.search(before):
        return "<path>"
    return f"{before}<path>" if whole else line


def tracebackLines(log: str) -> list[str]:
    """Where each error of a log was raised, and its kind; what it said may hold a name, and is left out."""
    kept = []
    for line in log.splitlines():
        frame, raised = _FRAME.match(line), _RAISED.match(line)
        if line.startswith("Traceback "):
            kept.append("Traceback:")
        elif frame:
            kept.append(f"  {_inPackage(frame['path'])}:{frame['line']}{frame['rest'] or ''}")
        elif raised:
            kept.append(raised[1])
    return kept


def _inPackage(path: str) -> str:
    """A source file by its way within its package; any other one without its folder."""
    parts = path.replace("\\", "/").split("/")
    for start in ("site-packages", "FedSegCore", "FedSegLib"):
        if start in parts:
            return "/".join(parts[parts.index(start) :])
    return parts[-1] if parts[-1].endswith(".py") else "<file>"


def _version() -> str:
    """FedSeg's, of the core beside the module."""
    core = coreFolder()
    try:
        text = (core / "FedSegCore" / "version.py").read_text(encoding="utf-8") if core else ""
    except OSError:
        text = ""
    found = re.search(r'^VERSION.*"([\d.]+)"', text, re.MULTILINE)
    return found[1] if found else "unknown"
