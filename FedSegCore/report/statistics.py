"""From case means to statements: means with intervals, paired differences, corrected p-values.

The rules, the same for every table and plot:

- Seeds are averaged within a case before anything else (`case_means`), so n is a number of patients and never
  of runs. Where several owners' models are scored on one case, each owner's is a line of its own.
- Intervals are percentile bootstraps over patients. A mean over sites resamples patients within each site and
  weighs the sites alike.
- Differences are paired by case and label. The test is Wilcoxon's signed-rank test, corrected by Holm's
  method over all comparisons of a table.
- Undefined scores (nan) are left out of means and counted.

Needs numpy and scipy only.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, final

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import wilcoxon

from FedSegCore.report.cases import Arm, CaseKey, CaseMeans

DRAWS: Final = 2000
LEVEL: Final = 0.95

Generator = np.random.Generator | int


@final
@dataclass(frozen=True)
class Interval:
    """A mean with its bootstrap interval; nan where there is nothing to average, or nothing to resample.

    Args:
        mean: over patients, or over sites of means over patients.
        low: lower end of the 95 % interval; nan with fewer than two patients.
        high: upper end.
        n: patients.
        groups: sites.
    """

    mean: float
    low: float
    high: float
    n: int
    groups: int = 1


def bootstrap(
    groups: Sequence[ArrayLike], generator: Generator, *, draws: int = DRAWS, level: float = LEVEL
) -> Interval:
    """The mean over groups of the mean over patients, with a percentile bootstrap interval by patient.

    Args:
        groups: one list of patients' values a site; empty ones are left out.
        generator: a numpy generator, or a new one's seed: the same seed gives the same interval anywhere.
        draws: resamplings; patients are drawn with replacement within their group.
        level: share of the resampled means inside the interval.
    """
    values = [np.asarray(group, dtype=np.float64) for group in groups]
    values = [group for group in values if group.size]
    n = sum(group.size for group in values)
    if not values:
        return Interval(math.nan, math.nan, math.nan, 0, 0)
    mean = float(np.mean([group.mean() for group in values]))
    if n < 2:
        return Interval(mean, math.nan, math.nan, n, len(values))
    generator = np.random.default_rng(generator)
    resampled = np.zeros(draws)
    for group in values:
        picks = generator.integers(0, group.size, size=(draws, group.size))
        resampled += group[picks].mean(axis=1) / len(values)
    low, high = np.quantile(resampled, [(1 - level) / 2, (1 + level) / 2])
    return Interval(mean, float(low), float(high), n, len(values))


def interval_of(by_case: Mapping[CaseKey, float], generator: Generator) -> Interval:
    """The bootstrap interval of cases' values, the mean taken over sites."""
    return bootstrap(list(_by_site(by_case).values()), generator)


def wilcoxon_p(differences: ArrayLike) -> float:
    """Two-sided p of Wilcoxon's signed-rank test; 1 where no difference is left, nan where none was given.

    Differences of zero say nothing about a direction and are dropped (Wilcoxon's own rule).
    """
    values: NDArray[np.float64] = np.asarray(differences, dtype=np.float64)
    values = values[np.isfinite(values)].round(12)
    if not values.size:
        return math.nan
    values = values[values != 0]
    return float(wilcoxon(values).pvalue) if values.size else 1.0


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down correction (Holm 1979, Scand J Stat 6:65); nan stays nan and does not count.

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    defined = sorted((p, index) for index, p in enumerate(p_values) if not math.isnan(p))
    corrected = [math.nan] * len(p_values)
    largest = 0.0
    for rank, (p, index) in enumerate(defined):
        largest = max(largest, min(1.0, p * (len(defined) - rank)))
        corrected[index] = largest
    return corrected


@final
@dataclass(frozen=True)
class Comparison:
    """How an arm differs from the baseline, by patient.

    Args:
        arm: what is compared.
        baseline: what with.
        site: at one site; "" for the mean over all common sites.
        difference: arm less baseline, with its interval.
        p: Wilcoxon's, over all patients.
        p_holm: corrected over the comparisons of the same kind, all sites or single sites.
    """

    arm: Arm
    baseline: Arm
    site: str
    difference: Interval
    p: float
    p_holm: float


def compare(
    means: CaseMeans,
    baseline: Arm,
    *,
    generator: Generator = 0,
    metric: str = "dice",
    sites: Sequence[str] | None = None,
) -> list[Comparison]:
    """Every other arm against the baseline: first over all sites, then at each site.

    Args:
        means: the study's case means.
        baseline: the arm to compare with.
        generator: for the intervals.
        metric: "dice", "hd95_mm" or "nsd_1mm".
        sites: the sites to compare at; default all.

    Returns:
        One comparison an arm over all sites, then one an arm and site, where they have cases in common.
    """
    sites = means.sites if sites is None else sites
    others = [arm for arm in means.arms if arm != baseline]
    overall, single = [], []
    for arm in others:
        by_case = means.differences(metric, arm, baseline)
        overall.append((arm, "", {key: value for key, value in by_case.items() if key[0] in sites}))
        single += [(arm, site, means.differences(metric, arm, baseline, site=site)) for site in sites]
    return [
        *_tested(overall, baseline, generator),
        *_tested(single, baseline, generator),
    ]


@final
@dataclass(frozen=True)
class Gains:
    """At how many sites an arm beats the baseline, and what it costs the site that loses most.

    Args:
        gained: sites with a mean difference above zero.
        sites: sites compared.
        worst_site: the site with the lowest difference; "" without any.
        worst: that difference: below zero a loss, above zero the smallest gain.
    """

    gained: int
    sites: int
    worst_site: str
    worst: float

    @property
    def share(self) -> float:
        """Sites that gain, as a share of those compared."""
        return self.gained / self.sites if self.sites else math.nan


def gains(comparisons: Iterable[Comparison], arm: Arm) -> Gains:
    """Count an arm's gains over the single sites of `comparisons`."""
    own = [comparison for comparison in comparisons if comparison.arm == arm and comparison.site]
    if not own:
        return Gains(0, 0, "", math.nan)
    worst = min(own, key=lambda comparison: comparison.difference.mean)
    gained = sum(comparison.difference.mean > 0 for comparison in own)
    return Gains(gained, len(own), worst.site, worst.difference.mean)


def _by_site(by_case: Mapping[CaseKey, float]) -> dict[str, list[float]]:
    by_site: dict[str, list[float]] = defaultdict(list)
    for (site, _), value in by_case.items():
        by_site[site].append(value)
    return by_site


def _tested(
    compared: Iterable[tuple[Arm, str, Mapping[CaseKey, float]]], baseline: Arm, generator: Generator
) -> list[Comparison]:
    present = [(arm, site, by_case) for arm, site, by_case in compared if by_case]
    p_values = [wilcoxon_p(list(by_case.values())) for _, _, by_case in present]
    return [
        Comparison(arm, baseline, site, interval_of(by_case, generator), p, p_holm)
        for (arm, site, by_case), p, p_holm in zip(present, p_values, holm(p_values), strict=True)
    ]
