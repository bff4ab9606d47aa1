"""A site's passport: what may be told about its data without telling about a case.

It is pooled: counts and histograms over all cases that training may look at, on grids that every site
shares (`histogram`). It holds no case name, no path, no date, and no value of a single case as such. With
one case, though, a pooled count IS that case's count, and with two to four a histogram of spacings or
extents still tells roughly what is there, each axis for itself: a site with so few cases should know before
it sends it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, final

from FedSegCore.data.case import Dataset
from FedSegCore.data.histogram import (
    EXTENT_STEP,
    SPACING_STEP,
    intensity_quantile,
    length_quantile,
    packed,
    round_length,
    unpacked,
)
from FedSegCore.data.labels import Annotation, LabelSet
from FedSegCore.data.pooling import (
    AXES,
    Histogram,
    Intensities,
    label_totals,
    label_values,
    per_axis,
    pooled_intensities,
    ras_grids,
)
from FedSegCore.data.scan import CaseScan, scan_case
from FedSegCore.errors import DataError

FEW_CASES = 5
_QUANTILES = (0.005, 0.25, 0.5, 0.75, 0.995)
_LONGEST_LICENCE = 200


@final
@dataclass(frozen=True)
class Passport:
    """Pooled description of one site's data; axes are right, anterior, superior.

    Args:
        cases: split -> number of cases.
        channels: the modalities, in order.
        licence: of the data, as stated.
        label_voxels, label_cases: label -> voxels in all cases together, and number of cases that contain it.
        spacing_mm, extent_mm, sides: histograms of voxel size, field of view and number of voxels, one an
            axis, each counting cases by bin.
        intensity: modality -> distribution of its voxels.
    """

    cases: Mapping[str, int]
    channels: tuple[str, ...]
    licence: str
    label_voxels: Mapping[str, int]
    label_cases: Mapping[str, int]
    spacing_mm: tuple[Histogram, ...]
    extent_mm: tuple[Histogram, ...]
    sides: tuple[Histogram, ...]
    intensity: Mapping[str, Intensities]

    def to_dict(self) -> dict[str, Any]:
        """JSON-able, below 20 kB; `Passport.from_dict` gives back an equal passport."""
        return {
            "cases": dict(self.cases),
            "channels": list(self.channels),
            "licence": self.licence,
            "label_voxels": dict(self.label_voxels),
            "label_cases": dict(self.label_cases),
            **{
                key: [packed(axis) for axis in getattr(self, key)]
                for key in ("spacing_mm", "extent_mm", "sides")
            },
            "intensity": {
                modality: {
                    "voxels": one.voxels,
                    "every": packed(one.every),
                    "labelled": packed(one.labelled),
                }
                for modality, one in self.intensity.items()
            },
        }

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> Passport:
        """Reads what `to_dict` wrote.

        Raises:
            DataError: a key is missing or of the wrong kind.
        """
        try:
            axes = {
                key: tuple(unpacked(axis) for axis in raw[key])
                for key in ("spacing_mm", "extent_mm", "sides")
            }
            intensity = {
                str(modality): Intensities(
                    int(one["voxels"]), unpacked(one["every"]), unpacked(one["labelled"])
                )
                for modality, one in raw["intensity"].items()
            }
            if set(raw) != {one.name for one in fields(cls)} or any(
                len(axis) != len(AXES) for axis in axes.values()
            ):
                raise ValueError("keys")
            return cls(
                cases=_counts(raw["cases"]),
                channels=tuple(str(name) for name in raw["channels"]),
                licence=str(raw["licence"]),
                label_voxels=_counts(raw["label_voxels"]),
                label_cases=_counts(raw["label_cases"]),
                intensity=intensity,
                **axes,
            )
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise DataError(
                "This is not a passport of this version of FedSeg: a key is missing or of the wrong kind.",
                "Let the site make its passport again with the same version.",
            ) from error

    def lines(self) -> list[str]:
        """The passport for people, a line a fact."""
        total = sum(next(iter(self.sides), {}).values())
        splits = ", ".join(f"{number} {split}" for split, number in self.cases.items())
        lines = [
            f"cases: {splits}",
            f"channels: {', '.join(self.channels)}",
            f"licence: {self.licence or 'not stated'}",
        ]
        if total:
            lines += [self._axis_line(axis, name) for axis, name in enumerate(AXES)]
        for modality, one in self.intensity.items():
            values = (
                ", ".join(f"{intensity_quantile(one.every, q):.4g}" for q in _QUANTILES)
                if one.every
                else "none"
            )
            shares = ", ".join(f"{100 * q:g}" for q in _QUANTILES)
            lines.append(f"intensity {modality}: {values} ({shares} % quantiles of {one.voxels} voxels)")
        for label, voxels in self.label_voxels.items():
            lines.append(f"label {label}: {voxels} voxels, in {self.label_cases[label]} of {total} cases")
        if 0 < total < FEW_CASES:
            lines.append(
                f"note: pooled over {total} case(s) only; the numbers above tell much about each of them"
            )
        return lines

    def _axis_line(self, axis: int, name: str) -> str:
        spacing = [round_length(self.spacing_mm[axis], q, step=SPACING_STEP) for q in (0.0, 0.5, 1.0)]
        extent = [length_quantile(self.extent_mm[axis], q, step=EXTENT_STEP) for q in (0.0, 0.5, 1.0)]
        return (
            f"axis {name}: spacing {spacing[1]:g} mm ({spacing[0]:g} to {spacing[2]:g}), "
            f"extent {extent[1]:.0f} mm ({extent[0]:.0f} to {extent[2]:.0f})"
        )


def make_passport(
    dataset: Dataset,
    *,
    annotation: Annotation | None = None,
    modalities: Sequence[str] | None = None,
    progress: Callable[[float], None] | None = None,
) -> Passport:
    """Reads every training and validation case once and adds up.

    Test images are counted, not looked at; only a site that has nothing else is described by its test cases.

    Args:
        dataset: the site's cases (already restricted to what the study uses).
        annotation: the study's view of its labels; None: the dataset's own.
        modalities: the channels that the site owns in the study; None: all.
        progress: is told the finished share, 0..1.

    Raises:
        DataError: a file cannot be read (`fedseg check` lists all of them).
    """
    members = {"training": dataset.training, "validation": dataset.validation, "test": dataset.test}
    described = [(split, case) for split in ("training", "validation") for case in members[split]]
    described = described or [("test", case) for case in members["test"]]
    chosen = [n for n, name in enumerate(dataset.channel_names) if modalities is None or name in modalities]
    scans = []
    for number, (split, case) in enumerate(described, start=1):
        scan = scan_case(case, split=split, labels=dataset.labels, channels=chosen)
        if scan.unreadable:
            path, message, fix = scan.unreadable[0]
            raise DataError(f"{path}: {message}", fix)
        scans.append(scan)
        if progress is not None:
            progress(number / len(described))
    return pool_scans(
        scans,
        counts={split: len(cases) for split, cases in members.items()},
        channels=dataset.channel_names,
        labels=dataset.labels,
        licence=dataset.licence,
        annotation=annotation,
        modalities=modalities,
    )


def pool_scans(
    scans: Iterable[CaseScan],
    *,
    counts: Mapping[str, int],
    channels: Sequence[str],
    labels: LabelSet | None,
    licence: str = "",
    annotation: Annotation | None = None,
    modalities: Sequence[str] | None = None,
) -> Passport:
    """The passport of cases that were read already; files that could not be read are left out.

    Args:
        scans: the cases that describe the site.
        counts: split -> number of cases.
        channels, labels, licence: of the dataset.
        annotation, modalities: as for `make_passport`.
    """
    scans = list(scans)
    kept = tuple(name for name in channels if modalities is None or name in modalities)
    spacings, sides = ras_grids(scans)
    extents = [
        tuple(mm * n for mm, n in zip(*pair, strict=True)) for pair in zip(spacings, sides, strict=True)
    ]
    label_voxels, label_cases = label_totals(scans, label_values(labels, annotation))
    return Passport(
        cases=dict(counts),
        channels=kept,
        licence=licence[:_LONGEST_LICENCE],
        label_voxels=label_voxels,
        label_cases=label_cases,
        spacing_mm=per_axis(spacings, step=SPACING_STEP),
        extent_mm=per_axis(extents, step=EXTENT_STEP),
        sides=per_axis(sides, step=EXTENT_STEP),
        intensity={name: pooled_intensities(scans, list(channels).index(name)) for name in kept},
    )


def _counts(raw: Mapping[str, Any]) -> dict[str, int]:
    return {str(name): int(count) for name, count in raw.items()}
