"""From the lines of rounds.jsonl and ledger.jsonl to curves, traffic and lost sites."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

Line = Mapping[str, Any]


@final
@dataclass(frozen=True, eq=False)
class Curve:
    """A value over rounds, averaged over seeds.

    Args:
        rounds: (R,) round numbers.
        mean: (R,) the mean over seeds.
        low: (R,) the lowest seed's value.
        high: (R,) the highest seed's value.
    """

    rounds: NDArray[np.float64]
    mean: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]


@final
@dataclass(frozen=True)
class LeftOut:
    """A site that was left out of a round, and why."""

    method: str
    seed: str
    round: int
    site: str
    reason: str


@final
@dataclass(frozen=True)
class Traffic:
    """What left one site in all.

    Args:
        site: its name.
        messages: how many.
        bytes: their size on the wire.
        kinds: kind of message -> how many.
        tensors: the most tensors in one message.
        values: the most numbers in one message's tensors.
        scalars: the names of the single numbers sent beside them.
    """

    site: str
    messages: int
    bytes: int
    kinds: Mapping[str, int]
    tensors: int
    values: int
    scalars: tuple[str, ...]


def dice_curves(rounds: Iterable[Line]) -> dict[str, dict[str, Curve]]:
    """Site -> method -> validation Dice, the mean over labels, at the round whose model was validated."""
    placed = ({**line, "round": line.get("validated", line.get("round", 0))} for line in rounds)
    return _by_site(placed, lambda facts: _mean(_mapping(facts.get("dice")).values()))


def loss_curves(rounds: Iterable[Line]) -> dict[str, dict[str, Curve]]:
    """Site -> method -> training loss."""
    return _by_site(rounds, lambda facts: _float(facts.get("loss")))


def left_out(rounds: Iterable[Line]) -> list[LeftOut]:
    """Every site that missed a round, in the order of the lines."""
    return [
        LeftOut(
            str(line.get("method", "")),
            str(line.get("seed", "")),
            int(line.get("round", 0)),
            str(site),
            str(reason),
        )
        for line in rounds
        for site, reason in _mapping(line.get("left_out")).items()
    ]


def absences(rounds: Iterable[Line], *, site: str) -> list[int]:
    """The rounds in which a site was left out of any run."""
    return sorted({missed.round for missed in left_out(rounds) if missed.site == site})


def total(rounds: Iterable[Line], name: str) -> float:
    """The sum of one of the lines' numbers: `seconds`, `bytes_up`, `bytes_down`."""
    values = (_float(line.get(name)) for line in rounds)
    return float(sum(value for value in values if math.isfinite(value)))


def traffic(ledger: Sequence[Line]) -> list[Traffic]:
    """What left each site, the most bytes first."""
    by_site: dict[str, list[Line]] = defaultdict(list)
    for line in ledger:
        by_site[str(line.get("site", ""))].append(line)
    found = [
        Traffic(
            site=site,
            messages=len(lines),
            bytes=int(total(lines, "bytes")),
            kinds=Counter(str(line.get("kind", "message")) for line in lines),
            tensors=max(len(_mapping(line.get("tensors"))) for line in lines),
            values=max(_values(line) for line in lines),
            scalars=tuple(sorted({str(name) for line in lines for name in _mapping(line.get("scalars"))})),
        )
        for site, lines in by_site.items()
    ]
    return sorted(found, key=lambda own: (-own.bytes, own.site))


def _values(line: Line) -> int:
    return sum(math.prod(int(size) for size in shape) for shape in _mapping(line.get("tensors")).values())


def _by_site(rounds: Iterable[Line], value: Callable[[Line], float]) -> dict[str, dict[str, Curve]]:
    gathered: dict[str, dict[str, dict[int, list[float]]]] = defaultdict(
        lambda: defaultdict(lambda: defaultdict(list))
    )
    for line in rounds:
        for site, facts in _mapping(line.get("sites")).items():
            found = value(_mapping(facts))
            if math.isfinite(found):
                gathered[str(site)][str(line.get("method", ""))][int(line.get("round", 0))].append(found)
    return {
        site: {method: _curve(points) for method, points in methods.items()}
        for site, methods in gathered.items()
    }


def _curve(points: Mapping[int, Sequence[float]]) -> Curve:
    numbers = sorted(points)
    return Curve(
        rounds=np.array(numbers, np.float64),
        mean=np.array([np.mean(points[number]) for number in numbers]),
        low=np.array([np.min(points[number]) for number in numbers]),
        high=np.array([np.max(points[number]) for number in numbers]),
    )


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _float(value: object) -> float:
    return float(value) if isinstance(value, int | float) else math.nan


def _mean(values: Iterable[object]) -> float:
    finite = [number for number in map(_float, values) if math.isfinite(number)]
    return float(np.mean(finite)) if finite else math.nan
