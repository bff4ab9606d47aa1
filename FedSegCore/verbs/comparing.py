"""A segmentation beside its reference: which of their structures are the same, and how far they are apart."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from FedSegCore.data.io import read_header
from FedSegCore.data.labels import LabelSet
from FedSegCore.data.legend import Legend, read_legend
from FedSegCore.data.named import Drawn, read_named
from FedSegCore.data.segments import read_label_map, read_segments
from FedSegCore.data.volume import Volume, same_grid, spacing_of
from FedSegCore.errors import DataError

if TYPE_CHECKING:
    from jaxtyping import Bool

COLUMNS = ("case", "label", "dice", "hd95_mm", "nsd_1mm")


@dataclass(frozen=True)
class Known:
    """What is known of the references beside their files.

    Args:
        labels: the structures of their dataset.json; empty where there is none.
        structures: those that are scored: the same, or a study's, some of which are several of them.
    """

    labels: LabelSet
    structures: LabelSet


@dataclass(frozen=True, eq=False)
class Pair:
    """A segmentation and its reference, structure by structure on one grid.

    Args:
        found, truth: a mask of each of the names.
        alone: names that only the segmentation, and names that only the reference has; they are not scored.
    """

    names: tuple[str, ...]
    found: Bool[np.ndarray, "l x y z"]
    truth: Bool[np.ndarray, "l x y z"]
    affine: np.ndarray
    alone: tuple[tuple[str, ...], tuple[str, ...]] = ((), ())


@dataclass(frozen=True)
class Comparison:
    """One case's scores.

    Args:
        rows: of the columns, one a structure.
        alone: as of the pair.
        axis: the axis that was taken as a list of slices; None where surfaces were measured in 3-D.
    """

    rows: list[dict[str, Any]]
    alone: tuple[tuple[str, ...], tuple[str, ...]]
    axis: int | None


def compare(
    case: str, prediction: Path, reference: Path, known: Known, *, slices: str | None = None
) -> Comparison:
    """Score one case: every structure that has a name, and every other value that is painted.

    Args:
        slices: "1", "2" or "3", the axis that is a list of slices, or "none"; None: as the segmentation says.

    Raises:
        DataError: a file that cannot be read, different grids, or no structure that both name.
    """
    from FedSegCore.learning.metrics import score_case

    legend = read_legend(prediction)
    pair = read_pair(case, prediction, reference, known, legend=legend)
    if slices is not None:
        axis = None if slices == "none" else int(slices) - 1
    else:
        axis = legend.slice_axis(pair.affine) if legend is not None else None
    spacing_mm = spacing_of(pair.affine)
    scores = score_case(pair.found, pair.truth, labels=pair.names, spacing_mm=spacing_mm, slices=axis)
    rows = [{"case": case, **{column: getattr(score, column) for column in COLUMNS[1:]}} for score in scores]
    return Comparison(rows, pair.alone, axis)


def read_pair(case: str, prediction: Path, reference: Path, known: Known, *, legend: Legend | None) -> Pair:
    """Both files' structures: by name where FedSeg wrote the names or both files bring their own, else by value.

    A segmentation of another program is read with the values of the references' dataset.json.
    """
    described = bool(known.labels.values)
    grid = _common_grid(prediction, reference)
    named = read_named(prediction, like=grid) if legend is not None or not described else None
    if named is not None:
        truth = _described(reference, known, grid) if described else read_named(reference, like=grid)
        if truth is not None:
            return _by_name(case, named, truth, ours=legend is not None)
    return _by_value(case, prediction, reference, known, grid=grid)


def _described(reference: Path, known: Known, grid: Volume) -> Drawn:
    """The reference's structures by its dataset.json."""
    volume = read_label_map(reference, known.labels, like=grid)
    structures = known.structures.values.items()
    return Drawn({name: np.isin(volume.array, values) for name, values in structures}, volume.affine)


