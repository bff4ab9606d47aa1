"""TOML tables <-> frozen dataclasses: the keys are the fields, every value is checked against the field's type."""

from __future__ import annotations

import dataclasses
import sys
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar

from FedSegCore.errors import StudyError, nearest

Table = TypeVar("Table")


def table(kind: type[Table], raw: object, where: str) -> Table:
    """Make a `kind` of a TOML table.

    Args:
        where: how messages name the table, such as `[train]`.

    Raises:
        StudyError: not a table, an unknown key (names the nearest), a missing one, a value of the wrong type.
    """
    if not isinstance(raw, Mapping):
        raise StudyError(f"{where} must be a table, got {raw!r}.", f"Write it as {where} with keys below it.")
    fields = {field.name: field for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    hints = typing.get_type_hints(kind)
    for key in raw:
        if key not in fields:
            raise StudyError(f'Unknown key "{key}" in {where}.', nearest(str(key), fields))
    for name, field in fields.items():
        required = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        if required and name not in raw:
            raise StudyError(f'{where} lacks "{name}".', f"Add {name} = ... to {where}.")
    values = {key: coerce(value, hints[key], f'"{key}" in {where}') for key, value in raw.items()}
    return kind(**values)


def plain(value: Any) -> Any:
    """Nested tables as JSON holds them: without what is not given, folders absolute."""
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items() if item is not None}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return str(value.resolve()) if isinstance(value, Path) else value


def coerce(value: object, hint: Any, where: str) -> Any:
    """The value as the type `hint` wants it; lists become tuples and whole numbers may stand for floats.

    Raises:
        StudyError: the value is of another type.
    """
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return value
    if origin in (typing.Union, types.UnionType):
        return _union(value, arguments, where)
    if origin is Literal:
        return _choice(value, arguments, where)
    if origin is tuple:
        return _items(value, arguments, where)
    if origin in (Mapping, dict):
        return _mapping(value, arguments, where)
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return table(hint, value, where)
    return _scalar(value, hint, where)


def _union(value: object, kinds: tuple[Any, ...], where: str) -> Any:
    if value is None and type(None) in kinds:
        return None
    others = [kind for kind in kinds if kind is not type(None)]
    for kind in others[:-1]:
        try:
            return coerce(value, kind, where)
        except StudyError:
            continue
    return coerce(value, others[-1], where)


def _choice(value: object, known: tuple[Any, ...], where: str) -> Any:
    if not any(type(value) is type(choice) and value == choice for choice in known):
        choices = ", ".join(repr(choice) for choice in known)
        raise StudyError(
            f"{where} must be one of {choices}, got {value!r}.", nearest(str(value), map(str, known))
        )
    return value


def _items(value: object, kinds: tuple[Any, ...], where: str) -> tuple[Any, ...]:
    if not isinstance(value, list | tuple):
        raise StudyError(f"{where} must be a list, got {value!r}.", "Write it in brackets: [..., ...].")
    if len(kinds) == 2 and kinds[1] is Ellipsis:
        return tuple(coerce(item, kinds[0], where) for item in value)
    if len(kinds) != len(value):
        raise StudyError(f"{where} must list {len(kinds)} values, got {len(value)}.", "Give as many as that.")
    return tuple(coerce(item, kind, where) for item, kind in zip(value, kinds, strict=True))


def _mapping(value: object, kinds: tuple[Any, ...], where: str) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise StudyError(f"{where} must be a table, got {value!r}.", "Write it as {Name = ...}.")
    return {str(key): coerce(item, kinds[1], f"{where} ({key})") for key, item in value.items()}


_WORDS = {
    int: "a whole number",
    float: "a number",
    str: "a text in quotes",
    bool: "true or false",
    Path: "a path",
}


def _scalar(value: object, kind: type, where: str) -> Any:
    if kind is Path and isinstance(value, str | Path):
        return Path(value)
    if kind is float and isinstance(value, int | float) and not isinstance(value, bool):
        if abs(value) <= sys.float_info.max:
            return float(value)
    elif isinstance(value, kind) and isinstance(value, bool) == (kind is bool):
        return value
    raise StudyError(
        f"{where} must be {_WORDS.get(kind, kind.__name__)}, got {value!r}.", "Correct the value."
    )
