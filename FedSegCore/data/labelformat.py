"""The two ways in which a dataset.json writes its labels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from FedSegCore.errors import DataError

_LABELS_FIX = 'Write `"labels": {"background": 0, "Liver": 1}`.'


def parse_labels(raw: Mapping[str, Any], *, where: str) -> dict[str, tuple[int, ...]]:
    """Structure name -> label values, from either convention; see `LabelSet.parse`.

    Raises:
        DataError: neither convention, one value under two names, or one name under two values.
    """
    if not isinstance(raw, Mapping) or not raw:
        raise DataError(
            f"{where}: `labels` must be an object of names and numbers; it is {raw!r}.", _LABELS_FIX
        )
    by_number = all(isinstance(value, str) for value in raw.values())
    pairs = _number_to_name(raw, where) if by_number else _name_to_number(raw, where)
    values: dict[str, tuple[int, ...]] = {}
    for name, numbers in pairs:
        if name.strip().lower() == "background" or numbers == (0,):
            continue
        if name in values:
            raise DataError(f'{where}: two label values are called "{name}".', "Give each its own name.")
        values[name] = numbers
    _refuse_shared_values(values, where)
    return values


def _whole(value: object, where: str, name: str) -> int:
    """A label value as an int; JSON's 1.0 is taken as 1."""
    whole = isinstance(value, (int, float)) and not isinstance(value, bool) and float(value).is_integer()
    if not whole or int(value) < 0:  # type: ignore[call-overload]
        raise DataError(
            f'{where}: the label "{name}" has the value {value!r}, not a whole number.', _LABELS_FIX
        )
    return int(value)  # type: ignore[call-overload, no-any-return]


def _number_to_name(raw: Mapping[str, str], where: str) -> list[tuple[str, tuple[int, ...]]]:
    """MSD's convention."""
    pairs: list[tuple[str, tuple[int, ...]]] = []
    for key, name in raw.items():
        if not key.strip().isdigit() or name.strip().isdigit():
            raise DataError(
                f'{where}: the label "{key}": "{name}" is neither name: number nor "number": name.',
                _LABELS_FIX,
            )
        pairs.append((name, (int(key),)))
    return pairs


def _name_to_number(raw: Mapping[str, Any], where: str) -> list[tuple[str, tuple[int, ...]]]:
    """nnU-Net's convention; a list of numbers is a region."""
    pairs: list[tuple[str, tuple[int, ...]]] = []
    for name, value in raw.items():
        if name.strip().lower() == "ignore":
            raise DataError(
                f'{where}: an "ignore" label is not supported; it is neither structure nor background.',
                "Leave its cases out, or give those voxels a structure or the background.",
            )
        numbers = tuple(_whole(v, where, name) for v in (value if isinstance(value, list) else [value]))
        if not numbers or len(set(numbers)) < len(numbers) or (0 in numbers and len(numbers) > 1):
            raise DataError(
                f'{where}: the region "{name}" must list different values other than 0; it lists {value!r}.',
                "List each of its label values once.",
            )
        pairs.append((name, numbers))
    return pairs


def _refuse_shared_values(values: Mapping[str, tuple[int, ...]], where: str) -> None:
    """Two names for the same values would be one structure counted twice."""
    owner: dict[tuple[int, ...], str] = {}
    for name, numbers in values.items():
        key = tuple(sorted(numbers))
        if key in owner:
            raise DataError(
                f'{where}: "{owner[key]}" and "{name}" have the same label value {numbers[0]}.',
                "Give each structure its own value.",
            )
        owner[key] = name
