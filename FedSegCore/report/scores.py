"""Tidy scores: one row for each model, case and label; read, written and joined as `scores.csv`.

Everything that the report says about accuracy is computed from these rows and from nothing else, so a table
can be checked by hand from the file that lies beside it.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from FedSegCore.errors import DataError, nearest
from FedSegCore.files import write_atomic

MODELS = ("local", "global", "personal", "routed", "single", "uniform", "ensemble", "tent",
          "batchnorm", "central")  # fmt: skip
METRICS = ("dice", "hd95_mm", "nsd_1mm")


@dataclass(frozen=True)
class Score:
    """One structure of one case, segmented by one model.

    Args:
        study: the study's name.
        method: the method that trained the model, e.g. "fedgin".
        seed: the run's seed.
        round: the number of rounds that the model was trained for.
        model: one of `MODELS`.
        owner: the site that a personal or local model belongs to; "" for a model of all sites.
        site: the site that the case lies at.
        modalities: what the model was given, joined by "+", e.g. "T1+FLAIR".
        case: the case's name; it stays on the machine that wrote the file.
        label: the structure's name.
        dice: Dice overlap, 0 to 1; nan where reference and prediction are both empty.
        hd95_mm: 95th percentile of the surface distance in mm; nan where either is empty.
        nsd_1mm: normalised surface Dice at 1 mm, 0 to 1; nan where both are empty.
    """

    study: str
    method: str
    seed: int
    round: int
    model: str
    owner: str
    site: str
    modalities: str
    case: str
    label: str
    dice: float
    hd95_mm: float
    nsd_1mm: float

    @property
    def identity(self) -> tuple[object, ...]:
        """Everything but the three numbers: two rows with the same identity score the same thing."""
        return tuple(getattr(self, name) for name in COLUMNS if name not in METRICS)


COLUMNS = tuple(field.name for field in fields(Score))


def write_scores(path: Path, scores: Iterable[Score]) -> Path:
    """Write the rows as CSV, whole or not at all: nan as an empty field, other numbers in full.

    Args:
        path: the file to write; its folder is made where it is absent.
        scores: the rows, in the order they are to stand in the file.

    Returns:
        `path`.

    Raises:
        DataError: a row's `model` is not one of `MODELS`.
        StorageError: the file could not be written.
    """
    rows = list(scores)
    for score in rows:
        _expect_model(score.model, where=str(path))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for score in rows:
        writer.writerow([_written(name, getattr(score, name)) for name in COLUMNS])
    write_atomic(path, text.getvalue().encode())
    return path


def read_scores(path: Path) -> list[Score]:
    """Read what `write_scores` wrote, number for number.

    Columns may stand in any order; further columns are left aside.

    Raises:
        DataError: the file is absent, a column is missing, or a field is not what its column holds.
    """
    if not path.is_file():
        raise DataError(f"{path}: expected a scores file, found none.", "Run `fedseg simulate` first.")
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        missing = [name for name in COLUMNS if name not in (reader.fieldnames or ())]
        if missing:
            raise DataError(
                f"{path}: expected the columns {', '.join(COLUMNS)}; missing: {', '.join(missing)}.",
                "Give a scores.csv that `fedseg simulate` wrote.",
            )
        return [_read_row(row, where=f"{path}, line {reader.line_num}") for row in reader]


def join_scores(parts: Iterable[Iterable[Score]]) -> list[Score]:
    """The union of several lists of rows; where two score the same thing, the later one counts.

    The order is that of first appearance.
    """
    joined: dict[tuple[object, ...], Score] = {}
    for part in parts:
        for score in part:
            joined[score.identity] = score
    return list(joined.values())


def read_all(paths: Iterable[Path]) -> list[Score]:
    """The union of several scores files: `join_scores` of each one's rows."""
    return join_scores(read_scores(path) for path in paths)


def final_scores(scores: Sequence[Score]) -> list[Score]:
    """The rows of each run's last scored round: earlier rounds are progress, not results."""
    last: dict[tuple[str, str, int], int] = {}
    for score in scores:
        run = (score.study, score.method, score.seed)
        last[run] = max(score.round, last.get(run, score.round))
    return [score for score in scores if score.round == last[score.study, score.method, score.seed]]


def _written(column: str, value: str | float) -> str:
    if column not in METRICS:
        return str(value)
    return "" if math.isnan(float(value)) else repr(float(value))


def _read_row(row: dict[str, str | None], *, where: str) -> Score:
    texts = {name: row.get(name) or "" for name in COLUMNS}
    _expect_model(texts["model"], where=where)
    try:
        return Score(
            study=texts["study"],
            method=texts["method"],
            seed=int(texts["seed"]),
            round=int(texts["round"]),
            model=texts["model"],
            owner=texts["owner"],
            site=texts["site"],
            modalities=texts["modalities"],
            case=texts["case"],
            label=texts["label"],
            dice=_number(texts["dice"]),
            hd95_mm=_number(texts["hd95_mm"]),
            nsd_1mm=_number(texts["nsd_1mm"]),
        )
    except ValueError as error:
        raise DataError(
            f"{where}: expected whole numbers for seed and round and numbers for the metrics ({error}).",
            "Give a scores.csv that `fedseg simulate` wrote, unedited.",
        ) from error


def _number(text: str) -> float:
    return float(text) if text else math.nan


def _expect_model(model: str, *, where: str) -> None:
    if model not in MODELS:
        raise DataError(f'{where}: expected a known kind of model, found "{model}".', nearest(model, MODELS))
