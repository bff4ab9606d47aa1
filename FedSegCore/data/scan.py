"""What one pass over a case's files tells: each file is read once, its voxels are dropped again.

The preflight judges these facts; the passport adds them up over a site's cases.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from FedSegCore.data.case import Case
from FedSegCore.data.fingerprint import Fingerprint, fingerprint_of
from FedSegCore.data.histogram import intensity_counts, whole_counts
from FedSegCore.data.labels import LabelSet
from FedSegCore.data.rawimage import FileFacts, RawImage, UnreadableError, read_raw, unreadable
from FedSegCore.data.segments import named_values, segments_of, uncropped
from FedSegCore.data.volume import Volume
from FedSegCore.errors import DataError

_MANY_FRACTIONS = 5
_WRAPPED_FROM, _WRAPPED_GAP = 60000, 32768


@dataclass(frozen=True, eq=False)
class ImageScan:
    """One image file, one channel of a case.

    Args:
        facts: its header.
        fingerprint: of the picture, whatever its name, header and storage; None for one that
            has none: constant, not 3-D, or with axes that the header does not tell apart.
        nan, infinite: voxels that are not a number, and that are too large for float32.
        minimum, maximum: of the finite voxels; nan where there are none.
        histogram: of the finite voxels, on the grid of `histogram.intensity_counts`.
        labelled: the same of the voxels where the label map is not 0; empty without a fitting label map.
        wrapped: an unsigned image whose highest values look like negative numbers stored without their sign.
        is_label: the file is the case's label map, or holds the same voxels.
        numeric: False for colour and complex voxels; nothing else is then known of them.
    """

    facts: FileFacts
    fingerprint: Fingerprint | None = None
    nan: int = 0
    infinite: int = 0
    minimum: float = float("nan")
    maximum: float = float("nan")
    histogram: Mapping[int, int] | None = None
    labelled: Mapping[int, int] | None = None
    wrapped: bool = False
    is_label: bool = False
    numeric: bool = True


@dataclass(frozen=True, eq=False)
class LabelScan:
    """One label map; a .seg.nrrd as training reads it, in dataset.json's values and on its image's grid.

    Args:
        facts: its header.
        counts: voxels of each whole number in it.
        fractions: some of the values that are not whole.
        invalid: voxels that are NaN or infinite.
        numeric: False for colour and complex voxels.
    """

    facts: FileFacts
    counts: Mapping[int, int]
    fractions: tuple[float, ...] = ()
    invalid: int = 0
    numeric: bool = True


@dataclass(frozen=True, eq=False)
class CaseScan:
    """One case: a scan for each of its files, None where the file cannot be read.

    Args:
        case: the case.
        split: training, validation or test.
        images: one a channel.
        label: None also where the case has no label.
        unreadable: files that cannot be read: path, message, fix.
    """

    case: Case
    split: str
    images: tuple[ImageScan | None, ...]
    label: LabelScan | None
    unreadable: tuple[tuple[Path, str, str], ...]


def scan_case(
    case: Case, *, split: str, labels: LabelSet | None, channels: Sequence[int] | None = None
) -> CaseScan:
    """Reads every file of a case once.

    Args:
        case: the case; its files need not exist.
        split: the list that it stands in.
        labels: the dataset's structures; where unknown, the segments of a .seg.nrrd mean nothing and are not
            judged.
        channels: the channels to read; None reads all, others stay None in the result.
    """
    faults: list[tuple[Path, str, str]] = []

    def tried(read: Callable[[Path], RawImage | None], path: Path) -> RawImage | None:
        try:
            return read(path)
        except UnreadableError as error:
            faults.append((path, error.message, error.fix))
            return None

    label = tried(lambda path: _read_label(path, labels), case.label) if case.label is not None else None
    images: list[ImageScan | None] = []
    for channel, path in enumerate(case.images):
        raw = tried(read_raw, path) if channels is None or channel in channels else None
        if raw is not None and label is not None and not any(images):
            label = _on_grid_of(raw.facts, label)
        images.append(scan_image(raw, label=label) if raw is not None else None)
    judged = scan_label(label) if label is not None else None
    return CaseScan(case, split, tuple(images), judged, tuple(faults))


def _read_label(path: Path, labels: LabelSet | None) -> RawImage | None:
    """A label map in the label set's values; None for segments that no label set explains.

    Raises:
        UnreadableError: it cannot be read, or its segments do not fit the label set.
    """
    raw = read_raw(path)
    try:
        segments = segments_of(raw.facts.texts, path)
        if not segments:
            return raw
        if labels is None:
            return None
        array = named_values(raw.array, segments, labels=labels, path=path)
    except DataError as error:
        raise unreadable(error, path, what="The label map") from None
    return RawImage(replace(raw.facts, shape=array.shape), array)


def _on_grid_of(image: FileFacts, label: RawImage) -> RawImage:
    """A label map that 3D Slicer cropped, back on its image's grid; any other as it is."""
    plain = len(image.shape) == 3 and image.usable
    if not plain or not segments_of(label.facts.texts, label.facts.path):
        return label
    whole = uncropped(Volume(label.array, label.facts.affine), shape=image.shape, affine=image.affine)
    return RawImage(replace(label.facts, shape=whole.shape, affine=whole.affine), whole.array)


