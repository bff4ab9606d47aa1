"""What FedSeg makes of a dataset lies beside it, or with the user where that cannot be."""

from __future__ import annotations

import errno
import re
import tempfile
from pathlib import Path
from typing import Any

import pytest
from FedSegLib.places import placeFor, placeMessages


@pytest.fixture
def dataset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A dataset on a share, and a user's folder elsewhere."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("USERPROFILE", str(tmp_path / "home"))
    folder = tmp_path / "share" / "liver"
    folder.mkdir(parents=True)
    return folder


def test_it_lies_beside_the_dataset_and_nothing_is_said_of_it(dataset: Path) -> None:
    place = placeFor(dataset, "training")
    assert place == dataset.parent / "liver-training" and not placeMessages(dataset, place / "training-001")
    assert [path.name for path in dataset.parent.iterdir()] == ["liver"], "to try leaves nothing"


@pytest.fixture
def read_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing can be written beside any dataset."""

    def refuse(*_words: Any, dir: Path, **_more: Any) -> Any:
        raise OSError(errno.EROFS, "Read-only file system", str(dir))

    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)


@pytest.mark.usefixtures("read_only")
def test_beside_a_dataset_on_a_read_only_share_it_lies_with_the_user_and_that_is_said(
    dataset: Path, tmp_path: Path
) -> None:
    place = placeFor(dataset, "federation")
    assert place.parent == tmp_path / "home" / "FedSeg"
    assert re.fullmatch("liver-federation-[0-9a-f]{8}", place.name)
    (message,) = placeMessages(dataset, place / "fedseg-study-north")
    assert (
        message.text.startswith("Nothing can be written beside the dataset;") and str(place) in message.text
    )


@pytest.mark.usefixtures("read_only")
def test_datasets_of_one_name_on_two_read_only_shares_keep_apart_and_each_is_found_again(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "other" / "liver"
    assert placeFor(dataset, "training") != placeFor(other, "training")
    monkeypatch.chdir(dataset.parent)
    assert placeFor(Path("liver"), "training") == placeFor(dataset, "training")
