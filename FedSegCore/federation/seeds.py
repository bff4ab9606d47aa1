"""Seeds that are the same on every machine: hashes of words, never Python's salted `hash()`."""

from __future__ import annotations

import hashlib

import torch


def derive(seed: int, *words: str | int) -> int:
    """A 63-bit seed for one purpose, from the study's seed and the words that name the purpose."""
    text = "/".join(str(word) for word in (seed, *words))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little") >> 1


def generator(seed: int, *words: str | int) -> torch.Generator:
    """A CPU generator for one purpose; see `derive`."""
    return torch.Generator().manual_seed(derive(seed, *words))
