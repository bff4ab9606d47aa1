"""How memory that was used goes back to the system."""

from __future__ import annotations

import contextlib
import ctypes
import sys
from typing import Final

LARGE: Final = 2**20
_MMAP_THRESHOLD, _ARENA_MAX = -3, -8
"""Numbers of options in glibc's malloc.h."""
_ARENAS: Final = 2


def give_back_large_blocks() -> None:
    """Let blocks of at least `LARGE` bytes go back to the system as soon as they are freed.

    glibc keeps freed blocks of up to 32 MB for later, in a pool for each few threads. A process in which many threads
    hand on pieces of models would keep many times what it ever held at once. Other C libraries are left as they are.
    """
    if sys.platform == "linux":
        with contextlib.suppress(AttributeError, OSError):
            library = ctypes.CDLL(None)
            library.mallopt(_MMAP_THRESHOLD, LARGE)
            library.mallopt(_ARENA_MAX, _ARENAS)
