"""The tables of `Resources/results`: a scores file as Markdown that can be committed and compared."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from FedSegCore.report.cases import case_means, find_arm
from FedSegCore.report.scores import Score
from FedSegCore.report.statistics import DRAWS, Comparison, Generator, Interval, compare, interval_of
from FedSegCore.report.tables import (
    ABSENT,
    METRIC_TITLES,
    arm_titles,
    ends,
    markdown_table,
    number,
    p_text,
    signed,
)

DIGITS = 3


def results_table(
    rows: Iterable[Score],
    *,
    baseline: str,
    sites: Sequence[str],
    metric: str = "dice",
    generator: Generator = 0,
) -> str:
    """One line a method and model: each site's mean, the mean over sites and the difference to the baseline.

    Args:
        rows: scores of any number of methods, seeds and studies.
        baseline: "method", "method/model" or "study/method/model".
        sites: the columns, in their order; others are left out of the mean and the tests too.
        metric: "dice", "hd95_mm" or "nsd_1mm".
        generator: for the intervals.

    Returns:
        A Markdown table and, below it, how its numbers were made.

    Raises:
        UsageError: there is no such baseline.
    """
    means = case_means(row for row in rows if row.site in sites)
    base = find_arm(means.arms, baseline)
    compared = {c.arm: c for c in compare(means, base, generator=generator, metric=metric) if not c.site}
    titles = arm_titles(means.arms)
    header = [
        "Model",
        *sites,
        "Mean over sites",
        "Patients",
        "Seeds",
        f"Difference to {titles[base]}",
        "p (Holm)",
    ]
    lines = []
    for arm in means.arms:
        per_site = [interval_of(means.by_case(metric, arm, site=site), generator) for site in sites]
        overall = interval_of(means.by_case(metric, arm), generator)
        lines.append(
            [
                titles[arm],
                *(_score(interval) for interval in per_site),
                _score(overall, of=len(sites)),
                str(overall.n),
                str(len(means.seeds[arm])),
                *_difference(compared.get(arm), is_baseline=arm == base),
            ]
        )
    return markdown_table(header, lines) + "\n" + _method_note(metric, titles[base])


def differences_table(
    rows: Iterable[Score],
    *,
    baseline: str,
    sites: Sequence[str],
    metric: str = "dice",
    generator: Generator = 0,
) -> str:
    """One line a method and model: the paired difference to the baseline at each site, with Holm's p.

    Arguments and errors are those of `results_table`; p-values are corrected over all cells of this table.
    """
    means = case_means(row for row in rows if row.site in sites)
    base = find_arm(means.arms, baseline)
    titles = arm_titles(means.arms)
    compared = {
        (c.arm, c.site): c for c in compare(means, base, generator=generator, metric=metric, sites=sites)
    }
    lines = [
        [titles[arm], *(_difference_cell(compared.get((arm, site))) for site in sites)]
        for arm in means.arms
        if arm != base
    ]
    note = (
        f"Paired difference in {METRIC_TITLES[metric]} to {titles[base]} by patient [95 % bootstrap "
        "interval], p of Wilcoxon's signed-rank test after Holm's correction over all cells.\n"
    )
    return markdown_table(["Model", *sites], lines) + "\n" + note


def _score(interval: Interval, *, of: int = 1) -> str:
    if not interval.n:
        return ABSENT
    text = number(interval.mean, DIGITS)
    if math.isfinite(interval.low):
        text += f" [{ends(interval, DIGITS)}]"
    return text if interval.groups == of else f"{text} ({interval.groups} of {of} sites)"


def _difference(compared: Comparison | None, *, is_baseline: bool) -> tuple[str, str]:
    if is_baseline:
        return "baseline", ABSENT
    if compared is None:
        return ABSENT, ABSENT
    interval = compared.difference
    text = signed(interval.mean, DIGITS)
    if math.isfinite(interval.low):
        text += f" [{ends(interval, DIGITS, sign=True)}]"
    return text, p_text(compared.p_holm)


def _difference_cell(compared: Comparison | None) -> str:
    text, p = _difference(compared, is_baseline=False)
    return text if p == ABSENT else f"{text}, p {p if p.startswith('<') else '= ' + p}"


def _method_note(metric: str, baseline: str) -> str:
    return (
        f"{METRIC_TITLES[metric]}, mean over labels, [95 % percentile bootstrap interval by patient, "
        f"{DRAWS} draws]. Seeds are averaged within a case before anything else, so n is patients. "
        f"The mean over sites weighs sites alike. Differences to {baseline} are paired by patient and label; "
        "p is Wilcoxon's signed-rank test over all patients, with Holm's correction over the lines of this "
        "table. Undefined scores are left out.\n"
    )
