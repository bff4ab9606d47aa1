from __future__ import annotations

from typing import Any

from FedSegCore.progress import Reading


def told(reading_of: list[int], **options: Any) -> list[tuple[float, str]]:
    """The values and messages of the events while datasets of so many cases are read."""
    events: list[tuple[float, str]] = []

    def emit(event: str, **fields: Any) -> None:
        assert event == "progress" and (fields["stage"], fields["eta_s"]) == ("data", None)
        events.append((fields["value"], fields["message"]))

    reading = Reading(emit, **options)
    for place, cases in enumerate(reading_of):
        tell = reading.dataset(f"site {place}")
        for number in range(1, cases + 1):
            tell(number / cases)
    return events


def test_each_dataset_has_its_share_and_the_last_case_ends_at_one() -> None:
    assert told([2, 1], datasets=2) == [
        (0.25, "site 0: 1 of 2 cases read"),
        (0.5, "site 0: 2 of 2 cases read"),
        (1.0, "site 1: 1 of 1 cases read"),
    ]


def test_thousands_of_cases_are_told_in_few_steps() -> None:
    events = told([3000])
    assert len(events) == Reading.STEPS and events[-1] == (1.0, "site 0: 3,000 of 3,000 cases read")


def test_a_dataset_without_cases_is_passed_over() -> None:
    assert told([0, 1], datasets=2) == [(1.0, "site 1: 1 of 1 cases read")]
