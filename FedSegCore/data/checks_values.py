"""Flaws of what the voxels say: unreadable files, NaN, constant images, label values that mean nothing."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from FedSegCore.data.histogram import intensity_quantile
from FedSegCore.data.labels import LabelSet
from FedSegCore.data.problem import Problem, shown
from FedSegCore.data.scan import CaseScan, ImageScan, LabelScan

_MANY = 10


def value_problems(
    scan: CaseScan, folder: Path, *, channels: Sequence[str] = (), labels: LabelSet | None = None
) -> Iterator[Problem]:
    """The flaws of one case's files and voxels.

    Args:
        scan: the case.
        folder: the dataset's folder.
        channels: how each channel was acquired, where known.
        labels: the dataset's structures, where known.
    """
    for path, message, fix in scan.unreadable:
        yield Problem(shown(path, folder), "error", message, fix)
    for channel, image in enumerate(scan.images):
        if image is not None:
            modality = channels[channel] if channel < len(channels) else ""
            yield from _image_problems(image, shown(image.facts.path, folder), modality=modality)
    if scan.label is not None:
        yield from _label_problems(scan.label, shown(scan.label.facts.path, folder), labels=labels)


def unused_labels(scans: Iterable[CaseScan], labels: LabelSet, *, names: Sequence[str]) -> Iterator[Problem]:
    """Structures that no label map holds; silent where a label map could not be read."""
    seen: set[int] = set()
    for scan in scans:
        if scan.case.label is not None and (scan.label is None or not scan.label.numeric):
            return
        if scan.label is not None:
            seen |= scan.label.counts.keys()
    if not seen:
        return
    for name in names:
        if not seen & set(labels.values.get(name, ())):
            values = ", ".join(map(str, labels.values[name]))
            yield Problem(
                "dataset.json",
                "warning",
                f'No case contains the label "{name}" (value {values}).',
                "Leave the label out of dataset.json or of the site's `labels`, or correct its value.",
            )


def _image_problems(image: ImageScan, name: str, *, modality: str) -> Iterator[Problem]:
    if not image.numeric:
        message = f"The image holds {image.facts.stored} voxels (colour or complex), not plain numbers."
        yield Problem(name, "error", message, "Save it as a grey-value image.")
        return
    if image.nan or image.infinite:
        counts = [f"{n} {what}" for n, what in ((image.nan, "NaN"), (image.infinite, "infinite")) if n]
        message = f"The image holds {' and '.join(counts)} voxel(s)."
        yield Problem(
            name, "error", message, "Replace them (background by the image's minimum), or export again."
        )
    if not math.isnan(image.minimum) and image.minimum == image.maximum:
        message = f"The image is constant: every voxel is {image.minimum:g}."
        yield Problem(name, "error", message, "Export it again, or leave the case out.")
        return
    if image.is_label:
        message = "The image is the case's own label map: the same file, or the same voxels."
        yield Problem(
            name, "error", message, "Correct the case's `image` in dataset.json, or export it again."
        )
        return
    if image.wrapped:
        message = (
            "Many values lie near 65535 and none below: negative numbers stored as unsigned 16-bit ones."
        )
        yield Problem(name, "warning", message, "Convert it again with a signed number type.")
    if modality.upper() == "CT" and not image.wrapped and image.minimum >= 0 and image.maximum <= 255:
        message = (
            f"The CT image is not in Hounsfield units: it runs from {image.minimum:g} to {image.maximum:g}."
        )
        yield Problem(
            name, "warning", message, "Convert it again without rescaling, or name its channel differently."
        )
    if image.histogram and abs(intensity_quantile(image.histogram, 0.5)) > 1e6:
        message = f"Half of the voxels are beyond a million ({image.minimum:g} to {image.maximum:g})."
        yield Problem(name, "warning", message, "Check the number type and the header's slope and intercept.")


def _label_problems(label: LabelScan, name: str, *, labels: LabelSet | None) -> Iterator[Problem]:
    if not label.numeric:
        message = f"The label map holds {label.facts.stored} voxels (colour or complex), not whole numbers."
        yield Problem(name, "error", message, "Save it as a map of whole numbers.")
        return
    if label.invalid:
        message = f"The label map holds {label.invalid} NaN or infinite voxel(s)."
        yield Problem(name, "error", message, "Give them a label or the background.")
    if label.fractions:
        values = ", ".join(f"{value:.4g}" for value in label.fractions)
        message = f"The label map holds values that are not whole numbers, such as {values}."
        yield Problem(
            name, "error", message, "Resample label maps by nearest neighbour, and do not scale them."
        )
    if labels is not None:
        yield from _unknown_values(label, name, labels)
    if not label.fractions and not label.invalid and not set(label.counts) - {0}:
        message = "The label map is empty: it holds background only."
        yield Problem(
            name, "warning", message, "Annotate the case, or leave it out if the structure is not there."
        )


def _unknown_values(label: LabelScan, name: str, labels: LabelSet) -> Iterator[Problem]:
    known = {0, *(value for values in labels.values.values() for value in values)}
    unknown = sorted(set(label.counts) - known)
    if not unknown:
        return
    listed = ", ".join(f"{value} ({label.counts[value]} voxels)" for value in unknown[:_MANY])
    more = f" and {len(unknown) - _MANY} more" if len(unknown) > _MANY else ""
    yield Problem(
        name,
        "error",
        f"The label map holds values that dataset.json does not name: {listed}{more}.",
        "Name them in dataset.json's `labels`, or correct the label map.",
    )
