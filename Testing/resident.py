"""By how much this process grows while it does something."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from pathlib import Path

import pytest


def peak_mib(work: Callable[[], object]) -> float:
    """The largest resident memory while something is done, above that of before, in MiB; Linux alone tells."""
    refs = Path("/proc/self/clear_refs")
    if not refs.exists():
        pytest.skip("only Linux lets a process measure its own peak anew")
    if hasattr(libc := ctypes.CDLL(None), "malloc_trim"):
        libc.malloc_trim(0)
    refs.write_text("5")
    before = _resident("VmRSS:")
    work()
    return _resident("VmHWM:") - before


def _resident(key: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    (line,) = (line for line in lines if line.startswith(key))
    return int(line.split()[1]) / 1024
