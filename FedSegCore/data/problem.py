"""One flaw of a dataset folder: the file, how grave it is, what is wrong and what to do."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Severity = Literal["error", "warning"]


@dataclass(frozen=True)
class Problem:
    """One flaw found before training.

    Args:
        file: full file name relative to the dataset folder, "/" between its parts.
        severity: "error" where a study would fail or learn something false, "warning" where a person
            should look.
        message: what is wrong, one sentence.
        fix: what to do about it, one sentence.
    """

    file: str
    severity: Severity
    message: str
    fix: str

    def line(self) -> str:
        """The problem on one unwrapped line."""
        return f"{self.severity}: {self.file}: {self.message} {self.fix}"


def shown(path: Path, folder: Path) -> str:
    """A file's name relative to its dataset folder ("../other/labelsTr/a.nii.gz" where it lies outside)."""
    try:
        return Path(os.path.relpath(path, folder)).as_posix()
    except ValueError:  # another drive on Windows
        return path.as_posix()


def in_order(problems: Iterable[Problem]) -> list[Problem]:
    """Every problem once, errors first, then by file; the order of discovery within a file is kept."""
    unique = list(dict.fromkeys(problems))
    return sorted(unique, key=lambda problem: (problem.severity, problem.file))
