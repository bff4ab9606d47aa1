"""Keys of a study that change nothing: most likely a slip, so they are refused."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from FedSegCore.errors import StudyError, nearest
from FedSegCore.methods.registry import METHODS, heeds, named


def refuse_idle(methods: tuple[str, ...], options: Mapping[str, Any], *, norm: str | None) -> None:
    """See that every method option reaches a method of the study.

    Args:
        methods: the methods that the study runs.
        options: its `[method_options]`.
        norm: the norm that its `[network]` gives; none: each method's own.

    Raises:
        StudyError: a table of a method that is not run, an option that no method of the study heeds,
            `recalibrate` where there is no batch norm.
    """
    for key, value in options.items():
        if key in METHODS:
            _check_own(key, value, methods)
        elif not any(heeds(name, key) for name in methods):
            raise _idle(f'"{key}" in [method_options]', methods)
    _check_recalibration(methods, options, norm)


def _check_own(name: str, options: Mapping[str, Any], methods: tuple[str, ...]) -> None:
    if name not in methods:
        raise StudyError(
            f"[method_options.{name}] is given, but the study does not run {name}.", nearest(name, methods)
        )
    for key in options:
        if not heeds(name, key):
            raise _idle(f'"{key}" in [method_options.{name}]', (name,))


def _check_recalibration(methods: tuple[str, ...], options: Mapping[str, Any], norm: str | None) -> None:
    """Statistics are measured anew for batch norm only."""
    entries = [named(name, options) for name in methods]
    norms = [norm or entry.norm for entry in entries if entry.method.recalibrate]
    if norms and "batch" not in norms:
        raise StudyError(
            '"recalibrate" in [method_options] changes nothing: the networks have instance norm.',
            'Give [network] norm = "batch", or take the key out.',
        )


def _idle(where: str, methods: tuple[str, ...]) -> StudyError:
    return StudyError(
        f"{where} changes nothing: it is not used by {', '.join(methods)}.",
        "Take it out, or run a method that uses it.",
    )
