"""Which device a verb computes on."""

from __future__ import annotations

import torch

from FedSegCore.errors import UsageError


def choose_device(name: str) -> torch.device:
    """`auto` takes CUDA where there is one.

    Raises:
        UsageError: CUDA is asked for and there is none.
    """
    if name == "cuda" and not torch.cuda.is_available():
        raise UsageError(
            "No CUDA device was found by torch.", "Use --device cpu, or install a CUDA build of torch."
        )
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)
