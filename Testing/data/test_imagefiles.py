from __future__ import annotations

from pathlib import Path

import pytest

from FedSegCore.data.imagefiles import channel_of


@pytest.mark.parametrize(
    ("name", "case", "channel"),
    [
        ("MS_07_0002.nii.gz", "MS_07", 2),
        ("a_0000.seg.nrrd", "a", 0),
        ("a.nii.gz", "a", None),
        ("a_012.nii.gz", "a_012", None),
        ("_0000.nii.gz", "_0000", None),
        ("series_0001", "series", 1),
    ],
)
def test_a_name_tells_its_case_and_channel(name: str, case: str, channel: int | None) -> None:
    assert channel_of(Path(name)) == (case, channel)
