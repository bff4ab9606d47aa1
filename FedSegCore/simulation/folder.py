"""A study's output folder: whether it may be written into, where its runs stand and when it is finished."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

from FedSegCore.errors import UsageError
from FedSegCore.files import write_atomic
from FedSegCore.study import Study


def prepare_folder(out: Path, study: Study, *, resume: bool, init: Path | None = None) -> None:
    """Make the folder, or see that it may be continued in.

    Args:
        init: the model that the study starts from.

    Raises:
        UsageError: it is not empty and `resume` is not given, or it holds another study.
    """
    if out.exists() and not out.is_dir():
        raise UsageError(f"{out} is a file.", "Give a folder with --out.")
    mark, wanted = out / "study.json", _mark(study, init)
    if out.is_dir() and any(_counts(path) for path in out.iterdir()):
        if not resume:
            raise UsageError(
                f"{out} exists and is not empty.",
                "Add --resume to continue the study in it, or choose another --out.",
            )
        if not wanted.items() <= {"init": "", **_read_mark(mark)}.items():
            raise UsageError(
                f"{out} holds another study, or this one with other settings.",
                "Restore the study file and what else was given, or choose another --out.",
            )
        return
    write_atomic(mark, json.dumps({"name": study.name, **wanted}).encode())


def run_folder(out: Path, study: Study, method: str, seed: int) -> Path:
    """Where one run's files stand: `out` itself for a single one."""
    if len(study.methods) * len(study.seeds) == 1:
        return out
    return out / "runs" / run_name(method, seed)


def run_name(method: str, seed: int) -> str:
    """What a run is called, between hospitals too."""
    return f"{method}-seed{seed}"


def is_finished(out: Path, folders: Sequence[Path]) -> bool:
    """Whether nothing is missing; the report is what is written last."""
    cards = [folder / "models" / "index.json" for folder in folders]
    return all(path.is_file() for path in (*cards, out / "scores.csv", out / "report.html"))


def _mark(study: Study, init: Path | None) -> dict[str, str]:
    """What a folder must agree on to be continued in."""
    start = hashlib.sha256(init.read_bytes()).hexdigest() if init else ""
    return {"digest": study.digest(), "init": start}


def _read_mark(mark: Path) -> dict[str, object]:
    """What the folder says that it holds; nothing where FedSeg did not write it."""
    try:
        found = json.loads(mark.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _counts(path: Path) -> bool:
    """Whether a file says that a study was run here; a demo's images, a coordinator's keys, half a file do not."""
    return path.name not in ("hospitals", "coordinator", "study.json") and not path.name.endswith(".partial")
