"""Files that are replaced in one step."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from pathlib import Path

from FedSegCore.errors import StorageError


def write_atomic(path: Path, data: bytes) -> None:
    """Write bytes so that a reader, or a restart after a crash, sees the old file or the new one, never half.

    Raises:
        StorageError: the disk is full or the folder cannot be written to; the old file is untouched.
    """
    _replace(path, path.with_name(f".{path.name}.partial"), data)


def write_private(path: Path, data: bytes) -> None:
    """As `write_atomic`, a file that only its owner reads, from its first byte on.

    Raises:
        StorageError: the disk is full or the folder cannot be written to; the old file is untouched.
    """
    partial = path.with_name(f".{path.name}.private")
    try:
        partial.unlink(missing_ok=True)  # what a crash left may be readable by others
    except OSError as error:
        raise StorageError(path, error) from error
    _replace(path, partial, data, opener=lambda name, flags: os.open(name, flags | os.O_EXCL, 0o600))


def _replace(
    path: Path, partial: Path, data: bytes, *, opener: Callable[[str, int], int] | None = None
) -> None:
    """Write the data beside the file, then put it in its place."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(partial, "wb", opener=opener) as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
        raise StorageError(path, error) from error
