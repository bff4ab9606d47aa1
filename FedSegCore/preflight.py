"""Every problem of a dataset folder, as a study sees it, before anything is computed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from FedSegCore.data.case import read_dataset
from FedSegCore.data.check import examine_dataset
from FedSegCore.data.problem import Problem
from FedSegCore.data.siteview import check_site_view
from FedSegCore.errors import InputError
from FedSegCore.study import Study, StudySite


def inspect(
    folder: Path,
    study: Study | None = None,
    site: StudySite | None = None,
    *,
    progress: Callable[[float], None] | None = None,
) -> tuple[list[Problem], list[str]]:
    """The folder's problems and its passport in lines.

    Args:
        study, site: whose site the dataset is for; none: the dataset is looked at by itself.
        progress: is told the finished share of the reading, 0..1.
    """
    if study is None or site is None:
        examination = examine_dataset(folder, progress=progress)
        return list(examination.problems), examination.passport.lines()
    examination = examine_dataset(folder, modalities=site.modalities, progress=progress)
    try:
        dataset = read_dataset(folder)
    except InputError:
        return list(examination.problems), examination.passport.lines()  # its problems are listed already
    view = check_site_view(
        dataset,
        study_labels=study.labels or site.labels or (*site.label_map, *dataset.labels.names),
        labels=site.labels,
        label_map=site.label_map,
        modalities=site.modalities,
        cases=site.cases,
        test_cases=site.test_cases,
        limit=site.limit,
        trains=site.role != "outside",
    )
    return [*examination.problems, *view], examination.passport.lines()
