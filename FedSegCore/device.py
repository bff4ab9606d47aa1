"""Which device a verb computes on."""

from __future__ import annotations

import ctypes
import ctypes.util
import sys

import torch

from FedSegCore.errors import UsageError


def choose_device(name: str) -> torch.device:
    """`auto` takes CUDA where there is one; on the CPU memory is kept between steps (`keep_freed_memory`).

    Raises:
        UsageError: CUDA is asked for and there is none.
    """
    if name == "cuda" and not torch.cuda.is_available():
        raise UsageError(
            "No CUDA device was found by torch.", "Use --device cpu, or install a CUDA build of torch."
        )
    keep_freed_memory()
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


def keep_freed_memory() -> None:
    """Let glibc keep what a step frees for the next step.

    By default it hands every large block back to the kernel and asks for it again; on CPUs that takes small 3-D
    networks nearly as long as their convolutions. Volumes of a quarter of a gigabyte and more do go back. Other
    systems' allocators are left alone.
    """
    name = ctypes.util.find_library("c") if sys.platform == "linux" else None
    mallopt = getattr(ctypes.CDLL(name), "mallopt", None) if name else None
    if mallopt is not None:
        for option, value in (
            (_M_MMAP_THRESHOLD, 2**28),
            (_M_TRIM_THRESHOLD, 2**31 - 1),
            (_M_TOP_PAD, 2**28),
        ):
            mallopt(option, value)


_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD = -1, -2, -3
"""The options' numbers in glibc's malloc.h."""