def scan_image(raw: RawImage, *, label: RawImage | None = None) -> ImageScan:
    """The facts of one image; `label` tells which voxels are labelled."""
    array = raw.array
    if array.dtype.kind not in "biuf":
        return ImageScan(raw.facts, numeric=False)
    if array.dtype.kind == "b":
        array = array.astype(np.uint8)
    with np.errstate(over="ignore", invalid="ignore"):
        single = array.astype(np.float32, copy=False)
    finite = np.isfinite(single)
    whole = bool(finite.all())
    nan = 0 if whole else int(np.isnan(single).sum())
    values = array if whole else array[finite]
    minimum, maximum = (values.min(), values.max()) if values.size else (np.nan, np.nan)
    filled = array if whole else np.where(finite, array, minimum)
    varied = raw.facts.usable and minimum < maximum
    return ImageScan(
        facts=raw.facts,
        fingerprint=fingerprint_of(filled, raw.facts.affine) if varied else None,
        nan=nan,
        infinite=0 if whole else int(finite.size - finite.sum()) - nan,
        minimum=float(minimum),
        maximum=float(maximum),
        histogram=intensity_counts(values),
        labelled=intensity_counts(_labelled(array, finite, label)),
        wrapped=_wrapped(raw),
        is_label=label is not None and _same_voxels(raw, label),
    )


def _same_voxels(raw: RawImage, label: RawImage) -> bool:
    same_file = raw.facts.path.resolve() == label.facts.path.resolve()
    return same_file or (label.array.dtype.kind in "biuf" and np.array_equal(raw.array, label.array))


def scan_label(raw: RawImage) -> LabelScan:
    """The facts of one label map."""
    array = raw.array
    if array.dtype.kind not in "biuf":
        return LabelScan(raw.facts, {}, numeric=False)
    if array.dtype.kind != "f":
        return LabelScan(
            raw.facts, whole_counts(array.astype(np.uint8) if array.dtype.kind == "b" else array)
        )
    finite = np.isfinite(array)
    values = array[finite]
    whole = values == np.round(values)
    fractions = tuple(float(value) for value in np.unique(values[~whole])[:_MANY_FRACTIONS])
    return LabelScan(raw.facts, whole_counts(values[whole]), fractions, int(finite.size - finite.sum()))


def _labelled(array: np.ndarray, finite: np.ndarray, label: RawImage | None) -> np.ndarray:
    """The image's finite voxels where a label map of the same shape is not 0."""
    if label is None or label.array.shape != array.shape or label.array.dtype.kind not in "biuf":
        return array.ravel()[:0]
    values: np.ndarray = array[finite & (label.array != 0)]
    return values


def _wrapped(raw: RawImage) -> bool:
    """Values near 65535 and none between: -1024 HU stored as an unsigned 16-bit number gives 64512."""
    if raw.facts.stored != np.uint16 or raw.array.dtype.kind != "u" or raw.array.size == 0:
        return False
    high = int(np.count_nonzero(raw.array >= _WRAPPED_FROM))
    middle = int(np.count_nonzero((raw.array >= _WRAPPED_GAP) & (raw.array < _WRAPPED_FROM)))
    return high > 0.001 * raw.array.size and middle == 0
