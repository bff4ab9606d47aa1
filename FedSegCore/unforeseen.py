"""What is said of an error that no code expected."""

from __future__ import annotations

from typing import Final

TRACEBACK: Final = "FEDSEG_TRACEBACK"
"""An environment variable; set to anything, an unforeseen error is shown with where it came from."""


def unforeseen(error: Exception) -> tuple[str, str]:
    """Message and fix for what no code expected: too little memory, or a bug."""
    told = f"{type(error).__name__}: {error}"
    if isinstance(error, ModuleNotFoundError):
        return (
            f"FedSeg lacks the Python package {error.name}.",
            "Install what FedSeg needs: in 3D Slicer under Setup, elsewhere by "
            "pip install -c constraints.txt -e . in its folder.",
        )
    if isinstance(error, MemoryError) or "memory" in str(error).lower():
        return (
            f"Memory ran out ({told}).",
            "Use a smaller batch_size or patch, fewer workers, or --device cpu.",
        )
    return (
        f"FedSeg failed in a way it did not foresee ({told}).",
        f"Report it with what {TRACEBACK}=1 shows.",
    )
