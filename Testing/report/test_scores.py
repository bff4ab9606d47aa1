from __future__ import annotations

import errno
import math
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from FedSegCore.errors import DataError, StorageError
from FedSegCore.report.scores import (
    COLUMNS,
    Score,
    final_scores,
    join_scores,
    read_all,
    read_scores,
    write_scores,
)

ROW = Score(
    study="five scanners",
    method="fedgin",
    seed=0,
    round=20,
    model="global",
    owner="",
    site="north",
    modalities="T1+FLAIR",
    case="hippocampus_001",
    label="Anterior",
    dice=0.1 + 0.2,
    hd95_mm=math.nan,
    nsd_1mm=1.0,
)


def test_the_header_is_the_contract(tmp_path: Path) -> None:
    path = write_scores(tmp_path / "runs" / "scores.csv", [ROW])
    assert path.read_text().splitlines() == [
        "study,method,seed,round,model,owner,site,modalities,case,label,dice,hd95_mm,nsd_1mm",
        "five scanners,fedgin,0,20,global,,north,T1+FLAIR,hippocampus_001,Anterior,0.30000000000000004,,1.0",
    ]


def test_what_is_written_is_read_back_exactly(tmp_path: Path) -> None:
    hostile = replace(ROW, site='a,"b"\nc', case="Ünï; cøde", owner="north", model="personal", dice=1 / 3)
    read = read_scores(write_scores(tmp_path / "scores.csv", [ROW, hostile]))
    assert [row.identity for row in read] == [ROW.identity, hostile.identity]
    assert read[0].dice == ROW.dice and read[1].dice == 1 / 3
    assert math.isnan(read[0].hd95_mm)


def test_numbers_of_numpy_are_written_as_numbers(tmp_path: Path) -> None:
    row = replace(ROW, dice=np.float32(0.5), hd95_mm=np.float32(np.nan), nsd_1mm=np.float64(0.25))  # type: ignore[arg-type]
    read = read_scores(write_scores(tmp_path / "scores.csv", [row]))[0]
    assert (read.dice, read.nsd_1mm) == (0.5, 0.25) and math.isnan(read.hd95_mm)


def test_a_union_keeps_every_row_and_the_later_file_counts(tmp_path: Path) -> None:
    other = replace(ROW, seed=1)
    first = write_scores(tmp_path / "a.csv", [ROW, other])
    second = write_scores(tmp_path / "b.csv", [replace(ROW, dice=0.9), replace(ROW, method="fedavg")])
    union = read_all([first, second])
    assert [(row.method, row.seed, row.dice) for row in union] == [
        ("fedgin", 0, 0.9),
        ("fedgin", 1, ROW.dice),
        ("fedavg", 0, ROW.dice),
    ]
    assert join_scores([]) == []


def test_no_rows_make_a_file_with_a_header_only(tmp_path: Path) -> None:
    path = write_scores(tmp_path / "scores.csv", [])
    assert path.read_text() == ",".join(COLUMNS) + "\n"
    assert read_scores(path) == []


def test_only_the_last_scored_round_of_each_run_is_final() -> None:
    rows = [replace(ROW, round=10), ROW, replace(ROW, seed=1, round=10)]
    assert [(row.seed, row.round) for row in final_scores(rows)] == [(0, 20), (1, 10)]


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = write_scores(tmp_path / "scores.csv", [ROW])
    with pytest.raises(DataError, match="globel"):
        write_scores(path, [replace(ROW, model="globel")])
    assert len(read_scores(path)) == 1
    assert [entry.name for entry in tmp_path.iterdir()] == ["scores.csv"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("study,method\n", "missing: seed"),
        (",".join(COLUMNS) + "\ns,m,x,1,global,,n,T1,c,L,0.5,,\n", "line 2"),
        (",".join(COLUMNS) + "\ns,m,0,1,globl,,n,T1,c,L,0.5,,\n", "globl"),
        (",".join(COLUMNS) + "\ns,m,0,1,global,,n,T1,c,L,half,,\n", "half"),
    ],
)
def test_a_damaged_file_is_named_with_its_fault(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "scores.csv"
    path.write_text(text)
    with pytest.raises(DataError, match=says) as caught:
        read_scores(path)
    assert str(path) in str(caught.value) and caught.value.fix


def test_an_absent_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="found none"):
        read_scores(tmp_path / "scores.csv")


def test_a_full_disk_names_the_file_and_leaves_the_old_one_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    path = write_scores(tmp_path / "scores.csv", [ROW])
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match=r"scores\.csv could not be written: No space left"):
        write_scores(path, [])
    assert len(read_scores(path)) == 1
    assert [entry.name for entry in tmp_path.iterdir()] == ["scores.csv"]
