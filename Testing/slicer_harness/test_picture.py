"""Pictures of widgets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from Testing.slicer_harness.picture import save_picture


def test_a_picture_shows_the_texts_of_a_widget(qt: Any, tmp_path: Path) -> None:
    pictures = []
    for text in ("Segment", "Cancel"):
        path = save_picture(qt.QPushButton(text), tmp_path / f"{text}.png", width=200, height=30)
        pictures.append(qt.QImage(str(path)))
    assert pictures[0].width() == 200 and pictures[0] != pictures[1]
