"""What a verb says: events as JSON lines for machines, or as text for people."""

from __future__ import annotations

import io
import json
import math
import numbers
import sys
from typing import Any, TextIO, final


@final
class Console:
    """Where a verb's events go.

    With JSON lines every event is one object on stdout, the last one `result` or `error`. Without, stdout gets
    the results and stderr the progress.

    Args:
        json_lines: whether events are written as JSON lines.
    """

    def __init__(self, *, json_lines: bool, out: TextIO | None = None, log: TextIO | None = None) -> None:
        self.json_lines = json_lines
        self.out = out or sys.stdout
        self.log = log or sys.stderr
        for stream in (self.out, self.log):
            if isinstance(stream, io.TextIOWrapper):
                # A terminal that lacks a letter of a structure's name is no reason to fail.
                stream.reconfigure(errors="backslashreplace")

    def emit(self, event: str, **fields: Any) -> None:
        """Tell one event."""
        if self.json_lines:
            print(json.dumps({"event": event, **_plain(fields)}), file=self.out, flush=True)
        elif text := _TEXTS.get(event, _silent)(fields):
            print(text, file=self.log, flush=True)

    def say(self, text: str) -> None:
        """A line of a verb's result, for people."""
        if not self.json_lines:
            print(text, file=self.out, flush=True)

    def result(self, summary: dict[str, Any], **paths: Any) -> None:
        """The last event of a verb that did its work."""
        if self.json_lines:
            self.emit("result", **paths, summary=summary)

    def error(self, message: str, fix: str) -> None:
        """The last event of a verb that did not: one line, whatever the message quotes."""
        message, fix = " ".join(message.splitlines()), " ".join(fix.splitlines())
        if self.json_lines:
            self.emit("error", message=message, fix=fix)
        else:
            print(f"fedseg: {message} {fix}".rstrip(), file=self.log, flush=True)


def _plain(value: Any) -> Any:
    """What JSON holds: no NaN, which is not JSON; what is no number, text or list is told as text."""
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, numbers.Integral):
        return int(value)
    if isinstance(value, numbers.Real):
        return float(value) if math.isfinite(value) else None
    return str(value)


def _progress(fields: dict[str, Any]) -> str:
    eta = fields.get("eta_s")
    rest = f", about {_duration(eta)} left" if eta is not None else ""
    return f"[{fields['value']:4.0%}] {fields['message']}{rest}"


def _round(fields: dict[str, Any]) -> str:
    dice = "  ".join(f"{label} {value:.3f}" for label, value in fields["dice"].items())
    return f"round {fields['number']}/{fields['total']}  loss {fields['loss']:.3f}  {dice}  {fields['seconds']:.1f} s"


def _warning(fields: dict[str, Any]) -> str:
    return f"warning: {fields['message']} {fields['fix']}".rstrip()


def _silent(fields: dict[str, Any]) -> str:
    return ""


_TEXTS = {"progress": _progress, "round": _round, "warning": _warning}


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
