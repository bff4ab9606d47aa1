"""The preflight: everything that is wrong with a dataset folder, found in one pass before hours are lost.

Every file is read once; the same pass yields the site's passport.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from FedSegCore.data.case import Case, read_dataset
from FedSegCore.data.checks_geometry import geometry_problems
from FedSegCore.data.checks_values import unused_labels, value_problems
from FedSegCore.data.duplicates import duplicate_problems
from FedSegCore.data.identifiers import identifier_problems, name_problems, stated_problems
from FedSegCore.data.labels import LabelSet
from FedSegCore.data.listing import JSON_NAME, Listing, read_listing
from FedSegCore.data.passport import Passport, pool_scans
from FedSegCore.data.problem import Problem, in_order
from FedSegCore.data.scan import CaseScan, scan_case
from FedSegCore.errors import DataError

__all__ = ["Examination", "Problem", "check_dataset", "examine_dataset"]

_READERS = 4


@dataclass(frozen=True)
class Examination:
    """What the preflight found.

    Args:
        problems: every flaw, errors first, then by file.
        passport: the site's pooled description; files that cannot be read are missing in it.
    """

    problems: tuple[Problem, ...]
    passport: Passport

    @property
    def has_errors(self) -> bool:
        """Whether a study should not start."""
        return any(problem.severity == "error" for problem in self.problems)


def check_dataset(
    folder: Path,
    *,
    labels: Sequence[str] | None = None,
    modalities: Sequence[str] | None = None,
    progress: Callable[[float], None] | None = None,
) -> list[Problem]:
    """Lists every problem of a dataset folder.

    Args:
        folder: the folder that holds dataset.json.
        labels: those of its structures that a study uses; None: all. Others may be absent from every case.
        modalities: those of its channels that a study uses; None: all. The files of others are not read.
        progress: is told the finished share, 0..1.

    Raises:
        DataError: the folder itself does not exist.
    """
    return list(examine_dataset(folder, labels=labels, modalities=modalities, progress=progress).problems)


def examine_dataset(
    folder: Path,
    *,
    labels: Sequence[str] | None = None,
    modalities: Sequence[str] | None = None,
    progress: Callable[[float], None] | None = None,
) -> Examination:
    """The problems and the passport of a dataset folder; arguments as for `check_dataset`."""
    folder = Path(folder)
    listing = read_listing(folder)
    chosen = [n for n, name in enumerate(listing.channels) if modalities is None or name in modalities]
    tasks = [(split, case) for split, cases in listing.cases.items() for case in cases]
    scans = list(
        _scans(tasks, chosen if listing.channels else None, labels=listing.labels, progress=progress)
    )
    names = labels if labels is not None else listing.labels.names if listing.labels is not None else ()
    problems = [*listing.problems, *_case_problems(scans, listing), *duplicate_problems(scans, folder)]
    problems += stated_problems(
        listing.licence,
        labels=listing.labels.names if listing.labels is not None else (),
        channels=listing.channels,
    )
    if listing.labels is not None:
        problems += unused_labels(
            scans, listing.labels, names=[n for n in names if n in listing.labels.values]
        )
    counts = {split: len(cases) for split, cases in listing.cases.items()}
    try:
        dataset = read_dataset(folder)
        counts |= {"training": len(dataset.training), "validation": len(dataset.validation)}
    except DataError as error:  # what training's own reader refuses, if nothing above has told
        if not any(one.file == JSON_NAME and one.severity == "error" for one in problems):
            problems.append(Problem(JSON_NAME, "error", error.message, error.fix or "Correct dataset.json."))
    return Examination(tuple(in_order(problems)), _passport(scans, listing, counts, modalities=modalities))


def _scans(
    tasks: Sequence[tuple[str, Case]],
    channels: Sequence[int] | None,
    *,
    labels: LabelSet | None,
    progress: Callable[[float], None] | None,
) -> Iterator[CaseScan]:
    """Reads the cases, a few at a time: unpacking and adding up run outside Python's lock."""

    def scanned(task: tuple[str, Case]) -> CaseScan:
        return scan_case(task[1], split=task[0], labels=labels, channels=channels)

    with ThreadPoolExecutor(min(_READERS, os.cpu_count() or 1)) as readers:
        for number, scan in enumerate(readers.map(scanned, tasks), start=1):
            yield scan
            if progress is not None:
                progress(number / len(tasks))


def _case_problems(scans: Sequence[CaseScan], listing: Listing) -> Iterator[Problem]:
    """The flaws of each case by itself."""
    folder = listing.folder
    for scan in scans:
        yield from value_problems(scan, folder, channels=listing.channels, labels=listing.labels)
        yield from geometry_problems(scan, folder)
        readable = [image.facts for image in scan.images if image is not None]
        for facts in (*readable, *([scan.label.facts] if scan.label is not None else [])):
            yield from identifier_problems(facts, folder)
        for path in (*scan.case.images, *([scan.case.label] if scan.case.label is not None else [])):
            yield from name_problems(path, folder)


def _passport(
    scans: Sequence[CaseScan],
    listing: Listing,
    counts: Mapping[str, int],
    *,
    modalities: Sequence[str] | None,
) -> Passport:
    described = [scan for scan in scans if scan.split != "test"] or scans
    return pool_scans(
        described,
        counts=counts,
        channels=listing.channels,
        labels=listing.labels,
        licence=listing.licence,
        modalities=modalities,
    )
