from __future__ import annotations

import errno
import math
import os
import re
import time
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from FedSegCore.errors import StorageError, UsageError
from FedSegCore.report.inputs import ReportInputs, gather
from FedSegCore.report.overlays import Overlay
from FedSegCore.report.page import BANNER, CONTENTS, render, write_report
from FedSegCore.report.scores import Score

HOSTILE = '<script>alert("x")</script>&\'"'
VOID = {"meta", "br", "img", "link", "hr", "input"}


class Page(HTMLParser):
    """Checks nesting; gathers tags, identifiers, addresses and text."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[str] = []
        self.ids: list[str] = []
        self.addresses: list[str] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_startendtag(tag, attrs)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attrs:
            assert not name.startswith("on")
            if name == "id":
                self.ids.append(value or "")
            if name in ("src", "href", "xlink:href", "action", "data", "poster", "srcset"):
                self.addresses.append(value or "")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def checked(text: str) -> Page:
    """Parse a page and hold what every page promises."""
    page = Page(text)
    assert len(page.ids) == len(set(page.ids))
    assert "script" not in page.tags and "iframe" not in page.tags and "link" not in page.tags
    assert all(own.startswith(("#", "data:image/png;base64,")) for own in page.addresses)
    assert all(own[1:] in page.ids for own in page.addresses if own.startswith("#"))
    assert "http://" not in text and "https://" not in text and "@import" not in text
    assert not re.search(r"url\((?!#)", text)
    assert page.text.count(BANNER) == 2
    assert all(anchor in page.ids for anchor, _ in CONTENTS)
    assert not re.search(r"\bnan\b", page.text)
    return page


def test_a_whole_report_stands_on_its_own(whole_report: ReportInputs, tmp_path: Path) -> None:
    path = write_report(tmp_path / "run" / "report.html", whole_report)
    page = checked(path.read_text(encoding="utf-8"))
    assert [entry.name for entry in path.parent.iterdir()] == ["report.html"]
    for said in (
        "Weakest site: island",
        "Weakest structure: Posterior",
        "4 of 5",
        "largest loss: north",
        "Stand-in data",
    ):
        assert said in page.text


def test_a_full_disk_names_the_page_and_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match=r"report\.html could not be written: No space left"):
        write_report(tmp_path / "report.html", ReportInputs())
    assert list(tmp_path.iterdir()) == []


def test_the_same_inputs_give_the_same_page(whole_report: ReportInputs) -> None:
    assert render(whole_report) == render(whole_report)


def test_the_worst_site_and_label_come_first(whole_report: ReportInputs) -> None:
    evidence = gather(whole_report)
    assert evidence.sites[0] == "island" and evidence.labels == ("Posterior", "Anterior")
    text = checked(render(whole_report)).text
    assert text.index("The weakest first") < text.index("What was trained") < text.index("Dice by site")
    assert text.index("Worst case") < text.index("Median case") < text.index("Best case")


def test_failures_are_counted(whole_report: ReportInputs) -> None:
    text = checked(render(whole_report)).text
    assert "no answer within 3600 s" in text and "7, 8" in text
    assert "Structures missed 2 of 720 scores" in text


def test_focus_and_baseline_can_be_named(whole_report: ReportInputs) -> None:
    evidence = gather(replace(whole_report, focus="fedavg", baseline="fedgin/global"))
    assert evidence.focus and evidence.focus.method == "fedavg"
    assert evidence.baseline and evidence.baseline.method == "fedgin"
    assert {c.baseline.method for c in evidence.local} == {"local"}
    with pytest.raises(UsageError, match="fedgan"):
        gather(replace(whole_report, focus="fedgan"))


def test_the_focus_is_the_studys_last_method_and_not_the_best(whole_report: ReportInputs) -> None:
    rows = [replace(row, dice=0.1) if row.method == "fedgin" else row for row in whole_report.scores]
    evidence = gather(replace(whole_report, scores=rows))
    assert evidence.focus and evidence.focus.method == "fedgin"


def test_a_pooled_model_of_any_name_is_not_the_focus(whole_report: ReportInputs) -> None:
    pooled = [
        replace(row, method="central+gin", model="central", owner="")
        for row in whole_report.scores
        if row.method == "fedgin"
    ]
    evidence = gather(replace(whole_report, scores=[*whole_report.scores, *pooled]))
    assert evidence.focus and evidence.focus.method == "fedgin"


def test_a_way_of_serving_outside_sites_is_not_the_focus(whole_report: ReportInputs) -> None:
    adapted = [
        replace(row, method="fedlast", model=model, owner="")
        for row in whole_report.scores
        if row.method == "fedgin"
        for model in ("tent", "routed")
    ]
    evidence = gather(replace(whole_report, scores=[*whole_report.scores, *adapted]))
    assert evidence.focus and evidence.focus.method == "fedgin"


def test_hostile_names_are_shown_and_never_run(
    scores_of: Callable[..., list[Score]], overlay_of: Callable[..., Overlay]
) -> None:
    rows = scores_of(sites=(HOSTILE, "b"), labels=(HOSTILE,), seeds=(0,))
    rows = [replace(row, case=HOSTILE + row.case) for row in rows] + [
        replace(rows[0], method=HOSTILE, study=HOSTILE)
    ]
    overlay = replace(overlay_of(HOSTILE, 0.5, shift=1), site=HOSTILE, labels=(HOSTILE, "b"), case=HOSTILE)
    line = {
        "round": 1,
        "method": HOSTILE,
        "sites": {HOSTILE: {"dice": {HOSTILE: 0.5}}},
        "left_out": {HOSTILE: HOSTILE},
    }
    message = {
        "site": HOSTILE,
        "kind": HOSTILE,
        "tensors": {HOSTILE: [1]},
        "scalars": {HOSTILE: HOSTILE},
        "bytes": 3,
        "sha256": HOSTILE,
    }
    study = {
        "name": HOSTILE,
        HOSTILE: HOSTILE,
        "sites": [{"name": HOSTILE, "role": HOSTILE, "labels": [HOSTILE]}],
        "plan": {HOSTILE: HOSTILE},
    }
    text = render(ReportInputs(study, rows, [line], [message], [overlay], {HOSTILE: {HOSTILE: HOSTILE}}))
    assert HOSTILE in checked(text).text
    assert "<script" not in text


@pytest.mark.parametrize("part", ["study", "scores", "rounds", "ledger", "overlays", "cards"])
def test_any_part_may_be_absent_and_the_page_says_so(whole_report: ReportInputs, part: str) -> None:
    text = checked(render(replace(whole_report, **{part: {} if part in ("study", "cards") else ()}))).text
    assert "Not given to this report:" in text


def test_an_empty_report_is_a_page() -> None:
    text = checked(render(ReportInputs())).text
    assert "No case has been scored" in text and "No ledger was given" in text


def test_a_coordinators_report_says_that_the_sites_score_their_own_cases() -> None:
    sites = [{"name": "north", "role": "member", "labels": ["Liver"], "training": 12}]
    text = checked(render(ReportInputs({"name": "liver", "sites": sites}))).text
    assert "Each site has a report of its own" in text and "no site of this study" not in text


def test_one_site_one_label_one_seed_one_case(scores_of: Callable[..., list[Score]]) -> None:
    rows = scores_of(sites=("only",), labels=("Organ",), methods=("fedavg",), seeds=(0,), cases=1)
    text = checked(render(ReportInputs(scores=rows))).text
    assert "1 patient: too few for an interval" in text
    assert "nothing to compare with" in text and "One seed" in text


def test_undefined_scores_only(whole_report: ReportInputs) -> None:
    rows = [replace(row, dice=math.nan, hd95_mm=math.nan, nsd_1mm=math.nan) for row in whole_report.scores]
    text = checked(render(replace(whole_report, scores=rows))).text
    assert "no defined score" in text and "No Dice to draw" in text


def test_the_page_says_which_rounds_model_the_validation_dice_is_of(whole_report: ReportInputs) -> None:
    text = checked(render(whole_report)).text
    assert "begins at round 0, with the first weights, and ends one round before the last" in text
    assert "A site's own model is validated after the round's training." in text


def test_loss_is_drawn_where_no_dice_was_recorded() -> None:
    line = {"round": 1, "sites": {"north": {"loss": 0.7, "dice": {}}}}
    assert "training loss" in checked(render(ReportInputs(rounds=[line]))).text


def test_personal_models_and_outside_sites(scores_of: Callable[..., list[Score]]) -> None:
    rows = scores_of(sites=("a", "b"), methods=("fedbn",))
    personal = [replace(row, model="personal", owner=row.site) for row in rows]
    away = [
        replace(row, model="personal", owner=owner, site="away") for row in rows[:6] for owner in ("a", "b")
    ]
    text = checked(render(ReportInputs(scores=[*rows, *personal, *away]))).text
    assert "FedBN, personal" in text and "away" in text


def test_a_large_study_is_quick_and_small(
    scores_of: Callable[..., list[Score]], whole_report: ReportInputs, tmp_path: Path
) -> None:
    report = replace(whole_report, scores=scores_of(cases=40))
    start = time.perf_counter()
    path = write_report(tmp_path / "report.html", report)
    assert time.perf_counter() - start < 6
    assert path.stat().st_size < 3_000_000
