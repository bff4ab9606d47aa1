"""What a site sends when it joins."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Joining:
    """What a site sends when it joins: who it is, and all that the study's agreement is made from.

    Args:
        name: the site's name in the study.
        modalities: those that it owns in the study, in its order.
        labels: the structures that it brings, in its order.
        values: structure -> its label-map values at the site, of all that it could annotate in the study.
        num_cases: the number of its training cases.
        licence: of its images, as its dataset.json states it.
        passport: the pooled numbers that the plan is made from; empty where the plan is given.
    """

    name: str
    modalities: Sequence[str]
    labels: Sequence[str]
    values: Mapping[str, Sequence[int]]
    num_cases: int
    licence: str
    passport: Mapping[str, Any]
