"""Scores with seeds averaged within each case: the one thing that every table, test and plot starts from."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np

from FedSegCore.errors import UsageError, nearest
from FedSegCore.report.scores import METRICS, Score, final_scores

CaseKey = tuple[str, str]
"""A site's name and a case's name."""
CellKey = tuple[str, str, str]
"""A site's name, a case's name and a label."""


@final
@dataclass(frozen=True, order=True)
class Arm:
    """One line of a comparison: what a method made of a study, e.g. "fedgin/global".

    A site's own models are one arm at their owners; where another site's cases are scored with them, each owner's
    is an arm of its own, e.g. "local (north)".
    """

    study: str
    method: str
    model: str
    owner: str = ""

    @property
    def name(self) -> str:
        """The method and the kind of model; the method alone where both words are the same."""
        name = self.method if self.method == self.model else f"{self.method}/{self.model}"
        return f"{name} ({self.owner})" if self.owner else name

    @property
    def full_name(self) -> str:
        """The name with the study's in front."""
        return f"{self.study}/{self.name}"


@final
@dataclass(frozen=True)
class CaseMeans:
    """Scores with seeds averaged within each case: what every statistic starts from.

    Args:
        arms: in order of first appearance; so are `sites` and `labels`.
        sites: every site with scored cases.
        labels: every scored label.
        seeds: the seeds of each arm.
        cells: metric -> arm -> (site, case, label) -> score; undefined scores are absent.
    """

    arms: tuple[Arm, ...]
    sites: tuple[str, ...]
    labels: tuple[str, ...]
    seeds: Mapping[Arm, tuple[int, ...]]
    cells: Mapping[str, Mapping[Arm, Mapping[CellKey, float]]]

    def by_case(self, metric: str, arm: Arm, *, site: str = "", label: str = "") -> dict[CaseKey, float]:
        """Each case's score, averaged over its labels, at one site or all, for one label or all."""
        return _over_labels(_select(self.cells[metric].get(arm, {}), site=site, label=label))

    def differences(
        self, metric: str, arm: Arm, baseline: Arm, *, site: str = "", label: str = ""
    ) -> dict[CaseKey, float]:
        """Each case's score under `arm` less that under `baseline`, where both are defined for a label."""
        ours = _select(self.cells[metric].get(arm, {}), site=site, label=label)
        theirs = self.cells[metric].get(baseline, {})
        return _over_labels({key: value - theirs[key] for key, value in ours.items() if key in theirs})


def case_means(scores: Iterable[Score]) -> CaseMeans:
    """Average seeds within each case and label; of each run the final round counts."""
    kept = final_scores(list(scores))
    seeds: dict[Arm, set[int]] = defaultdict(set)
    gathered: dict[str, dict[Arm, dict[CellKey, list[float]]]] = {
        metric: defaultdict(lambda: defaultdict(list)) for metric in METRICS
    }
    for row in kept:
        arm = arm_of(row)
        seeds[arm].add(row.seed)
        for metric in METRICS:
            value = float(getattr(row, metric))
            if math.isfinite(value):
                gathered[metric][arm][row.site, row.case, row.label].append(value)
    cells = {
        metric: {
            arm: {key: float(np.mean(values)) for key, values in by_key.items()}
            for arm, by_key in by_arm.items()
        }
        for metric, by_arm in gathered.items()
    }
    return CaseMeans(
        arms=tuple(seeds),
        sites=tuple(dict.fromkeys(row.site for row in kept)),
        labels=tuple(dict.fromkeys(row.label for row in kept)),
        seeds={arm: tuple(sorted(found)) for arm, found in seeds.items()},
        cells=cells,
    )


def find_arm(arms: Sequence[Arm], name: str) -> Arm:
    """The arm called "method", "method/model" or "study/method/model".

    A method alone means its global model where it has one, else the first of its models.

    Raises:
        UsageError: no arm, or arms of several studies, answer to the name.
    """
    exact = [arm for arm in arms if name in (arm.full_name, arm.name)]
    by_method = [arm for arm in arms if name in (arm.method, f"{arm.study}/{arm.method}")]
    found = exact or [arm for arm in by_method if arm.model == "global"] or by_method
    studies = dict.fromkeys(arm.study for arm in found)
    if not found:
        raise UsageError(f'No scores of "{name}".', nearest(name, [arm.name for arm in arms]))
    if len(studies) > 1:
        choices = ", ".join(f'"{arm.full_name}"' for arm in found)
        raise UsageError(f'"{name}" stands in {len(studies)} studies.', f"Name one of {choices}.")
    return found[0]


@final
@dataclass(frozen=True)
class Undefined:
    """What could not be scored, in rows of the scores file (case x label x seed).

    Args:
        arm: whose rows.
        site: where.
        rows: how many there are.
        absent: Dice undefined: the structure is neither in the reference nor in the prediction.
        missed: Dice of exactly 0: structure missed altogether, or found where there is none.
        no_surface: HD95 undefined while Dice is not: one of the two has no surface to measure from.
    """

    arm: Arm
    site: str
    rows: int
    absent: int
    missed: int
    no_surface: int


def undefined_scores(scores: Iterable[Score]) -> list[Undefined]:
    """Count what is undefined or missed, for each arm and site, in order of first appearance."""
    grouped: dict[tuple[Arm, str], list[Score]] = defaultdict(list)
    for row in final_scores(list(scores)):
        grouped[arm_of(row), row.site].append(row)
    return [
        Undefined(
            arm=arm,
            site=site,
            rows=len(rows),
            absent=sum(not math.isfinite(row.dice) for row in rows),
            missed=sum(row.dice == 0 for row in rows),
            no_surface=sum(math.isfinite(row.dice) and not math.isfinite(row.hd95_mm) for row in rows),
        )
        for (arm, site), rows in grouped.items()
    ]


def arm_of(row: Score) -> Arm:
    """The arm that a row belongs to."""
    return Arm(row.study, row.method, row.model, row.owner if row.owner != row.site else "")


def _select(cells: Mapping[CellKey, float], *, site: str, label: str) -> dict[CellKey, float]:
    return {
        key: value
        for key, value in cells.items()
        if (not site or key[0] == site) and (not label or key[2] == label)
    }


def _over_labels(cells: Mapping[CellKey, float]) -> dict[CaseKey, float]:
    by_case: dict[CaseKey, list[float]] = defaultdict(list)
    for (site, case, _), value in cells.items():
        by_case[site, case].append(value)
    return {key: float(np.mean(values)) for key, values in by_case.items()}
