"""What a training of several epochs has come to, kept at the end of each: a kill then costs one epoch."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import final

import torch
from torch import Tensor

from FedSegCore.errors import ModelFileError
from FedSegCore.tensors import tensorfile
from FedSegCore.tensors.weights import Weights

_GENERATOR = "generator/state"


@final
@dataclass(frozen=True, eq=False)
class Saved:
    """What a stage left behind: tensors by `PART/NAME`, and how much of it was done."""

    tensors: Weights
    done: int

    def part(self, name: str) -> dict[str, Tensor]:
        """The tensors of one part, by their own names."""
        head = f"{name}/"
        return {key.removeprefix(head): t for key, t in self.tensors.items() if key.startswith(head)}


@final
class Epochs:
    """The stages of one piece of work, such as a round's; equal work has equal stages in an equal order.

    Args:
        folder: holds nothing else.
        key: all that the work follows from.
    """

    def __init__(self, folder: Path, key: bytes = b"") -> None:
        self._folder = folder
        self._key = key
        self._begun = 0

    def under(self, key: bytes) -> Epochs:
        """The stages of the work that follows from a key; what other work left here goes."""
        epochs = Epochs(self._folder, key)
        for path in self._folder.glob("*") if self._folder.is_dir() else ():
            if not path.name.startswith(epochs._name):
                path.unlink()
        return epochs

    def stage(self) -> Stage:
        """The next of them."""
        self._begun += 1
        return Stage(self._folder / f"{self._name}-{self._begun}.safetensors")

    def clear(self) -> None:
        """Nothing of it is needed any more."""
        shutil.rmtree(self._folder, ignore_errors=True)

    @cached_property
    def _name(self) -> str:
        """Worked out where it is asked for: rounds of one epoch never do."""
        return hashlib.sha256(self._key).hexdigest()[:32]


@final
@dataclass(frozen=True)
class Stage:
    """One training, or another piece of work that draws from the site's generator."""

    path: Path

    def load(self, generator: torch.Generator) -> Saved | None:
        """What was kept last, with the generator as it was then; none where there is nothing whole."""
        if not self.path.is_file():
            return None
        try:
            header, tensors = tensorfile.load(self.path)
        except ModelFileError:
            return None
        generator.set_state(tensors.pop(_GENERATOR))
        return Saved(tensors, int(header["done"]))

    def save(self, parts: Mapping[str, Weights], generator: torch.Generator, done: int) -> None:
        """Keep this in place of what was kept before.

        Raises:
            StorageError: the disk takes no more.
        """
        tensors = {f"{part}/{name}": t for part, weights in parts.items() for name, t in weights.items()}
        tensorfile.save(self.path, {**tensors, _GENERATOR: generator.get_state()}, {"done": done})
