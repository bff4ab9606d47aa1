from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Callable

import numpy as np
import pytest
from scipy.stats import wilcoxon

from FedSegCore.errors import UsageError
from FedSegCore.report.cases import Arm, case_means, find_arm, undefined_scores
from FedSegCore.report.scores import Score
from FedSegCore.report.statistics import bootstrap, compare, gains, holm, interval_of, wilcoxon_p

FEDAVG = Arm("s", "fedavg", "global")
FEDGIN = Arm("s", "fedgin", "global")


def row(
    dice: float,
    *,
    case: str = "a",
    seed: int = 0,
    method: str = "fedavg",
    label: str = "A",
    **changes: object,
) -> Score:
    values: dict[str, object] = {
        "study": "s",
        "method": method,
        "seed": seed,
        "round": 5,
        "model": "global",
        "owner": "",
        "site": "north",
        "modalities": "T1",
        "case": case,
        "label": label,
        "dice": dice,
        "hd95_mm": 1.0,
        "nsd_1mm": 1.0,
    }
    return Score(**{**values, **changes})  # type: ignore[arg-type]


def test_seeds_are_averaged_within_a_case_so_n_counts_patients() -> None:
    means = case_means([row(0.2, seed=0), row(0.4, seed=1), row(0.9, case="b"), row(0.9, case="b", seed=1)])
    by_case = means.by_case("dice", FEDAVG)
    assert by_case == {("north", "a"): pytest.approx(0.3), ("north", "b"): pytest.approx(0.9)}
    assert interval_of(by_case, 0).n == 2
    assert means.seeds[FEDAVG] == (0, 1)


def test_labels_are_averaged_within_a_case_where_they_are_defined() -> None:
    means = case_means(
        [row(0.2), row(0.6, label="B"), row(0.5, case="b"), row(math.nan, case="b", label="B")]
    )
    assert means.by_case("dice", FEDAVG) == {("north", "a"): pytest.approx(0.4), ("north", "b"): 0.5}
    assert means.by_case("dice", FEDAVG, label="B") == {("north", "a"): 0.6}


def test_cases_of_one_name_at_two_sites_are_two_patients() -> None:
    means = case_means([row(0.2), row(0.4, site="south")])
    assert interval_of(means.by_case("dice", FEDAVG), 0).n == 2


def test_an_owners_model_at_another_site_is_a_line_of_its_own() -> None:
    rows = [
        row(0.2, site="outside", model="personal", owner="north"),
        row(0.6, site="outside", model="personal", owner="south"),
        row(0.9, site="north", model="personal", owner="north"),
    ]
    means = case_means(rows)
    assert means.by_case("dice", Arm("s", "fedavg", "personal")) == {("north", "a"): 0.9}
    assert means.by_case("dice", Arm("s", "fedavg", "personal", "south")) == {("outside", "a"): 0.6}
    assert [arm.name for arm in means.arms] == [
        "fedavg/personal (north)",
        "fedavg/personal (south)",
        "fedavg/personal",
    ]


def test_an_earlier_round_does_not_count() -> None:
    assert case_means([row(0.1, round=2), row(0.5)]).by_case("dice", FEDAVG) == {("north", "a"): 0.5}


def test_the_bootstrap_of_equal_values_is_that_value() -> None:
    interval = bootstrap([[0.5, 0.5, 0.5, 0.5]], 0)
    assert (interval.mean, interval.low, interval.high, interval.n) == (0.5, 0.5, 0.5, 4)


def test_the_bootstrap_weighs_sites_alike_and_resamples_within_them() -> None:
    interval = bootstrap([[0.0], [1.0, 1.0, 1.0]], 0)
    assert (interval.mean, interval.low, interval.high) == (0.5, 0.5, 0.5)
    assert (interval.n, interval.groups) == (4, 2)


def test_the_bootstrap_of_two_values_knows_its_distribution() -> None:
    """Two patients 0 and 1: the resampled mean is 0, 1/2, 1 with chance 1/4, 1/2, 1/4."""
    interval = bootstrap([[0.0, 1.0]], 0)
    assert (interval.mean, interval.low, interval.high) == (0.5, 0.0, 1.0)
    assert bootstrap([[0.0, 1.0]], 0, level=0.4) == type(interval)(0.5, 0.5, 0.5, 2)


def test_the_bootstrap_covers_the_true_mean_about_as_often_as_it_says() -> None:
    generator = np.random.default_rng(7)
    samples = generator.normal(0.8, 0.1, size=(300, 40))
    hits = [(i := bootstrap([sample], generator, draws=400)).low <= 0.8 <= i.high for sample in samples]
    assert 0.90 <= np.mean(hits) <= 0.98


def test_one_seed_gives_one_interval_and_a_passed_generator_moves_on() -> None:
    values = [np.linspace(0, 1, 9)]
    assert bootstrap(values, 3) == bootstrap(values, 3)
    generator = np.random.default_rng(3)
    assert bootstrap(values, generator) == bootstrap(values, 3)
    assert bootstrap(values, generator) != bootstrap(values, 3)


def test_one_patient_has_a_mean_and_no_interval_and_none_has_neither() -> None:
    one, none = bootstrap([[0.7], []], 0), bootstrap([[], []], 0)
    assert (one.mean, one.n, one.groups) == (0.7, 1, 1) and math.isnan(one.low)
    assert none.n == 0 and math.isnan(none.mean)


@pytest.mark.parametrize(
    ("given", "corrected"),
    [
        ([0.01, 0.04, 0.03, 0.005], [0.03, 0.06, 0.06, 0.02]),
        ([0.04, 0.03, 0.02], [0.06, 0.06, 0.06]),
        ([0.5, 0.9], [1.0, 1.0]),
        ([0.02], [0.02]),
        ([], []),
    ],
)
def test_holm_on_known_p_values(given: list[float], corrected: list[float]) -> None:
    assert holm(given) == pytest.approx(corrected)


