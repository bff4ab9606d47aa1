"""Images that two sites of a study share: a leak where one trains and the other tests with it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from FedSegCore.data.case import Case
from FedSegCore.errors import StudyError
from FedSegCore.sitedata import SiteFolder


def refuse_leaks(sites: Sequence[SiteFolder]) -> None:
    """See that no image that trains or validates anywhere is tested with; several sites may test with one.

    Raises:
        StudyError: names the two sites and the case.
    """
    learnt = {path: (data.site.name, use) for data, use, case in _learnt(sites) for path in _files(case)}
    for data in sites:
        for case in data.choice.test:
            for path in _files(case):
                if path in learnt:
                    site, use = learnt[path]
                    raise StudyError(
                        f'The test case "{case.name}" of site {data.site.name} is a {use} case of site {site}: '
                        f"both read {path}.",
                        "Keep the sites' cases apart with `cases` and `test_cases`.",
                    )


def trained_twice(sites: Sequence[SiteFolder]) -> list[tuple[str, str, str]]:
    """(case, site, other site) for every case whose image trains at two sites."""
    first: dict[Path, str] = {}
    found: dict[tuple[str, str, str], None] = {}
    for data, use, case in _learnt(sites):
        for path in _files(case) if use == "training" else ():
            before = first.setdefault(path, data.site.name)
            if before != data.site.name:
                found[case.name, before, data.site.name] = None
    return list(found)


def _learnt(sites: Sequence[SiteFolder]) -> Iterator[tuple[SiteFolder, str, Case]]:
    for data in sites:
        yield from ((data, "training", case) for case in data.choice.training)
        yield from ((data, "validation", case) for case in data.choice.validation)


def _files(case: Case) -> list[Path]:
    return [path.resolve() for path in case.images]
