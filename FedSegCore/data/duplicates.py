"""The same case or the same picture twice, above all in training and test, which makes scores too good."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from FedSegCore.data.fingerprint import Fingerprint
from FedSegCore.data.problem import Problem, shown
from FedSegCore.data.scan import CaseScan, ImageScan


def duplicate_problems(scans: Sequence[CaseScan], folder: Path) -> Iterator[Problem]:
    """Names that stand twice, and files with the same picture whatever their names, headers and storage."""
    yield from _same_name(scans, folder)
    yield from _same_picture(scans, folder)


def _same_name(scans: Iterable[CaseScan], folder: Path) -> Iterator[Problem]:
    first: dict[str, CaseScan] = {}
    for scan in scans:
        before = first.setdefault(scan.case.name, scan)
        if before is scan:
            continue
        where = (
            f"twice in {scan.split}"
            if before.split == scan.split
            else f"in {before.split} and in {scan.split}"
        )
        yield Problem(
            shown(scan.case.images[0], folder),
            "error",
            f'The case "{scan.case.name}" stands {where}.',
            "List each case once, in one list, and give each its own file name.",
        )


def _same_picture(scans: Iterable[CaseScan], folder: Path) -> Iterator[Problem]:
    kept: dict[tuple[int, ...], list[tuple[CaseScan, ImageScan, Fingerprint]]] = {}
    for scan in scans:
        for image in scan.images:
            if image is None or image.fingerprint is None:
                continue
            own = image.fingerprint
            earlier = kept.setdefault(own.sides, [])
            twin = next((one for one in earlier if own.shows_the_same(one[2])), None)
            if twin is None:
                earlier.append((scan, image, own))
            elif twin[0] is scan or twin[0].case.name != scan.case.name:
                yield _twin(scan, image, twin[0], twin[1], folder=folder)


def _twin(scan: CaseScan, image: ImageScan, before: CaseScan, other: ImageScan, *, folder: Path) -> Problem:
    """The words for two files that show the same picture."""
    name, twin = shown(image.facts.path, folder), shown(other.facts.path, folder)
    if before is scan:
        message = f'Two channels of the case "{scan.case.name}" are the same image: this one and {twin}.'
        return Problem(name, "warning", message, "Give each channel its own file.")
    if before.split == scan.split:
        message = (
            f"The image shows the same as {twin}, up to turned axes and rescaled intensities: one patient counts "
            f"twice in {scan.split}."
        )
        return Problem(name, "warning", message, "Leave one of the two cases out.")
    message = (
        f"The image stands in {scan.split} and, as {twin}, in {before.split}, up to turned axes and rescaled "
        "intensities: a leak."
    )
    return Problem(name, "error", message, f"Leave the case out of {before.split} or of {scan.split}.")
