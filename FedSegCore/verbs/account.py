"""What `fedseg segment` tells of its cases, one after the other."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, final

from FedSegCore.console import Console
from FedSegCore.data.imagefiles import image_stem


@final
class Account:
    """What became of each case; its events, its lines, and in the end the result.

    A case's `case` event is told when it is over: name (its result's, without the suffix), file (its image), path
    (its result, null where it failed), state (done, failed or skipped), volumes_ml, and where it was routed routing,
    as in the result's summary.

    Args:
        cases: how many there are.
    """

    STEPS: Final = 20
    """How often the progress inside a case is told at most."""
    EVERY_S: Final = 1.0
    """Seconds that pass between two such lines."""

    def __init__(self, console: Console, *, cases: int) -> None:
        self.console = console
        self._cases = cases
        self._target = Path()
        self._worked = 0
        self._done: list[str] = []
        self._failed: list[str] = []
        self._skipped: list[str] = []
        self._volumes_ml: dict[str, Mapping[str, float]] = {}
        self._routing: dict[str, Mapping[str, Any]] = {}
        self._hidden: list[int] = []
        self._busy_s = 0.0
        self._began = self._told = time.monotonic()
        self._step = 0

    def begin(self, target: Path) -> None:
        """The next case is being segmented; the last one may not be written yet."""
        self._target, self._step = target, 0
        self._began = self._told = time.monotonic()
        self._tell(0.0)

    def end(self) -> None:
        """It is segmented, or has failed."""
        self._busy_s += time.monotonic() - self._began
        self._worked += 1

    def share(self, share: float) -> None:
        """How much of the case is segmented, 0..1."""
        now = time.monotonic()
        if int(share * self.STEPS) > self._step and now - self._told >= self.EVERY_S:
            self._step, self._told = int(share * self.STEPS), now
            self._tell(share)

    def done(
        self, image: Path, target: Path, volumes_ml: Mapping[str, float], *, hidden: int,
        routing: Mapping[str, Any] | None,
    ) -> None:  # fmt: skip
        """The case's result is written.

        Args:
            hidden: the voxels that a label map shows otherwise than they were found.
            routing: what the mixture told of the case; None for one model.
        """
        self._done.append(str(target))
        self._hidden.append(hidden)
        if routing is not None:
            self._routing[str(target)] = routing
        told = {} if routing is None else {"routing": routing}
        self._keep(image, target, volumes_ml, state="done", **told)
        self.console.say(f"{target}: {_sizes(volumes_ml)}")

    def skipped(self, image: Path, target: Path, volumes_ml: Mapping[str, float]) -> None:
        """The case's result was there before."""
        self._skipped.append(str(target))
        self._keep(image, target, volumes_ml, state="skipped")
        self.console.say(f"{target}: there already, left out")

    def failed(self, image: Path, target: Path, message: str, fix: str) -> None:
        """The case has no result."""
        self._failed.append(str(image))
        self.console.emit("problem", file=image, severity="error", message=message, fix=fix)
        self._tell_case(image, target, path=None, state="failed", volumes_ml={})
        self.console.say(" ".join(f"{image}: failed: {message} {fix}".split()))

    def close(self) -> int:
        """The result; the exit code."""
        self._tell_hidden()
        if self._cases > 1:
            told = (f"{len(self._done)} done", f"{len(self._failed)} failed", f"{len(self._skipped)} skipped")
            self.console.say(", ".join(told))
        states = {"done": self._done, "failed": self._failed, "skipped": self._skipped}
        routing = {"routing": self._routing} if self._routing else {}
        summary = {"volumes_ml": self._volumes_ml, **states, **routing}
        self.console.result(summary, paths=list(self._volumes_ml))
        return 1 if self._failed else 0

    def _keep(self, image: Path, target: Path, volumes_ml: Mapping[str, float], **more: Any) -> None:
        self._volumes_ml[str(target)] = volumes_ml
        self._tell_case(image, target, path=target, volumes_ml=volumes_ml, **more)

    def _tell_case(self, image: Path, target: Path, **facts: Any) -> None:
        self.console.emit("case", name=image_stem(target), file=image, **facts)

    def _tell(self, share: float) -> None:
        worked, value = self._worked + share, (self._worked + len(self._skipped) + share) / self._cases
        busy_s = self._busy_s + time.monotonic() - self._began
        left = self._cases - len(self._skipped) - worked
        eta_s = busy_s / worked * left if worked > 0 else None
        self.console.emit("progress", stage="segment", value=value, message=str(self._target), eta_s=eta_s)

    def _tell_hidden(self) -> None:
        """One warning for all label maps that show less than the model found."""
        if cases := sum(number > 0 for number in self._hidden):
            self.console.emit(
                "warning",
                message=f"In {cases} of {len(self._hidden)} cases structures cross each other, which a label map "
                f"cannot show (up to {max(self._hidden)} voxels).",
                fix="Write a .seg.nrrd, which holds each structure whole.",
            )


def _sizes(volumes_ml: Mapping[str, float]) -> str:
    return ", ".join(f"{label} {ml:g} ml" for label, ml in volumes_ml.items())
