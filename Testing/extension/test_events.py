"""The command's event stream, as it comes and as it should not."""

from __future__ import annotations

from pathlib import Path

import pytest
from FedSegLib.events import Message, Problem, Progress, Round, Story

RECORDED = (Path(__file__).parent / "routed.jsonl").read_bytes()


def told(data: bytes) -> Story:
    story = Story()
    story.take(data)
    story.close()
    return story


def test_a_recorded_routed_run_tells_progress_a_warning_and_the_result() -> None:
    story = told(RECORDED)
    assert story.progress == Progress("segment", 0.0, None)
    assert [warning.fix for warning in story.warnings] == [
        "Do not use it unseen: review every slice, or segment by hand."
    ]
    assert story.result is not None
    assert story.result["summary"]["routing"]["r.seg.nrrd"]["abstain"] is True
    assert story.error is None and not story.foreign


@pytest.mark.parametrize("size", [1, 7, 100])
def test_it_does_not_matter_where_the_pipe_cuts_the_stream(size: int) -> None:
    story = Story()
    for start in range(0, len(RECORDED), size):
        story.take(RECORDED[start : start + size])
    story.close()
    assert story == told(RECORDED)


def test_a_letter_that_the_pipe_cuts_in_two_stays_whole() -> None:
    data = '{"event": "error", "message": "Größe", "fix": ""}\n'.encode()
    cut = data.index("ö".encode()) + 1
    story = Story()
    story.take(data[:cut])
    story.take(data[cut:])
    assert story.error == Message("Größe", "")


@pytest.mark.parametrize(
    "line",
    [
        "UserWarning: something",
        '{"event": "progress", "value"',
        '{"event": "progress", "stage": "segment", "value": "much"}',
        '{"event": ["progress"]}',
        '{"event": "result", "summary": 3}',
        '{"no": "event"}',
        '{"event": "round", "number": 1, "total": 2, "loss": 0.1, "dice": [0.5]}',
        "[1, 2]",
        "null",
        "\x00\x01",
        "[" * 100_000,
    ],
    ids=range(11),
)
def test_broken_and_foreign_lines_are_kept_and_the_rest_is_understood(line: str) -> None:
    story = told(line.encode() + b"\n" + RECORDED)
    assert list(story.foreign) == [line.strip()]
    assert story.result == told(RECORDED).result


def test_bytes_that_are_no_text_do_not_stop_the_stream() -> None:
    assert told(b"\xff\xfe\n" + RECORDED).result is not None


def test_events_of_younger_commands_are_passed_over() -> None:
    assert not told(b'{"event": "weather", "value": "fine"}\n').foreign


def test_windows_line_ends_and_empty_lines_are_no_events() -> None:
    story = told(RECORDED.replace(b"\n", b"\r\n\r\n"))
    assert story == told(RECORDED)


def test_a_last_line_without_an_end_counts() -> None:
    assert told(RECORDED.rstrip(b"\n")).result is not None


def test_progress_stays_between_nothing_and_all() -> None:
    story = told(b'{"event": "progress", "stage": "s", "value": 7, "eta_s": 3}\n')
    assert story.progress == Progress("s", 1.0, 3.0)


def test_only_the_last_foreign_lines_are_kept() -> None:
    story = told(b"".join(b"line %d\n" % number for number in range(1000)))
    assert len(story.foreign) == 200 and story.foreign[-1] == "line 999"


def test_problems_of_a_dataset_are_kept_with_their_fixes() -> None:
    story = told(
        b'{"event": "problem", "file": "a.nii.gz", "severity": "error", "message": "Torn.", "fix": "Mend."}\n'
    )
    assert story.problems == [Problem("a.nii.gz", True, Message("Torn.", "Mend."))]


def test_rounds_of_a_training_are_kept_with_the_dice_that_was_measured() -> None:
    story = told(
        b'{"event": "round", "number": 2, "total": 9, "loss": 0.5, "dice": {"Liver": 0.8, "Tumour": null}}\n'
        b'{"event": "round", "number": 3, "total": 9, "loss": null, "dice": {}}\n'
    )
    assert story.rounds == [Round(2, 9, 0.5, {"Liver": 0.8}), Round(3, 9, None, {})]
