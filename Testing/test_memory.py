"""Memory that was used goes back: seen from outside, in a process of its own."""

from __future__ import annotations

import subprocess
import sys

import pytest

PIECES = """
import threading
from pathlib import Path
from FedSegCore.memory import give_back_large_blocks

def resident():
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1024

def work():
    for _ in range(3):
        held = [bytearray(5 * 2**20) for _ in range(4)]
        del held
        kept.append(bytearray(1000))  # what stands behind a large block keeps a pool from shrinking

{call}
kept, before = [], resident()
threads = [threading.Thread(target=work) for _ in range(8)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(resident() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="of glibc")
def test_many_threads_that_held_large_pieces_keep_next_to_nothing() -> None:
    words = [sys.executable, "-c", PIECES.format(call="give_back_large_blocks()")]
    told = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    assert float(told) < 10, "MB"
