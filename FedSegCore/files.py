"""Files that are replaced in one step."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from FedSegCore.errors import StorageError


def write_atomic(path: Path, data: bytes) -> None:
    """Write bytes so that a reader, or a restart after a crash, sees the old file or the new one, never half.

    Raises:
        StorageError: the disk is full or the folder cannot be written to; the old file is untouched.
    """
    partial = path.with_name(f".{path.name}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
        raise StorageError(path, error) from error
