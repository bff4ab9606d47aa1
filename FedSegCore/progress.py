"""How far the reading of cases has come, for whoever waits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, final


@final
class Reading:
    """Tells how far the reading of cases has come, in `STEPS` steps at most.

    Args:
        emit: where the events go.
        datasets: how many are read, one after the other.
    """

    STEPS: Final = 20

    def __init__(self, emit: Callable[..., None], *, datasets: int = 1) -> None:
        self._emit = emit
        self._datasets = datasets
        self._begun = 0
        self._step = 0

    def dataset(self, name: str = "") -> Callable[[float], None]:
        """What the reader of the next dataset tells its finished share, 0..1, after each case."""
        before, cases = self._begun, 0
        whose = f"{name}: " if name else ""
        self._begun += 1

        def tell(share: float) -> None:
            nonlocal cases
            cases += 1
            value = (before + share) / self._datasets
            if int(self.STEPS * value) > self._step:
                self._step = int(self.STEPS * value)
                told = f"{whose}{cases:,} of {round(cases / share):,} cases read"
                self._emit("progress", stage="data", value=value, message=told, eta_s=None)

        return tell
