"""Settings and real images for all tests."""

from __future__ import annotations

import os
from pathlib import Path

os.environ.setdefault("MPLBACKEND", "Agg")

import pytest
import torch
from hypothesis import settings

settings.register_profile("fedseg", deadline=None, derandomize=True, database=None, max_examples=50)
settings.load_profile("fedseg")

PROJECT_ROOT = Path(__file__).resolve().parent.parent
REAL_DATA = Path(os.environ.get("FEDSEG_DATA", PROJECT_ROOT.parent / "shared" / "data"))


@pytest.fixture(scope="session", autouse=True)
def two_threads() -> None:
    """Bits depend on the number of threads, so every test machine uses the same."""
    torch.set_num_threads(2)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real images."""
    if not (REAL_DATA / "hippocampus" / "dataset.json").is_file():
        pytest.skip(f"real images not found at {REAL_DATA}; set FEDSEG_DATA")
    return REAL_DATA
