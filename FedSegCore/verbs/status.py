"""`fedseg status`: how a study goes, from the file that its process keeps."""

from __future__ import annotations

import json
import time
from argparse import Namespace
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from FedSegCore.console import Console
from FedSegCore.coordinator import words
from FedSegCore.coordinator.words import SILENT_S, ago, number, size, span
from FedSegCore.errors import UsageError
from FedSegCore.federation.ledger import read_lines

FILE = "status.json"


def run(arguments: Namespace, console: Console) -> int:
    """Read `status.json` of a served folder or of a site's."""
    path = arguments.folder / FILE if arguments.folder.is_dir() else arguments.folder
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
        lines = list(_coordinator(facts) if "runs" in facts else _site(path, facts))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise UsageError(
            f"{arguments.folder} is not the folder of a study across hospitals.",
            "Give the folder of `fedseg serve --out` or of `fedseg join --site-dir`.",
        ) from None
    for line in lines:
        console.say("".join(letter if letter.isprintable() else "?" for letter in line))
    console.result(facts, path=arguments.folder)
    return 0


def _coordinator(facts: Mapping[str, Any]) -> Iterator[str]:
    """A study that is served: its state, a line a site, and what was left out last."""
    yield facts["study"]
    yield f"{words.state_of(facts).text}{_where(facts)}"
    if (old := time.time() - facts["time"]) > SILENT_S and facts["state"] != "finished":
        yield f"As of {ago(old)}. The coordinator does not run: start `fedseg serve` again; the study goes on."
    yield ""
    heads = ("site", "state", "last heard of", "round", "cases", "Dice", "up", "down")
    yield from _aligned([heads, *(_row(facts, name) for name in facts["sites"])])
    if facts["state"] != "finished" and (short := words.shortage(facts)):
        yield f"{short} {words.remedy(facts)}"
    for one in facts["lost"][-5:]:
        yield f"Left out of round {one['round']} of {one['run']}: {one['site']}: {one['reason']}"
    for name in words.to_invite(facts) if facts["state"] != "finished" else ():
        yield f"To invite {name}: fedseg invite {name} --from {facts['folder']} -o {name}.fedseg"
    yield f"Status page: /status at the study's address; its login stands in {facts['folder']}/coordinator/login"


def _site(path: Path, facts: Mapping[str, Any]) -> Iterator[str]:
    """A site's own end: the study's state, what this site does, what left it and what came."""
    folder, site = path.parent, facts["site"]
    yield facts["study"]
    yield f"{facts['state'].capitalize()}{_where(facts)}"
    state = facts["sites"].get(site, "not joined")
    marks = [word for mark, word in (("paused", "pauses"), ("left", "has left")) if (folder / mark).exists()]
    yield f"This site, {site}: {' and '.join(marks) or state}"
    others = [f"{name} {told}" for name, told in sorted(facts["sites"].items()) if name != site]
    yield from [f"Other sites: {', '.join(others)}"] if others else []
    sent = read_lines(folder / "ledger.jsonl")
    total = size(sum(line["bytes"] for line in sent))
    yield f"Left this site: {len(sent)} messages, {total}; each stands in {folder / 'ledger.jsonl'}"
    for model in sorted(folder.glob("runs/*/models/*.safetensors")):
        yield f"Model: {model}"
    old = time.time() - path.stat().st_mtime
    if old > SILENT_S and facts["state"] != "finished" and "left" not in marks:
        yield f"As of {ago(old)}. If `fedseg join` does not run here, start it again; the study goes on."


def _where(facts: Mapping[str, Any]) -> str:
    """Round and time left, where there is a run."""
    if not facts["run"]:
        return ""
    left = facts["eta_s"]
    rest = f", about {span(left)} left" if left and facts["state"] == "running" else ""
    return f": {facts['run']}, round {facts['round']} of {facts['total']} done{rest}"


def _row(facts: Mapping[str, Any], name: str) -> Sequence[str]:
    one, why = facts["sites"][name], words.why(facts, name)
    state = words.site_words(facts, name).text
    return (
        name, f"{state} ({why})" if why else state, words.heard(facts, name), str(one.get("round", words.ABSENT)),
        str(one.get("cases", words.ABSENT)), number(words.mean(words.last_dice(facts, name))),
        size(one.get("bytes_up", 0)), size(one.get("bytes_down", 0)),
    )  # fmt: skip


def _aligned(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Rows as lines, each column as wide as it must be."""
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(f"{cell:<{wide}}" for cell, wide in zip(row, widths, strict=True)).rstrip()
