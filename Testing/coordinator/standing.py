"""Facts of a study as the status page is given them."""

from __future__ import annotations

import time
from typing import Any

Facts = dict[str, Any]
RUN = "fedgin-seed0"


def site(state: str, *, seen: float | None = 1.0, **facts: Any) -> Facts:
    """One site's; `seen` seconds ago."""
    heard = {} if seen is None else {"seen": time.time() - seen}
    return {"state": state, "messages": 0, "bytes_up": 0, "bytes_down": 0, **heard, **facts}


def standing(state: str, sites: Facts, **facts: Any) -> Facts:
    """The whole study's."""
    return {
        "study": "Liver and kidney", "state": state, "runs": [RUN], "run": "", "round": 0, "total": 20,
        "eta_s": None, "min_sites": 2, "folder": "/srv/study", "sites": sites, "rounds": [], "lost": [],
        "time": time.time(), **facts,
    }  # fmt: skip


def line(number: int, dice: dict[str, dict[str, float]], left_out: dict[str, str] | None = None) -> Facts:
    """One round's; `dice` of each site that took part."""
    sites = {
        name: {"seconds": 1.0, "bytes": 9, "loss": 1 / number, "dice": told} for name, told in dice.items()
    }
    return {"run": RUN, "round": number, "total": 20, "sites": sites, "left_out": left_out or {}}


def running() -> Facts:
    """Round 7 of 20 is done; island is lost, south's update was rejected once."""
    dice = [{name: {"Kidney": 0.1 * n - k, "Liver": 0.1 * n} for name, k in
             (("island", 0.0), ("north", 0.02), ("south", 0.05))} for n in range(1, 8)]  # fmt: skip
    why = "it is not connected."
    rounds = [line(n, told) for n, told in enumerate(dice, start=1)]
    rounds[2] = line(3, {n: dice[2][n] for n in ("island", "north")}, {"south": "its update is not finite."})
    rounds[5:] = [
        line(n, {name: dice[n - 1][name] for name in ("north", "south")}, {"island": why}) for n in (6, 7)
    ]
    lost = [(3, "south", "its update is not finite.", 1), (6, "island", why, 1), (7, "island", why, 2)]
    return standing(
        "running",
        {
            "island": site("lost", seen=184, cases=9, round=7, messages=5, bytes_up=11_800_000, bytes_down=1000),
            "north": site("training", cases=18, round=8, messages=7, bytes_up=16_500_000, bytes_down=18_800_000),
            "south": site("sent", cases=14, round=8, messages=8, bytes_up=18_800_000, bytes_down=18_800_000),
        },
        run=RUN, round=7, eta_s=2312.0, rounds=rounds,
        lost=[{"run": RUN, "round": n, "site": name, "reason": told, "times": t} for n, name, told, t in lost],
    )  # fmt: skip


def waiting() -> Facts:
    """One of three sites has joined, one is invited."""
    sites = {
        "island": site("invited", seen=None, expires=time.time() + 86400),
        "north": site("joined", cases=18),
        "south": site("uninvited", seen=None),
    }
    return standing("waiting", sites)
