"""`fedseg status` of a served folder and of a site's."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

from FedSegCore.federation.ledger import append_line
from Testing.command import fedseg
from Testing.coordinator.standing import running, waiting


def folder(path: Path, facts: dict[str, Any]) -> Path:
    path.mkdir(exist_ok=True)
    (path / "status.json").write_text(json.dumps(facts))
    return path


def at_site(**facts: Any) -> dict[str, Any]:
    return {
        "study": "Liver and kidney", "state": "running", "run": "fedgin-seed0", "round": 7, "total": 20,
        "eta_s": 600.0, "sites": {"north": "training", "south": "sent"}, "site": "north", **facts,
    }  # fmt: skip


def test_a_served_study_is_told_a_line_a_site(tmp_path: Path) -> None:
    text = fedseg("status", folder(tmp_path, running())).out
    lines = text.splitlines()
    assert lines[0] == "Liver and kidney" and "round 7 of 20 done, about 39 min left" in lines[1]
    north = next(line for line in lines if line.startswith("north"))
    assert all(word in north for word in ("trains round 8", "just now", "18", "0.690", "16.5 MB", "18.8 MB"))
    assert "left out of round 7: it is not connected." in text and "does not run" not in text


def test_who_is_missing_is_told_with_the_command_that_invites(tmp_path: Path) -> None:
    text = fedseg("status", folder(tmp_path, waiting())).out
    assert (
        "1 of the 2 sites needed" in text and "fedseg invite south --from /srv/study -o south.fedseg" in text
    )


def test_the_json_is_the_file(tmp_path: Path) -> None:
    facts = running()
    assert fedseg("status", folder(tmp_path, facts), "--json").result["summary"] == facts


def test_a_coordinator_that_wrote_nothing_for_long_does_not_run(tmp_path: Path) -> None:
    old = {**running(), "time": time.time() - 7200}
    assert "As of 2.0 h ago. The coordinator does not run" in fedseg("status", folder(tmp_path, old)).out


def test_a_site_sees_what_it_does_what_left_it_and_what_came(tmp_path: Path) -> None:
    site = folder(tmp_path, at_site())
    for size in (1000, 500):
        append_line(site / "ledger.jsonl", {"bytes": size})
    model = site / "runs" / "fedgin-seed0" / "models" / "global.safetensors"
    model.parent.mkdir(parents=True)
    model.write_bytes(b"")
    text = fedseg("status", site).out
    assert "This site, north: training" in text and "Other sites: south sent" in text
    assert "2 messages, 2 kB" in text and str(model) in text and "about 10 min left" in text


def test_a_site_that_pauses_or_is_off_says_so(tmp_path: Path) -> None:
    site = folder(tmp_path, at_site())
    (site / "paused").touch()
    os.utime(site / "status.json", (0, time.time() - 120))
    text = fedseg("status", site).out
    assert "This site, north: pauses" in text and "As of 2 min ago" in text


def test_what_others_named_writes_no_control_characters(tmp_path: Path) -> None:
    out = fedseg("status", folder(tmp_path, at_site(study="a\x1b[2Jb"))).out
    assert "\x1b" not in out and "a?[2Jb" in out


def test_any_other_folder_is_refused_in_one_sentence(tmp_path: Path) -> None:
    for facts in ({}, {"study": "s"}, {"study": "s", "runs": 3}):
        outcome = fedseg("status", folder(tmp_path, facts))
        assert outcome.code == 2 and "is not the folder of a study" in outcome.err
    assert fedseg("status", tmp_path / "nothing").code == 2