def test_holm_does_not_count_what_is_undefined() -> None:
    assert holm([math.nan, 0.01, 0.03]) == pytest.approx([math.nan, 0.02, 0.03], nan_ok=True)


def test_wilcoxon_is_exact_for_few_patients() -> None:
    """Six differences of one sign: 2 of the 2^6 sign patterns are as extreme."""
    assert wilcoxon_p([0.1, 0.2, 0.3, 0.4, 0.5, 0.6]) == pytest.approx(2 / 64)
    values = np.random.default_rng(0).normal(0.05, 0.1, 30)
    assert wilcoxon_p(values) == pytest.approx(wilcoxon(values).pvalue)


@pytest.mark.parametrize(
    ("values", "p"), [([0.0, 0.0], 1.0), ([1e-17, 0.0], 1.0), ([0.3], 1.0), ([], math.nan)]
)
def test_wilcoxon_of_almost_nothing(values: list[float], p: float) -> None:
    assert wilcoxon_p(values) == pytest.approx(p, nan_ok=True)


def test_wilcoxon_with_ties_warns_of_nothing() -> None:
    assert 0 < wilcoxon_p([0.1, 0.1, -0.1, 0.2, 0.2]) <= 1


def paired_rows() -> list[Score]:
    """fedgin is 0.1 better in each of 6 cases at north, 0.05 worse at south."""
    rows = []
    for number in range(6):
        for site, gain in (("north", 0.1 + number / 1000), ("south", -0.05 - number / 1000)):
            rows.append(row(0.5, case=f"c{number}", site=site))
            rows.append(row(0.5 + gain, case=f"c{number}", site=site, method="fedgin"))
    return rows


def test_a_paired_difference_is_taken_within_each_patient() -> None:
    compared = compare(case_means(paired_rows()), FEDAVG)
    overall, north, south = compared
    assert [c.site for c in compared] == ["", "north", "south"]
    assert overall.difference.mean == pytest.approx((0.1025 - 0.0525) / 2)
    assert (overall.difference.n, overall.difference.groups) == (12, 2)
    assert north.difference.mean == pytest.approx(0.1025) and north.difference.low >= 0.1
    assert south.difference.high <= -0.05
    assert north.p == pytest.approx(2 / 64) and north.p_holm == pytest.approx(4 / 64)
    assert overall.p_holm == overall.p


def test_pairs_are_made_by_label_so_a_label_of_one_arm_only_does_not_shift_the_difference() -> None:
    rows = [
        row(0.5),
        row(0.9, label="B"),
        row(0.6, method="fedgin"),
        row(math.nan, label="B", method="fedgin"),
    ]
    assert case_means(rows).differences("dice", FEDGIN, FEDAVG) == {("north", "a"): pytest.approx(0.1)}


def test_gains_count_the_sites_and_name_the_one_that_loses_most() -> None:
    found = gains(compare(case_means(paired_rows()), FEDAVG), FEDGIN)
    assert (found.gained, found.sites, found.share, found.worst_site) == (1, 2, 0.5, "south")
    assert found.worst == pytest.approx(-0.0525)
    nothing = gains([], FEDGIN)
    assert nothing.sites == 0 and math.isnan(nothing.share) and math.isnan(nothing.worst)


def test_arms_without_common_cases_are_not_compared() -> None:
    means = case_means([row(0.5), row(0.6, case="b", method="fedgin")])
    assert compare(means, FEDAVG) == []


def test_undefined_scores_are_counted_by_kind() -> None:
    rows = [
        row(math.nan, hd95_mm=math.nan),
        row(0.0, case="b", hd95_mm=math.nan),
        row(0.0, case="c", hd95_mm=9.0),
        row(0.5, case="d"),
    ]
    (found,) = undefined_scores(rows)
    assert (found.arm, found.site) == (FEDAVG, "north")
    assert (found.rows, found.absent, found.missed, found.no_surface) == (4, 1, 2, 1)


def test_all_undefined_scores_make_means_of_nobody() -> None:
    means = case_means([row(math.nan), row(math.nan, method="fedgin")])
    assert means.arms == (FEDAVG, FEDGIN) and means.sites == ("north",)
    assert interval_of(means.by_case("dice", FEDAVG), 0).n == 0
    assert compare(means, FEDAVG) == []


def test_an_arm_is_found_by_method_model_or_study() -> None:
    personal = Arm("s", "fedavg", "personal")
    other = Arm("t", "fedgin", "global")
    arms = [personal, FEDAVG, FEDGIN, Arm("s", "local", "local"), other]
    assert find_arm(arms, "fedavg") == FEDAVG
    assert find_arm(arms, "fedavg/personal") == personal
    assert find_arm(arms, "local").model == "local"
    assert find_arm(arms, "t/fedgin") == other
    with pytest.raises(UsageError, match="2 studies"):
        find_arm(arms, "fedgin")
    with pytest.raises(UsageError, match="fedavg"):
        find_arm(arms, "fedavgg")


@pytest.mark.parametrize("module", ["results", "page"])
def test_the_report_needs_no_torch(module: str, isolated_import: Callable[[str], set[str]]) -> None:
    loaded = isolated_import(f"FedSegCore.report.{module}")
    assert not loaded & {"torch", "monai", "nibabel", "SimpleITK", "flwr"}


@pytest.fixture
def isolated_import() -> Callable[[str], set[str]]:
    def loaded(module: str) -> set[str]:
        code = f"import sys, {module}; print(' '.join(sys.modules))"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        return set(done.stdout.split())

    return loaded
