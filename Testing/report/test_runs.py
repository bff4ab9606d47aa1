from __future__ import annotations

import math

import pytest

from FedSegCore.report.plots import axis_limits, box_panel, interval_mark, learning_panel, line_key
from FedSegCore.report.runs import absences, dice_curves, left_out, loss_curves, total, traffic
from FedSegCore.report.statistics import Interval

ROUNDS = [
    {
        "method": "fedavg",
        "seed": 0,
        "round": 1,
        "bytes_up": 5,
        "sites": {"north": {"loss": 1.0, "dice": {"A": 0.2, "B": 0.4}}},
    },
    {
        "method": "fedavg",
        "seed": 1,
        "round": 1,
        "bytes_up": 5,
        "sites": {"north": {"loss": 2.0, "dice": {"A": 0.5, "B": None}}},
    },
    {"method": "fedavg", "seed": 0, "round": 2, "sites": {}, "left_out": {"north": "timed out"}},
]


def test_curves_average_labels_then_seeds_and_keep_their_range() -> None:
    curve = dice_curves(ROUNDS)["north"]["fedavg"]
    assert (curve.rounds[0], curve.mean[0], curve.low[0], curve.high[0]) == (
        1,
        pytest.approx(0.4),
        pytest.approx(0.3),
        0.5,
    )
    assert loss_curves(ROUNDS)["north"]["fedavg"].mean[0] == 1.5


def test_dice_stands_at_the_round_of_the_model_that_was_validated_and_loss_at_its_own() -> None:
    lines = [{**line, "validated": line["round"] - 1} for line in ROUNDS]
    assert dice_curves(lines)["north"]["fedavg"].rounds.tolist() == [0]
    assert loss_curves(lines)["north"]["fedavg"].rounds.tolist() == [1]
    assert absences(lines, site="north") == [2]


def test_lost_sites_keep_their_reason() -> None:
    assert [(own.site, own.round, own.reason) for own in left_out(ROUNDS)] == [("north", 2, "timed out")]
    assert absences(ROUNDS, site="north") == [2] and absences(ROUNDS, site="south") == []


def test_sums_skip_what_is_not_recorded() -> None:
    assert total(ROUNDS, "bytes_up") == 10 and total([{"bytes_up": None}, {}], "bytes_up") == 0


def test_traffic_adds_up_each_sites_messages() -> None:
    ledger = [
        {
            "site": "a",
            "kind": "update",
            "tensors": {"w": [2, 3], "b": []},
            "scalars": {"loss": 1},
            "bytes": 10,
        },
        {"site": "a", "kind": "publish", "tensors": {"w": [2, 3]}, "bytes": 20},
        {"site": "b", "bytes": 40},
    ]
    most, other = traffic(ledger)
    assert (most.site, most.bytes, most.tensors, most.scalars) == ("b", 40, 0, ())
    assert (other.messages, other.bytes, other.values, other.scalars) == (2, 30, 7, ("loss",))
    assert other.kinds == {"update": 1, "publish": 1}


def test_limits_hold_every_value_in_tenths() -> None:
    assert axis_limits([0.33, 0.84]) == (0.3, 0.9)
    assert axis_limits([0.0, 1.0, math.nan]) == (0.0, 1.0)
    assert axis_limits([]) == (0.0, 1.0)


def test_plots_take_the_pages_colours_and_have_identifiers_of_their_own() -> None:
    curve = dice_curves(ROUNDS)["north"]["fedavg"]
    colours = {"fedavg": "var(--c0)"}
    drawn = [
        str(learning_panel({"fedavg": curve}, colours=colours, identifier="p1", limits=(0, 1), missed=[2])),
        str(
            box_panel(
                {"fedavg": [0.1, 0.2, 0.5], "none": []},
                colours={**colours, "none": "var(--c1)"},
                identifier="p2",
                limits=(0, 1),
            )
        ),
    ]
    for text, identifier in zip(drawn, ("p1", "p2"), strict=True):
        assert "var(--c0)" in text and "#0a0b" not in text and "http" not in text and "<style" not in text
        assert text.count(' id="') == text.count(f' id="{identifier}-')
    assert str(drawn[1]) == str(drawn[1]) and "no score" in drawn[1]


def test_a_mark_stays_on_its_axis_and_an_interval_of_one_patient_is_only_a_dot() -> None:
    text = str(interval_mark(Interval(0.9, -2.0, 2.0, 8), reach=0.5, colour="red"))
    assert 'x1="2.00%" x2="98.00%"' in text and 'cx="98.00%"' in text
    alone = str(interval_mark(Interval(0.0, math.nan, math.nan, 1), reach=0.5, colour="red"))
    assert "<line" not in alone and 'cx="50.00%"' in alone
    assert 'stroke-dasharray="none"' in str(line_key("red", 0))
