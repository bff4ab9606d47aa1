"""What one pass over a case's files tells: each file is read once, its voxels are dropped again.

The preflight judges these facts; the passport adds them up over a site's cases.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from FedSegCore.data.case import Case
from FedSegCore.data.histogram import intensity_counts, whole_counts
from FedSegCore.data.rawimage import FileFacts, RawImage, UnreadableError, read_raw

_MANY_FRACTIONS = 5
_WRAPPED_FROM, _WRAPPED_GAP = 60000, 32768


@dataclass(frozen=True, eq=False)
class ImageScan:
    """One image file, one channel of a case.

    Args:
        facts: its header.
        digest: blake2b of shape and voxels as float32, whatever the name and the header.
        nan, infinite: voxels that are not a number, and that are too large for float32.
        minimum, maximum: of the finite voxels; nan where there are none.
        histogram: of the finite voxels, on the grid of `histogram.intensity_counts`.
        labelled: the same of the voxels where the label map is not 0; empty without a fitting label map.
        wrapped: an unsigned image whose highest values look like negative numbers stored without their sign.
        numeric: False for colour and complex voxels; nothing else is then known of them.
    """

    facts: FileFacts
    digest: str
    nan: int = 0
    infinite: int = 0
    minimum: float = float("nan")
    maximum: float = float("nan")
    histogram: Mapping[int, int] | None = None
    labelled: Mapping[int, int] | None = None
    wrapped: bool = False
    numeric: bool = True


@dataclass(frozen=True, eq=False)
class LabelScan:
    """One label map.

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


def scan_case(case: Case, *, split: str, channels: Sequence[int] | None = None) -> CaseScan:
    """Reads every file of a case once.

    Args:
        case: the case; its files need not exist.
        split: the list that it stands in.
        channels: the channels to read; None reads all, others stay None in the result.
    """
    unreadable: list[tuple[Path, str, str]] = []

    def read(path: Path) -> RawImage | None:
        try:
            return read_raw(path)
        except UnreadableError as error:
            unreadable.append((path, error.message, error.fix))
            return None

    label = read(case.label) if case.label is not None else None
    images: list[ImageScan | None] = []
    for channel, path in enumerate(case.images):
        wanted = channels is None or channel in channels
        raw = read(path) if wanted else None
        images.append(scan_image(raw, label=label) if raw is not None else None)
    labels = scan_label(label) if label is not None else None
    return CaseScan(case, split, tuple(images), labels, tuple(unreadable))


def scan_image(raw: RawImage, *, label: RawImage | None = None) -> ImageScan:
    """The facts of one image; `label` tells which voxels are labelled."""
    array = raw.array
    if array.dtype.kind not in "biuf":
        return ImageScan(raw.facts, _digest(array, array.tobytes()), numeric=False)
    if array.dtype.kind == "b":
        array = array.astype(np.uint8)
    with np.errstate(over="ignore", invalid="ignore"):
        single = np.ascontiguousarray(array, dtype=np.float32)
    finite = np.isfinite(single)
    whole = bool(finite.all())
    nan = 0 if whole else int(np.isnan(single).sum())
    values = array if whole else array[finite]
    masked = _labelled(array, finite, label)
    return ImageScan(
        facts=raw.facts,
        digest=_digest(array, single.data),
        nan=nan,
        infinite=0 if whole else int(finite.size - finite.sum()) - nan,
        minimum=float(values.min()) if values.size else float("nan"),
        maximum=float(values.max()) if values.size else float("nan"),
        histogram=intensity_counts(values),
        labelled=intensity_counts(masked),
        wrapped=_wrapped(raw),
    )


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


def _digest(array: np.ndarray, content: bytes | memoryview) -> str:
    digest = hashlib.blake2b(repr(array.shape).encode(), digest_size=16)
    digest.update(content)
    return digest.hexdigest()


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
