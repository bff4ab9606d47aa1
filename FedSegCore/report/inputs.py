"""What a report is made from, and what all of its sections share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, final

import numpy as np

from FedSegCore.report.cases import Arm, CaseMeans, case_means, find_arm
from FedSegCore.report.overlays import Overlay
from FedSegCore.report.scores import Score
from FedSegCore.report.statistics import Comparison, Interval, compare, interval_of
from FedSegCore.report.tables import arm_titles

SEED: Final = 0
"""Every interval of a page is drawn with one seed, so that the same data show the same interval twice."""
COLOURS: Final = tuple(f"var(--c{index})" for index in range(7))
BASELINE_COLOUR: Final = "var(--c-base)"

Line = Mapping[str, Any]


@final
@dataclass(frozen=True, eq=False)
class ReportInputs:
    """Everything that a report may show; each part may be absent, and the page says so where it is.

    Args:
        study: facts of the study. Known keys: `name`, `methods` (or `method`), `seeds`, `rounds`, `labels`,
            `modalities`, `sites` (mappings with `name`, `role`, `modalities`, `labels`, and the counts
            `training`, `validation`, `test`), `plan`, `network`, `train`, `device`, `command`, `seconds`,
            `licence`, `stand_in` (a sentence where the data stand in for others). Others are listed as given.
        scores: the rows of scores.csv.
        rounds: the lines of rounds.jsonl, those of several runs told apart by `method` and `seed`; `validated` is
            the number of rounds after which the model was that their Dice is of, where it is not `round`.
        ledger: the lines of ledger.jsonl.
        overlays: cases to show.
        cards: the models' cards: a list, or a mapping from file name to card.
        baseline: what to compare with, "method" or "method/model"; default local, else FedAvg's global model.
        focus: the model that the summary speaks of; default the last method's global model.
    """

    study: Mapping[str, Any] = field(default_factory=dict)
    scores: Sequence[Score] = ()
    rounds: Sequence[Line] = ()
    ledger: Sequence[Line] = ()
    overlays: Sequence[Overlay] = ()
    cards: Sequence[Line] | Mapping[str, Line] = ()
    baseline: str = ""
    focus: str = ""


@final
@dataclass(frozen=True, eq=False)
class Evidence:
    """The scores as the sections need them: sites and labels sorted, the worst of the focus first.

    Args:
        means: seeds averaged within each case.
        titles: what each arm is called.
        focus: the arm that the summary speaks of; None without scores.
        baseline: the arm compared with; None where there is nothing else to compare.
        sites: worst first.
        labels: worst first.
        comparisons: every arm against the baseline.
        local: every arm against the local models, where these are another baseline.
        colours: method -> CSS colour, the same on the whole page.
        unscored: why there are no scores, where there are none.
    """

    means: CaseMeans
    titles: Mapping[Arm, str]
    focus: Arm | None
    baseline: Arm | None
    sites: tuple[str, ...]
    labels: tuple[str, ...]
    comparisons: Sequence[Comparison]
    local: Sequence[Comparison]
    colours: Mapping[str, str]
    unscored: str

    def interval(self, arm: Arm, *, site: str = "", label: str = "", metric: str = "dice") -> Interval:
        """An arm's mean over patients and its interval."""
        return interval_of(self.means.by_case(metric, arm, site=site, label=label), SEED)


def gather(report: ReportInputs) -> Evidence:
    """Average, choose focus and baseline, compare and sort.

    Raises:
        UsageError: the named baseline or focus has no scores though there are some.
    """
    means = case_means(report.scores)
    baseline = _baseline(means.arms, report.baseline)
    focus = (
        find_arm(means.arms, report.focus) if report.focus and means.arms else _focus(means.arms, baseline)
    )
    local = next((arm for arm in means.arms if arm.model == "local"), None)
    baseline = None if baseline == focus else baseline
    against_local = local not in (None, baseline, focus)
    return Evidence(
        means=means,
        titles=arm_titles(means.arms),
        focus=focus,
        baseline=baseline,
        sites=_worst_first(means, focus, sites=True),
        labels=_worst_first(means, focus, sites=False),
        comparisons=compare(means, baseline, generator=SEED) if baseline else [],
        local=compare(means, local, generator=SEED) if local and against_local else [],
        colours=_colours(report, means.arms, baseline),
        unscored=_unscored(report),
    )


def _unscored(report: ReportInputs) -> str:
    if any("test" not in site for site in report.study.get("sites", ())):
        return (
            "No case has been scored here: the sites' cases are where they belong. Each site has a report of its "
            "own, with its scores, and nothing of it is sent."
        )
    return "No case has been scored: no site of this study has test cases, or the run ended before its last round."


def _baseline(arms: Sequence[Arm], name: str) -> Arm | None:
    if name and arms:
        return find_arm(arms, name)
    for arm in (Arm("", "local", "local"), Arm("", "fedavg", "global")):
        found = [own for own in arms if (own.method, own.model, own.owner) == (arm.method, arm.model, "")]
        if found and len(arms) > 1:
            return found[0]
    return None


def _focus(arms: Sequence[Arm], baseline: Arm | None) -> Arm | None:
    """The last method's global model: a study names its baselines first. Never chosen by its test score."""
    federated = [arm for arm in arms if arm.model in ("global", "personal") and arm != baseline]
    outside = [arm for arm in arms if arm.model not in ("local", "central") and arm != baseline]
    for candidates in (federated, outside, [arm for arm in arms if arm != baseline], list(arms)):
        if candidates:
            last = [arm for arm in candidates if arm.method == candidates[-1].method]
            return next((arm for arm in last if arm.model == "global"), last[0])
    return None


def _worst_first(means: CaseMeans, focus: Arm | None, *, sites: bool) -> tuple[str, ...]:
    """Names by the focus' mean Dice, the worst first; those without a score last."""

    def rank(name: str) -> float:
        if focus is None:
            return np.inf
        place = {"site": name} if sites else {"label": name}
        interval = interval_of(means.by_case("dice", focus, **place), SEED)
        return interval.mean if interval.n else np.inf

    return tuple(sorted(means.sites if sites else means.labels, key=rank))


def _colours(report: ReportInputs, arms: Sequence[Arm], baseline: Arm | None) -> dict[str, str]:
    methods = dict.fromkeys(
        [*(arm.method for arm in arms), *(str(line.get("method", "")) for line in report.rounds)]
    )
    coloured = [method for method in methods if baseline is None or method != baseline.method]
    colours = {method: COLOURS[index % len(COLOURS)] for index, method in enumerate(coloured)}
    return {method: colours.get(method, BASELINE_COLOUR) for method in methods}
