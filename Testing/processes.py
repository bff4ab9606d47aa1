"""The processes that a process started, as Linux tells them."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from pathlib import Path


def children(pid: int) -> list[int]:
    """Those that it started itself."""
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError, ValueError):
            parent = int((entry / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()[1])
            if parent == pid:
                found.append(int(entry.name))
    return found


def tree(pid: int) -> list[int]:
    """Itself, and all that it and they started."""
    return [pid, *(found for child in children(pid) for found in tree(child))]


def gone(pids: Sequence[int], *, within_s: float) -> bool:
    """Whether all of them end in time."""
    until = time.monotonic() + within_s
    while any(Path(f"/proc/{pid}").exists() for pid in pids):
        if time.monotonic() > until:
            return False
        time.sleep(0.05)
    return True
