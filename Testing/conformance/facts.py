"""The facts that the checks ask, and the file that keeps them: what versions share once, then what each has alone."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

FACTS = Path(__file__).with_name("facts.json")
SLICERS, QTS, VTKS = ("Slicer 5.10", "Slicer 5.12"), ("Qt 5.15", "Qt 6"), ("VTK",)
PLATFORMS = (("Slicer 5.10", "Qt 5.15"), ("Slicer 5.12", "Qt 5.15"), ("Slicer 5.12", "Qt 6"))
"""The pairs that Slicer is built as."""


@dataclass(frozen=True)
class Facts:
    """What one version of Slicer over one version of Qt knows."""

    names: frozenset[str]
    functions: dict[str, dict[str, str]]
    bindings: dict[str, list[str]]
    classes: dict[str, dict[str, list[str]]]

    def knows(self, name: str) -> bool:
        """Whether there is a class of this name."""
        return name in self.classes

    def of(self, name: str, kind: str) -> set[str]:
        """Properties, signals, callables or values of a class and of those that it is derived from."""
        return {entry for cls in self._line(name) for entry in self.classes[cls].get(kind, ())}

    @cached_property
    def signals(self) -> set[str]:
        """Of all classes."""
        return {entry for cls in self.classes for entry in self.of(cls, "signals")}

    @cached_property
    def methods(self) -> set[str]:
        """Of all classes."""
        return {entry for cls in self.classes for entry in self.of(cls, "callables")}

    def is_a(self, name: str, base: str) -> bool:
        """Whether a class is another, or derived from it."""
        return base in self._line(name)

    def _line(self, name: str) -> Iterator[str]:
        if name in self.classes:
            yield name
            for base in self.classes[name].get("bases", ()):
                yield from self._line(base)


def platform(slicer: str, qt: str, parts: dict[str, Any]) -> Facts:
    """The facts of a pair of versions."""
    return Facts(
        names=frozenset(parts[slicer]["names"]),
        functions=parts[slicer]["functions"],
        bindings=parts[slicer]["bindings"],
        classes={**parts["VTK"]["classes"], **parts[qt]["classes"], **parts[slicer]["classes"]},
    )


def load() -> dict[str, Any]:
    """Version -> where its facts are from, and the facts."""
    kept = json.loads(FACTS.read_text())
    whole = {}
    for versions in (SLICERS, QTS, VTKS):
        shared = kept["shared"][versions[0].split()[0]]
        for version in versions:
            whole[version] = _joined(shared, kept["alone"][version])
    return whole


def save(whole: dict[str, Any]) -> None:
    """Writes the facts, one class a line."""
    kept: dict[str, Any] = {"shared": {}, "alone": {}}
    for versions in (SLICERS, QTS, VTKS):
        there = [whole[version] for version in versions if version in whole]
        shared = _shared(there)
        kept["shared"][versions[0].split()[0]] = shared
        for version in versions:
            kept["alone"][version] = _without(whole.get(version, there[0]), shared)
    FACTS.write_text(_lines(kept) + "\n")


def _shared(versions: list[Any]) -> Any:
    first = versions[0]
    if isinstance(first, dict):
        common = [key for key in first if all(key in other for other in versions)]
        found = {key: _shared([other[key] for other in versions]) for key in common}
        return {key: value for key, value in found.items() if value not in (None, {}, [])}
    if isinstance(first, list):
        return sorted(entry for entry in first if all(entry in other for other in versions))
    return first if all(other == first for other in versions) else None


def _without(version: Any, shared: Any) -> Any:
    if isinstance(version, dict):
        left = {key: _without(value, (shared or {}).get(key)) for key, value in version.items()}
        return {key: value for key, value in left.items() if value not in (None, {}, [])}
    if isinstance(version, list):
        return sorted(entry for entry in version if entry not in (shared or ()))
    return None if version == shared else version


def _joined(shared: Any, alone: Any) -> Any:
    if isinstance(shared, dict) or isinstance(alone, dict):
        shared, alone = shared or {}, alone or {}
        return {key: _joined(shared.get(key), alone.get(key)) for key in {**shared, **alone}}
    if isinstance(shared, list) or isinstance(alone, list):
        return sorted([*(shared or ()), *(alone or ())])
    return alone if shared is None else shared


def _lines(value: Any, depth: int = 0) -> str:
    if not isinstance(value, dict) or depth == 4:
        return json.dumps(value, separators=(",", ":"))
    inner = ",\n".join(
        f"{' ' * (depth + 1)}{json.dumps(key)}: {_lines(value[key], depth + 1)}" for key in sorted(value)
    )
    return f"{{\n{inner}\n{' ' * depth}}}"
