"""`fedseg evaluate`: segmentations against references, structure by structure."""

from __future__ import annotations

import csv
import io
import math
from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from FedSegCore.console import Console
from FedSegCore.data.io import find_images, image_stem, read_volume
from FedSegCore.data.labels import LabelSet
from FedSegCore.data.segments import read_label_map, read_segments
from FedSegCore.data.volume import Volume, same_grid
from FedSegCore.errors import DataError

COLUMNS = ("case", "label", "dice", "hd95_mm", "nsd_1mm")


def run(arguments: Namespace, console: Console) -> int:
    """Score every segmentation against the reference of the same name."""
    pairs = find_pairs(arguments.predictions, arguments.labels)
    names = known_labels(arguments.labels)
    rows = [
        row for case, prediction, reference in pairs for row in score_pair(case, prediction, reference, names)
    ]
    if arguments.csv is not None:
        write_csv(arguments.csv, rows)
    means = {}
    for label in dict.fromkeys(row["label"] for row in rows):
        means[label] = {metric: _mean(rows, label, metric) for metric in COLUMNS[2:]}
        dice, hd95, nsd = (means[label][metric] for metric in COLUMNS[2:])
        console.say(f"{label:24s} Dice {dice:.3f}  HD95 {hd95:.2f} mm  NSD(1 mm) {nsd:.3f}")
    undefined = sum(math.isnan(row["dice"]) for row in rows)
    console.say(
        f"{len(pairs)} cases; {undefined} scores undefined (structure absent in both, left out of the means)"
    )
    console.result({"cases": len(pairs), "undefined": undefined, "means": means}, path=arguments.csv)
    return 0


def find_pairs(predictions: Path, labels: Path) -> list[tuple[str, Path, Path]]:
    """(case, prediction, reference), matched by file name without suffix.

    Raises:
        DataError: missing paths, a prediction without a reference, or, of two folders, the reverse.
    """
    for path in (predictions, labels):
        if not path.exists():
            raise DataError(f"There is no file or folder {path}.", "Check the path.")
    if predictions.is_file() and labels.is_file():
        return [(image_stem(predictions), predictions, labels)]
    references = {image_stem(path): path for path in ([labels] if labels.is_file() else find_images(labels))}
    found = [predictions] if predictions.is_file() else find_images(predictions)
    if not found:
        raise DataError(f"{predictions} holds no segmentation.", "Give a folder of label maps.")
    missing = [path.name for path in found if _case(path, references) is None]
    if missing:
        raise DataError(
            f"{len(missing)} of {len(found)} segmentations have no reference in {labels}, such as {missing[0]}.",
            "A reference has the segmentation's file name.",
        )
    pairs = [
        (case, path, references[case]) for path in found if (case := _case(path, references)) is not None
    ]
    if predictions.is_dir():
        _refuse_unpredicted(references, {case for case, _, _ in pairs}, predictions)
    return pairs


def _refuse_unpredicted(references: Mapping[str, Path], found: set[str], predictions: Path) -> None:
    """What was not segmented at all must not make the means look better."""
    missing = [path.name for case, path in sorted(references.items()) if case not in found]
    if missing:
        shown = ", ".join(missing[:3]) + (", ..." if len(missing) > 3 else "")
        raise DataError(
            f"{len(missing)} of {len(references)} references have no segmentation in {predictions}: {shown}.",
            "Segment those cases too, or give a folder of the references that are meant.",
        )


def _case(path: Path, references: Mapping[str, Path]) -> str | None:
    """The reference's name: the same stem, or without nnU-Net's channel number."""
    stem = image_stem(path)
    short = stem[:-5] if stem[-5:-4] == "_" and stem[-4:].isdigit() else stem
    return next((name for name in (stem, short) if name in references), None)


def known_labels(labels: Path) -> LabelSet:
    """The label set of the dataset.json beside the references, where there is one; else an empty one."""
    for folder in (labels, labels.parent, labels.parent.parent):
        if (folder / "dataset.json").is_file():
            from FedSegCore.data.case import read_dataset

            return read_dataset(folder).labels
    return LabelSet({})


def score_pair(case: str, prediction: Path, reference: Path, known: LabelSet) -> list[dict[str, Any]]:
    """The rows of one case: every structure that has a name, and every other value that is painted.

    A .seg.nrrd brings its own names. A region of several values is scored as their union.

    Raises:
        DataError: the two lie on different grids.
    """
    from FedSegCore.learning.metrics import score_case

    own = {**read_segments(prediction), **read_segments(reference)}
    names = known if known.values else LabelSet({name: (value,) for name, value in own.items()})
    truth = read_label_map(reference, names, like=read_volume(prediction))
    found = read_label_map(prediction, names, like=truth)
    _check_grid(case, found, truth)
    painted = {int(value) for volume in (truth, found) for value in np.unique(volume.array)} - {0}
    unnamed = sorted(painted - {value for values in names.values.values() for value in values})
    structures = {**names.values, **{str(value): (value,) for value in unnamed}}
    masks = [
        np.array([np.isin(volume.array, values) for values in structures.values()]).reshape(-1, *truth.shape)
        for volume in (found, truth)
    ]
    scores = score_case(
        masks[0],
        masks[1],
        labels=list(structures),
        spacing_mm=tuple(float(side) for side in truth.spacing_mm),
    )
    return [{"case": case, **{column: getattr(score, column) for column in COLUMNS[1:]}} for score in scores]


def _check_grid(case: str, found: Volume, truth: Volume) -> None:
    if not same_grid(found.shape, found.affine, other_shape=truth.shape, other_affine=truth.affine):
        raise DataError(
            f"{case}: segmentation {found.shape} and reference {truth.shape} lie on different grids.",
            "Resample one onto the other's grid first.",
        )


def write_csv(path: Path, rows: list[dict[str, Any]]) -> None:
    """One row a case and structure; undefined numbers are empty."""
    from FedSegCore.tensors.tensorfile import write_atomic

    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(
        {k: "" if isinstance(v, float) and math.isnan(v) else v for k, v in row.items()} for row in rows
    )
    write_atomic(path, text.getvalue().encode())


def _mean(rows: list[dict[str, Any]], label: str, metric: str) -> float:
    values = [row[metric] for row in rows if row["label"] == label and not math.isnan(row[metric])]
    return sum(values) / len(values) if values else math.nan
