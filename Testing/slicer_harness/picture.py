"""Pictures of widgets, as PNG, with the fonts of this computer."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any


def save_picture(widget: Any, path: Path, *, width: int = 440, height: int = 0) -> Path:
    """Draws a widget as it would be seen on a screen.

    Args:
        height: in pixels; 0: as much as the widget needs at this width.
    """
    app = sys.modules["slicer"].app  # type: ignore[attr-defined]
    widget.show()
    for size in (height or 10, height or 0):
        needed = widget.layout().totalHeightForWidth(width) if widget.layout() else widget.sizeHint().height()
        widget.resize(width, size or max(needed, widget.minimumSizeHint().height()))
        app.processEvents()
    if not widget.grab().save(str(path)):
        raise OSError(f"{path} could not be written")
    return path
