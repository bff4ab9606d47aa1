"""Hospitals whose clocks are an hour off take part: every process of theirs is started with another time."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from Testing.hospitals import ROOT, Hospitals, write_study

pytestmark = [pytest.mark.slow]

ANOTHER_TIME = """
import datetime
import time

SHIFT = {seconds}
here, here_ns = time.time, time.time_ns
time.time = lambda: here() + SHIFT
time.time_ns = lambda: here_ns() + SHIFT * 10**9


class Shifted(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return super().now(tz) + datetime.timedelta(seconds=SHIFT)


datetime.datetime = Shifted
"""


@pytest.mark.parametrize("seconds", [3600, -3600])
def test_a_site_whose_clock_is_an_hour_off_takes_part_and_is_told(tmp_path: Path, seconds: int) -> None:
    (tmp_path / "clock").mkdir()
    (tmp_path / "clock" / "sitecustomize.py").write_text(ANOTHER_TIME.format(seconds=seconds))
    study = write_study(tmp_path, {"north": "", "south": ""}, methods=["fedavg"], rounds=2, cases=2)
    hospitals = Hospitals(
        tmp_path, study, environment={"PYTHONPATH": os.pathsep.join([str(tmp_path / "clock"), str(ROOT)])}
    )
    try:
        hospitals.serve()
        for name in ("north", "south"):
            hospitals.join(name)
        hospitals.finish()
        way = "ahead of" if seconds > 0 else "behind"
        for site in hospitals.sites.values():
            warnings = [told["message"] for told in site.events() if told["event"] == "warning"]
            assert any(f"{way} the hub's" in message for message in warnings), warnings
    finally:
        hospitals.stop()
