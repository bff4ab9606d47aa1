"""Results wait for a person, the doubtful ones first."""

from __future__ import annotations

import pytest
from FedSegLib.review import (
    APPROVED,
    DISAGREEMENT,
    FLAGGED,
    REJECTED,
    STATUS,
    UNREVIEWED,
    Result,
    decided,
    inOrder,
    nextOpen,
    readResult,
    reopened,
)

AT = "2026-01-31T12:00:00+01:00"


def result(name: str, disagreement: str = "", status: str = UNREVIEWED) -> Result:
    attributes = {STATUS: status, DISAGREEMENT: disagreement}
    found = readResult(f"node {name}", name, attributes.get)
    assert found is not None
    return found


def test_a_node_that_fedseg_did_not_make_is_no_result() -> None:
    assert readResult("node", "by hand", {}.get) is None


def test_an_unknown_status_is_no_approval() -> None:
    assert result("a", status="fine").status == UNREVIEWED


def test_what_models_disagree_on_most_comes_first_and_single_models_last() -> None:
    queue = inOrder([result("c"), result("b", "0.1"), result("a", "0.7"), result("d", "broken")])
    assert [found.name for found in queue] == ["a", "b", "c", "d"]


def test_the_next_one_is_found_past_the_decided_and_round_the_end() -> None:
    queue = [
        result("a"),
        result("b", status=APPROVED),
        result("c", status=FLAGGED),
        result("d", status=REJECTED),
    ]
    assert nextOpen(queue, "node a") == queue[2]
    assert nextOpen(queue, "node c") == queue[0]
    assert nextOpen(queue, "") == queue[0]


def test_there_is_no_next_one_when_all_are_decided() -> None:
    assert nextOpen([result("a", status=APPROVED), result("b")], "node b") is None


def test_a_decision_is_kept_with_its_name_time_and_comment() -> None:
    told = dict(decided(FLAGGED, reviewer=" Dr. A ", at=AT, comment="edge of the tumour "))
    found = readResult("node", "scan", told.get)
    assert found is not None and not found.isDone
    assert (found.status, found.reviewer, found.reviewedAt, found.comment) == (
        FLAGGED,
        "Dr. A",
        AT,
        "edge of the tumour",
    )


def test_nobody_approves_without_a_name() -> None:
    with pytest.raises(ValueError, match="name"):
        decided(APPROVED, reviewer=" ", at=AT, comment="")


def test_a_decision_is_one_of_three() -> None:
    with pytest.raises(ValueError, match="approves, flags or rejects"):
        decided(UNREVIEWED, reviewer="Dr. A", at=AT, comment="")


def test_a_drawing_that_changed_is_no_longer_approved() -> None:
    told = {**decided(APPROVED, reviewer="Dr. A", at=AT, comment="fine"), **reopened()}
    found = readResult("node", "scan", told.get)
    assert found is not None and found.status == UNREVIEWED and not found.reviewer and found.comment == "fine"
