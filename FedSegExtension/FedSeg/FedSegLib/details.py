"""What a person who helps has to know of an error, and nothing of a patient: for the clipboard, and for others."""

from __future__ import annotations

import platform
import re
from collections.abc import Iterable

from FedSegLib.command import coreFolder
from FedSegLib.events import Message
from FedSegLib.job import Job

_LONGEST = 80
"""Lines of tracebacks that are kept, the last ones."""
_SHORTEST_NAME = 3
_FRAME = re.compile(r'^\s*File "(?P<path>[^"]+)", line (?P<line>\d+)(?P<rest>, in \S+)?$')
_RAISED = re.compile(r"^((?:[A-Za-z_]\w*\.)*[A-Z]\w*(?:Error|Exception|Exit|Interrupt|Warning))(?::.*)?$")
_QUOTED_PATH = re.compile(r"""(["'])[^"'\n]*[/\\][^"'\n]*\1""")
_PATH = re.compile(r"(?<![\w<])(?:[A-Za-z]:)?[/\\][^\s\"'<>|]*|\S*[/\\]\S*")
_FILE = re.compile(
    r"\S+\.(?:nii|gz|nrrd|mha|mhd|dcm|json|jsonl|toml|csv|safetensors|fedseg)\b", re.IGNORECASE
)


def detailsOf(
    error: Message, *, names: Iterable[str] = (), slicer: str = "", job: Job | None = None, trace: str = ""
) -> str:
    """Cause, fix, versions and tracebacks. Paths and names of files go; of tracebacks only places and kinds stay.

    Args:
        names: of patients, cases and people, which are taken out wherever they stand.
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
    """A text in which no path, file or known name is left."""
    for name in sorted({name.strip() for name in names}, key=len, reverse=True):
        if len(name) >= _SHORTEST_NAME:
            text = re.sub(re.escape(name), "<name>", text, flags=re.IGNORECASE)
    text = _QUOTED_PATH.sub("<path>", text)
    text = _PATH.sub("<path>", text)
    return _FILE.sub("<file>", text)


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
