"""Prepared cases in files, for studies whose images do not fit into memory.

A folder for each case holds plain .npy arrays, which are mapped into memory whenever they are asked for and let go
right after: what stays is the system's file cache, which it may take back. The folder's name is a digest of the
case's own files and of all that its preparation depends on, so that nothing stale is ever found. It appears whole or
not at all, whichever of several processes made it, and may be deleted at any time between two runs.
"""

from __future__ import annotations

import glob
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, final

import numpy as np

from FedSegCore.data.imagefiles import image_stem
from FedSegCore.errors import StorageError

CACHE: Final = "cache"
"""Their folder in that of a study, of a site or of the coordinator."""
IN_MEMORY: Final = 2 * 2**30
"""Bytes of prepared cases up to which a study keeps them in memory."""
_VERSION: Final = 1
"""Of the preparation; a change of what it makes of a case changes this number."""


@final
class FiledArrays(Mapping[str, np.ndarray]):
    """Arrays in a folder, by name; each access maps the file anew, changes stay in memory."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._names = sorted(path.stem for path in folder.glob("*.npy"))

    def __getitem__(self, name: str) -> np.ndarray:
        """The array, as long as somebody holds it."""
        if name not in self._names:
            raise KeyError(name)
        array: np.ndarray = np.load(self._folder / f"{name}.npy", mmap_mode="c")
        return array

    def __iter__(self) -> Iterator[str]:
        """The names, sorted."""
        return iter(self._names)

    def __len__(self) -> int:
        """How many arrays there are."""
        return len(self._names)


@final
class CaseFiles:
    """A folder of prepared cases, which several processes may use at once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def keep(self, key: str, make: Callable[[], Mapping[str, np.ndarray]]) -> FiledArrays:
        """The arrays of one key, made and written where they are not there yet.

        Raises:
            StorageError: the disk is full or the folder cannot be written to; nothing is left behind.
        """
        place = self.folder / key
        if not place.is_dir():
            self._write(place, make())
        return FiledArrays(place)

    def _write(self, place: Path, arrays: Mapping[str, np.ndarray]) -> None:
        part = place.with_name(f".{os.getpid()}-part-{place.name}")
        try:
            part.mkdir(parents=True, exist_ok=True)
            for name, array in arrays.items():
                with (part / f"{name}.npy").open("wb") as file:
                    np.save(file, array)
                    file.flush()
                    os.fsync(file.fileno())
            part.rename(place)
        except OSError as error:
            if not place.is_dir():  # another process may have been the first
                raise StorageError(place, error) from error
        finally:
            shutil.rmtree(part, ignore_errors=True)

    def remove(self) -> None:
        """Delete the folder, with whatever an ended process left half written in it."""
        shutil.rmtree(self.folder, ignore_errors=True)


def digest_of(files: Sequence[Path], settings: Mapping[str, Any]) -> str:
    """A name for what comes of some files under some settings: their bytes and order count, their paths do not."""
    digest = hashlib.sha256(json.dumps([_VERSION, settings], sort_keys=True).encode())
    for path in files:
        for part in _parts(path):
            with part.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
        digest.update(b"/")
    return digest.hexdigest()[:32]


def _parts(path: Path) -> list[Path]:
    """An image's files: a DICOM folder's slices; a header that may name another file with those of its stem."""
    if path.is_dir():
        return sorted(one for one in path.iterdir() if one.is_file())
    if path.suffix.lower() != ".mhd":
        return [path]
    alike = path.parent.glob(f"{glob.escape(image_stem(path))}.*")
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    named = (line.partition("=")[2].strip() for line in lines if line.startswith("ElementDataFile"))
    return sorted(
        {path, *alike, *(file for file in (path.parent / name for name in named) if file.is_file())}
    )
