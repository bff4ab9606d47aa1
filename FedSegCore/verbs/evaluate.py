"""`fedseg evaluate`: segmentations against references, structure by structure."""

from __future__ import annotations

import csv
import io
import math
from argparse import Namespace
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from FedSegCore.console import Console
from FedSegCore.data.imagefiles import channel_of, find_images, image_stem
from FedSegCore.data.labels import LabelSet, annotate, renamed
from FedSegCore.errors import DataError, UsageError, nearest
from FedSegCore.files import write_atomic
from FedSegCore.verbs.comparing import COLUMNS, Comparison, Known, compare


def run(arguments: Namespace, console: Console) -> int:
    """Score every segmentation against the reference of the same name."""
    if (arguments.study is None) != (arguments.site is None):
        raise UsageError("--study and --site belong together.", "Give both, or neither.")
    pairs = find_pairs(arguments.predictions, arguments.labels)
    known = known_structures(arguments.labels, arguments.study, arguments.site)
    compared = [compare(*pair, known, slices=arguments.slices) for pair in pairs]
    rows = [row for one in compared for row in one.rows]
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
    surfaces = _surfaces(compared)
    source = "as the segmentations say" if arguments.slices is None else "as --slices says"
    console.say(
        f"Surfaces measured {', '.join(f'{how} ({n} cases)' for how, n in surfaces.items())}, {source}"
    )
    _tell_unscored(compared, console)
    summary = {"cases": len(pairs), "undefined": undefined, "surfaces": surfaces, "means": means}
    console.result(summary, path=arguments.csv)
    return 0


def _surfaces(compared: Sequence[Comparison]) -> dict[str, int]:
    """How surfaces were measured, and in how many cases."""
    ways = ("in 3-D" if one.axis is None else f"in the slices along axis {one.axis + 1}" for one in compared)
    return dict(Counter(ways))


def _tell_unscored(compared: Sequence[Comparison], console: Console) -> None:
    """One warning for all structures that only one side names."""
    told = []
    for side, whose in enumerate(("the segmentations", "the references")):
        names = dict.fromkeys(name for one in compared for name in one.alone[side])
        if names:
            told.append(f"{', '.join(names)}, which only {whose} name")
    if told:
        fix = "If a study maps the references' names to its own, give --study STUDY.toml --site NAME."
        console.emit("warning", message=f"Not scored: {'; '.join(told)}.", fix=fix)


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
    references = _one_a_case((image_stem(path), path) for path in _files(labels))
    found = _files(predictions)
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
    cases = _one_a_case((case, path) for case, path, _ in pairs)
    if predictions.is_dir():
        _refuse_unpredicted(references, set(cases), predictions)
    return pairs


def _files(path: Path) -> list[Path]:
    return [path] if path.is_file() else find_images(path)


def _one_a_case(named: Iterable[tuple[str, Path]]) -> dict[str, Path]:
    """The files by case; of two of one case nobody could say which one counts.

    Raises:
        DataError: two files of one case.
    """
    files: dict[str, Path] = {}
    for case, path in named:
        if case in files:
            raise DataError(
                f"{files[case].name} and {path.name} in {path.parent} are both of case {case}.",
                "Keep one of them there.",
            )
        files[case] = path
    return files


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
    return next((name for name in (image_stem(path), channel_of(path)[0]) if name in references), None)


def known_structures(labels: Path, study: Path | None = None, site: str | None = None) -> Known:
    """What the dataset.json beside the references says, under the study's names where a site of it is given.

    Raises:
        UsageError: the study has no such site, or there is no dataset.json whose names it could map.
    """
    found = (labels, labels.parent, labels.parent.parent)
    folder = next((one for one in found if (one / "dataset.json").is_file()), None)
    if folder is None:
        if study is not None:
            raise UsageError(
                f"--study maps the names of a dataset.json, and there is none beside {labels}.",
                "Give the references inside their dataset's folder, or leave --study and --site away.",
            )
        return Known(LabelSet({}), LabelSet({}))
    from FedSegCore.data.case import read_dataset

    own = read_dataset(folder).labels
    return Known(own, own if study is None or site is None else _study_structures(own, study, site))


def _study_structures(own: LabelSet, path: Path, name: str) -> LabelSet:
    """A site's structures under its study's names."""
    from FedSegCore.sitedata import site_labels
    from FedSegCore.study import read_study

    study = read_study(path)
    sites = {site.name: site for site in study.sites}
    if name not in sites:
        raise UsageError(f'The study has no site "{name}".', nearest(name, sites))
    site = sites[name]
    labels = study.labels or tuple(dict.fromkeys(site_labels(site, own)))
    structures = renamed(own, annotate(labels, own, annotates=site.labels, label_map=site.label_map))
    if not structures.values:
        raise UsageError(
            f"Site {name} annotates none of the study's structures ({', '.join(labels)}); there is nothing to score.",
            "Give another site, or leave --study and --site away.",
        )
    return structures


def write_csv(path: Path, rows: list[dict[str, Any]]) -> None:
    """One row a case and structure; undefined numbers are empty."""
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
