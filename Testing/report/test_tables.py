from __future__ import annotations

import math
from collections.abc import Callable

import pytest

from FedSegCore.errors import UsageError
from FedSegCore.report.cases import Arm, case_means
from FedSegCore.report.results import differences_table, results_table
from FedSegCore.report.scores import Score
from FedSegCore.report.statistics import Interval
from FedSegCore.report.tables import (
    arm_titles,
    byte_text,
    duration_text,
    ends,
    markdown_table,
    number,
    p_text,
    plural,
    signed,
    summarize,
    words,
)


def score(
    dice: float, *, site: str = "north", case: str = "a", seed: int = 0, method: str = "fedavg"
) -> Score:
    return Score("s", method, seed, 5, "global", "", site, "T1", case, "A", dice, 1.0, 1.0)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.126, "0.13"),
        (-0.126, "\N{MINUS SIGN}0.13"),
        (-0.001, "0.00"),
        (math.nan, "\N{EN DASH}"),
        (math.inf, "\N{EN DASH}"),
    ],
)
def test_numbers_read_as_in_print(value: float, text: str) -> None:
    assert number(value) == text


def test_differences_carry_their_sign_unless_they_round_to_zero() -> None:
    assert [signed(value) for value in (0.3301, -0.01, 0.0001, math.nan)] == [
        "+0.330",
        "\N{MINUS SIGN}0.010",
        "0.000",
        "\N{EN DASH}",
    ]


def test_small_words() -> None:
    assert (plural(1, "site"), plural(1200, "site")) == ("1 site", "1,200 sites")
    assert [byte_text(count) for count in (512, 2_400_000, 240e6, 1.44e9)] == [
        "512 B",
        "2.4 MB",
        "240 MB",
        "1.4 GB",
    ]
    assert [duration_text(s) for s in (4.25, 59.0, 75, 5000)] == ["4.2 s", "59 s", "1 min 15 s", "1 h 23 min"]
    assert [p_text(p) for p in (1e-9, 0.0312, 1.0, math.nan)] == ["< 0.001", "0.031", "1.000", "\N{EN DASH}"]
    assert ends(Interval(0.5, math.nan, math.nan, 1)) == "\N{EN DASH}"
    assert words({"a": [1, 2.50, None]}) == "a: 1, 2.5, "


def test_titles_name_the_model_and_study_only_where_they_say_more() -> None:
    local, fedbn = Arm("s", "local", "local"), Arm("s", "fedbn", "personal")
    assert list(arm_titles([local, fedbn]).values()) == ["Local", "FedBN, personal"]
    assert arm_titles([local, Arm("t", "new", "global")])[local] == "s: Local"


def test_a_markdown_table_keeps_its_columns_whatever_the_names() -> None:
    assert markdown_table(["Model", "a|b"], [["x\ny", "1"]]) == "| Model | a\\|b |\n|---|---:|\n| x y | 1 |\n"


def test_summary_rows_cover_every_site_and_label_and_their_means(
    scores_of: Callable[..., list[Score]],
) -> None:
    means = case_means(scores_of(sites=("north", "east"), methods=("fedavg",)))
    rows = summarize(means, means.arms[0], sites=["", "north", "nowhere"], labels=["", "Anterior"])
    assert [(row.site, row.label) for row in rows] == [
        ("", ""),
        ("", "Anterior"),
        ("north", ""),
        ("north", "Anterior"),
    ]
    assert [row.metrics["dice"].n for row in rows] == [16, 16, 8, 8]


def test_the_results_table_holds_exact_numbers() -> None:
    rows = [score(0.5, case=case, site=site) for case in "abcdef" for site in ("north", "south")]
    rows += [score(0.75, case=case, site="north", method="fedgin") for case in "abcdef"]
    rows += [score(0.5, case=case, site="south", method="fedgin") for case in "abcdef"]
    text = results_table(rows, baseline="fedavg", sites=["south", "north"])
    assert text.splitlines()[:4] == [
        "| Model | south | north | Mean over sites | Patients | Seeds | Difference to FedAvg, global | p (Holm) |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
        "| FedAvg, global | 0.500 [0.500 to 0.500] | 0.500 [0.500 to 0.500] | 0.500 [0.500 to 0.500] | 12 | 1 "
        "| baseline | \N{EN DASH} |",
        "| FedGIN, global | 0.500 [0.500 to 0.500] | 0.750 [0.750 to 0.750] | 0.625 [0.625 to 0.625] | 12 | 1 "
        "| +0.125 [+0.125 to +0.125] | 0.031 |",
    ]
    assert "Holm" in text.splitlines()[-1] and "Wilcoxon" in text.splitlines()[-1]


def test_the_differences_table_corrects_over_all_its_cells() -> None:
    rows = [score(0.5, case=case, site=site) for case in "abcdef" for site in ("north", "south")]
    rows += [
        score(0.75, case=case, site=site, method="fedgin") for case in "abcdef" for site in ("north", "south")
    ]
    line = differences_table(rows, baseline="fedavg", sites=["north", "south"]).splitlines()[2]
    cell = "+0.250 [+0.250 to +0.250], p = 0.062"
    assert line == f"| FedGIN, global | {cell} | {cell} |"


def test_a_missing_site_is_a_dash_and_the_mean_says_over_how_many() -> None:
    rows = [score(0.5), score(0.5, site="south"), score(0.7, method="central")]
    text = results_table(rows, baseline="fedavg", sites=["north", "south"])
    assert "| Central, global | 0.700 | \N{EN DASH} | 0.700 (1 of 2 sites) | 1 |" in text


def test_other_sites_are_left_out_and_an_unknown_baseline_is_named() -> None:
    rows = [score(0.5), score(0.9, site="elsewhere")]
    assert "0.9" not in results_table(rows, baseline="fedavg", sites=["north"]).splitlines()[2]
    with pytest.raises(UsageError, match="fedavgg"):
        results_table(rows, baseline="fedavgg", sites=["north"])
