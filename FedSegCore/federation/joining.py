"""What a site sends when it joins."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Joining:
    """What a site sends when it joins: who it is and the pooled numbers that the plan is made from."""

    name: str
    modalities: Sequence[str]
    labels: Sequence[str]
    num_cases: int
    passport: Mapping[str, Any]
