"""Settings and real images for all tests."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

os.environ.setdefault("MPLBACKEND", "Agg")

import pytest
import torch
from hypothesis import settings

from Testing.command import FEW_STEPS, Finished, SmallSite, fedseg, write_study

settings.register_profile("fedseg", deadline=None, derandomize=True, database=None, max_examples=50)
settings.load_profile("fedseg")

PROJECT_ROOT = Path(__file__).resolve().parent.parent
REAL_DATA = Path(os.environ.get("FEDSEG_DATA", PROJECT_ROOT.parent / "shared" / "data"))


@pytest.fixture(scope="session", autouse=True)
def two_threads() -> None:
    """Bits depend on the number of threads, so every test machine uses the same."""
    torch.set_num_threads(2)


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Networks of a few kilobytes wait longer for a second thread than they compute."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real images."""
    if not (REAL_DATA / "hippocampus" / "dataset.json").is_file():
        pytest.skip(f"real images not found at {REAL_DATA}; set FEDSEG_DATA")
    return REAL_DATA


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """FedGIN with personal models over a CT and an MR site; a third hospital only tests."""
    folder = tmp_path_factory.mktemp("finished")
    sites = [
        SmallSite("ct", "ct", 2),
        SmallSite("mr", "mr", 3, keys={"publish_personal": True}),
        SmallSite("away", "mr_inverted", 1, keys={"role": "outside"}),
    ]
    rest = FEW_STEPS + "[method_options]\npersonal = 0.1\n"
    study = write_study(folder, sites, head='method = "fedgin"', rest=rest)
    out = folder / "out"
    return Finished(study, out, fedseg("simulate", study, "--out", out, "--json"))