def _by_name(case: str, found: Drawn, truth: Drawn, *, ours: bool) -> Pair:
    """The structures of one name; one that only one file has is empty in the other, if that is no file of ours.

    A model's structures stand in its segmentations' legend even where it found nothing, so that what is missing
    there it never learnt.
    """
    first = next(iter(truth.masks.values()))
    _check_grid(case, next(iter(found.masks.values())).shape, found.affine, first.shape, truth.affine)
    shared = tuple(name for name in truth.masks if name in found.masks)
    extra = tuple(name for name in found.masks if name not in truth.masks)
    lacking = tuple(name for name in truth.masks if name not in found.masks)
    if ours and not shared:
        raise DataError(
            f"{case}: the segmentation's structures are {', '.join(extra)}, the reference's {', '.join(lacking)}.",
            "If a study maps the references' names to its own, give --study STUDY.toml --site NAME; else rename "
            "them in the references' dataset.json.",
        )
    names = shared if ours else (*shared, *lacking, *extra)
    empty = np.zeros(first.shape, dtype=bool)
    masks = [np.array([drawn.masks.get(name, empty) for name in names]) for drawn in (found, truth)]
    return Pair(names, masks[0], masks[1], truth.affine, (extra, lacking) if ours else ((), ()))


def _by_value(case: str, prediction: Path, reference: Path, known: Known, *, grid: Volume) -> Pair:
    """Every structure by the values that the references' dataset.json, or else the one named file, gives it."""
    own = LabelSet({**_carried(prediction), **_carried(reference)})
    names = known.structures if known.labels.values else own
    labels = known.labels if known.labels.values else own
    truth = read_label_map(reference, labels, like=grid)
    found = read_label_map(prediction, names, like=grid)
    _check_grid(case, found.shape, found.affine, truth.shape, truth.affine)
    painted = {int(value) for volume in (truth, found) for value in np.unique(volume.array)} - {0}
    told = {*names.values.values(), *labels.values.values()}
    unnamed = sorted(painted - {value for values in told for value in values})
    structures = {**names.values, **{str(value): (value,) for value in unnamed}}
    masks = [
        np.array([np.isin(volume.array, values) for values in structures.values()]).reshape(-1, *truth.shape)
        for volume in (found, truth)
    ]
    return Pair(tuple(structures), masks[0], masks[1], truth.affine)


def _carried(path: Path) -> Mapping[str, tuple[int, ...]]:
    """The values that a file itself names.

    Raises:
        DataError: they are those of several layers, each of which counts from 1: outside the file they mean nothing.
    """
    if (legend := read_legend(path)) is not None:
        return legend.structures
    segments = read_segments(path)
    if len(set(segments.values())) < len(segments):
        raise DataError(
            f"{path} names its structures ({', '.join(segments)}), and the file that it is compared with does not.",
            "Put the dataset.json that names the other file's values beside the references.",
        )
    return {name: (value,) for name, value in segments.items()}


def _common_grid(first: Path, second: Path) -> Volume:
    """An empty image that holds the grids of two files where both are crops of one image's; else the first's.

    3D Slicer crops each .seg.nrrd to its own segments, and what lies outside the other's is to be counted too.
    """
    one, other = read_header(first), read_header(second)
    sizes = [np.array((*header.shape, 1, 1)[:3]) for header in (one, other)]
    steps = np.linalg.inv(one.affine) @ other.affine
    offset = np.rint(steps[:3, 3]).astype(int)
    start, end = np.zeros(3, dtype=int), sizes[0]
    if np.allclose(steps[:3, :3], np.eye(3), atol=1e-3) and np.allclose(steps[:3, 3], offset, atol=0.1):
        start, end = np.minimum(start, offset), np.maximum(end, offset + sizes[1])
    affine = one.affine.copy()
    affine[:3, 3] += affine[:3, :3] @ start
    return Volume(np.broadcast_to(np.uint8(0), tuple((end - start).tolist())), affine)


def _check_grid(
    case: str, shape: tuple[int, ...], affine: np.ndarray, other: tuple[int, ...], other_affine: np.ndarray
) -> None:
    if not same_grid(shape, affine, other_shape=other, other_affine=other_affine):
        raise DataError(
            f"{case}: segmentation {shape} and reference {other} lie on different grids.",
            "Resample one onto the other's grid first.",
        )
