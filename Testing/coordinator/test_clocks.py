"""Sites whose clocks are an hour off, in real processes: Flower alone would refuse every call of theirs."""

from __future__ import annotations

from pathlib import Path

import pytest

from Testing.hospitals import Hospitals, write_study

FAKETIME = next(iter(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1")), None)
needs_faketime = pytest.mark.skipif(FAKETIME is None, reason="this system has no libfaketime")


@needs_faketime
@pytest.mark.slow
def test_sites_an_hour_ahead_and_an_hour_behind_take_part_and_say_so(tmp_path: Path) -> None:
    study = write_study(tmp_path, {"north": "", "south": ""}, methods=["fedavg"], rounds=1)
    made = Hospitals(tmp_path, study)
    try:
        made.serve()
        for name, off in (("north", "+3600"), ("south", "-3600")):
            made.environment = {
                "LD_PRELOAD": str(FAKETIME), "FAKETIME": off, "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            }  # fmt: skip
            made.join(name)
        made.finish()
        for name, way in (("north", "ahead of"), ("south", "behind")):
            warning = made.sites[name].until("warning")
            assert f"s {way} the hub's" in warning["message"] and "NTP" in warning["fix"]
    finally:
        made.stop()
