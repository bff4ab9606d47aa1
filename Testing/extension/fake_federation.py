"""A hospital's verbs of the fake `fedseg`: a recorded study, and the files that a site keeps."""

import json
import os
import time
from pathlib import Path

RECORDED = Path(__file__).with_name("joined.jsonl")
SECRET = "a-credential-that-nobody-may-see"
HOPS = ("DNS: hub.example.org is 192.0.2.7", "TCP: connected", "TLS: certificate of the invitation")
TICK = 0.01


def run(words, how):
    """The exit code of a verb; None if it is not one of a hospital's."""
    verbs = {
        "join": join,
        "test-connection": connect,
        "pause": mark,
        "resume": mark,
        "leave": mark,
        "status": status,
    }
    return verbs[words[0]](words, how) if words[0] in verbs else None


def tell(event, **fields):
    print(json.dumps({"event": event, **fields}), flush=True)


def fail(message, fix):
    tell("error", message=message, fix=fix)
    return 2


def join(words, how):
    """Takes part. "refuse": the data have a fault; "crash": it dies after a round; "wait": it goes on until it has
    left."""
    folder, invitation = Path(words[words.index("--site-dir") + 1]), Path(words[2])
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "site.json").write_text('{"site": "north"}')
    if how == "refuse":
        tell("problem", file="imagesTr/a.nii.gz", severity="error", message="Torn.", fix="Mend.")
        return fail("The dataset has an error.", "Correct it and join again.")
    if "--accept" not in words and not (folder / "consent.json").exists():
        return fail("Nobody has agreed to what leaves.", "Agree to it.")
    content = invitation.read_bytes()
    (folder / "invitation.fedseg").write_bytes(content)
    for name, text in (("consent.json", "{}"), ("credential", SECRET)):
        (folder / name).write_text(text)
    for line in RECORDED.read_text().splitlines():
        happen(json.loads(line), folder)
        if '"sent"' in line and how == "crash":
            os._exit(9)
        if '"sent"' in line and how in ("wait", "turned away"):
            return wait(folder, how)
    return 0


def happen(event, folder):
    if event["event"] == "ledger":
        with (folder / "ledger.jsonl").open("a") as ledger:
            ledger.write(json.dumps({key: value for key, value in event.items() if key != "event"}) + "\n")
    if event["event"] == "model":
        path = folder / event["path"]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        event["path"] = str(path)
    print(json.dumps(event), flush=True)


def wait(folder, how):
    """Rests while it is paused, and ends when it has left, each of which it tells; or it is turned away then."""
    told = "sent"
    for _tick in range(round(60 / TICK)):
        state = next((name for name in ("left", "paused") if (folder / name).exists()), "training")
        if state != told and not (told == "sent" and state == "training"):
            tell("site_state", site="north", state=state)
            told = state
        if state == "left" and how == "turned away":
            return fail("The study does not know this site.", "Ask the coordinator.")
        if state == "left":
            tell("result", summary={})
            return 0
        time.sleep(TICK)
    return 1


def mark(words, how):
    folder = Path(words[words.index("--site-dir") + 1])
    marker = folder / {"pause": "paused", "resume": "paused", "leave": "left"}[words[0]]
    if words[0] == "resume":
        marker.unlink()
    else:
        marker.touch()
    tell("result", summary={})
    return 0


def status(words, how):
    tell("result", summary={"state": "training", "round": 2, "total": 3})
    return 0


def connect(words, how):
    for place, hop in enumerate(HOPS, start=1):
        tell("progress", stage="connect", value=place / 4, message=hop, eta_s=None)
    if how == "refuse":
        tell("progress", stage="connect", value=1.0, message="gateway: another server answers", eta_s=None)
        return fail("The gateway does not answer as one.", "Ask your IT whether a proxy stands in between.")
    tell("result", summary={"hops": []})
    return 0
