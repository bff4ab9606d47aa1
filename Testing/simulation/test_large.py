"""Studies whose prepared cases do not fit into memory."""

from __future__ import annotations

from pathlib import Path

import pytest

from FedSegCore.simulation import memory
from FedSegCore.simulation import run as runs
from Testing.command import CT_AND_MR, FEW_STEPS, fedseg, write_study


def test_a_study_with_its_cases_in_files_ends_as_in_memory_also_in_worker_processes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = write_study(tmp_path, CT_AND_MR, head='method = "fedavg"', rest=FEW_STEPS)
    assert fedseg("simulate", study, "--out", tmp_path / "memory").code == 0
    monkeypatch.setattr(runs, "IN_MEMORY", 0)
    kept: list[int] = []
    drop = runs.Cache.drop

    def counted(cache: runs.Cache) -> None:
        kept.append(len(list(cache.files.folder.iterdir())) if cache.files else 0)
        drop(cache)

    monkeypatch.setattr(runs.Cache, "drop", counted)
    assert fedseg("simulate", study, "--out", tmp_path / "files").code == 0
    assert fedseg("simulate", study, "--out", tmp_path / "workers", "--workers", 2).code == 0
    for name in ("scores.csv", "models/global.safetensors"):
        first, *others = ((tmp_path / way / name).read_bytes() for way in ("memory", "files", "workers"))
        assert others == [first, first], name
    assert kept == [7, 7], "two and three training cases, a test case each"
    assert not (tmp_path / "files" / "cache").exists() and not (tmp_path / "workers" / "cache").exists()
    (tmp_path / "files" / "cache" / "left by a kill").mkdir(parents=True)
    assert fedseg("simulate", study, "--out", tmp_path / "files", "--resume").code == 0
    assert not (tmp_path / "files" / "cache").exists()


def test_too_little_memory_is_told_before_training_with_what_will_fit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rest = FEW_STEPS.replace("patch = [8, 8, 8]", "patch = [16, 16, 12]").replace("rounds = 2", "rounds = 1")
    study = write_study(tmp_path, CT_AND_MR[:1], head='method = "local"', rest=rest)
    monkeypatch.setattr(memory, "PROGRAM", 0)
    monkeypatch.setattr(memory, "free_memory", lambda _: 2 * 10**6)
    told = fedseg("simulate", study, "--out", tmp_path / "warned", "--json")
    (warning,) = told.told("warning")
    assert told.code == 0 and "are free" in warning["message"] and "patch = [" in warning["fix"]
    monkeypatch.setattr(memory, "free_memory", lambda _: None)
    assert not fedseg("simulate", study, "--out", tmp_path / "unknown", "--json").told("warning")
