"""A folder to give CMake as Slicer_DIR where there is no Slicer: enough to build, test and pack the extension."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

CMAKE = Path(__file__).with_name("cmake")


def write_mock(folder: Path, *, version: str = "5.12", launcher: Sequence[str] = ()) -> Path:
    """Makes the folder.

    With SLICER_SOURCE_DIR and CTK_SOURCE_DIR in the environment, both source checkouts, Slicer's own macros run in
    place of FedSeg's of the same names.

    Args:
        folder: where; made if need be.
        version: Slicer's, as it stands in the names of folders.
        launcher: the words that start Slicer, or what stands for it; none: no tests are added.

    Returns:
        The folder, for -DSlicer_DIR.
    """
    folder.mkdir(parents=True, exist_ok=True)
    text = (CMAKE / "SlicerConfig.cmake.in").read_text()
    values = {
        "version": version,
        "launcher": " ".join(f'"{word}"' for word in launcher),
        "python": sys.executable,
        "mock": CMAKE.as_posix(),
        "slicer_source": os.environ.get("SLICER_SOURCE_DIR", ""),
        "ctk_source": os.environ.get("CTK_SOURCE_DIR", ""),
    }
    for key, value in values.items():
        text = text.replace(f"@{key}@", value)
    (folder / "SlicerConfig.cmake").write_text(text)
    return folder
