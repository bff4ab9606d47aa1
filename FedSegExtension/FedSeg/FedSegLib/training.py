"""Local training: where its files go, and its curve."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from FedSegLib.dataset import JSON_NAME
from FedSegLib.events import Round
from FedSegLib.places import placeFor

_BEGUN = "study.json"
"""The file that `fedseg train` writes first."""


def trainingFolder(dataset: Path) -> Path:
    """Where the next training on a dataset goes: see `placeFor`; on top of the last one if that was interrupted.

    A training that was interrupted before cases were added begins anew, in the next folder.
    """
    folder = placeFor(dataset, "training")
    begun = sorted(path.parent for path in folder.glob(f"training-[0-9][0-9][0-9]/{_BEGUN}"))
    if begun and not modelsOf(begun[-1]) and _isCurrent(begun[-1], dataset):
        return begun[-1]
    number = int(begun[-1].name[-3:]) + 1 if begun else 1
    return folder / f"training-{number:03d}"


def modelsOf(training: Path) -> list[Path]:
    """What a training has published."""
    return sorted((training / "models").glob("*.safetensors"))


def _isCurrent(training: Path, dataset: Path) -> bool:
    return (training / _BEGUN).stat().st_mtime >= (dataset / JSON_NAME).stat().st_mtime


@dataclass(frozen=True)
class Curve:
    """One line of a chart.

    Args:
        points: (x, y), both from 0 to 1, y upwards.
    """

    name: str
    points: tuple[tuple[float, float], ...]


def diceCurves(rounds: Sequence[Round]) -> list[Curve]:
    """Validation Dice by round, one curve for each structure that was measured."""
    names = dict.fromkeys(label for told in rounds for label in told.dice)
    return [
        Curve(
            name,
            tuple((told.number / told.total, told.dice[name]) for told in rounds if name in told.dice),
        )
        for name in names
    ]
