"""Dataclasses of weights and numbers <-> bytes, for messages, client states and checkpoints.

A field that is a mapping of tensors becomes tensors called `field/name`; everything else must be JSON.
Nothing but what the dataclass declares can cross: an undeclared field in the bytes, or a value of another type
than the field's, is an error.
"""

from __future__ import annotations

import dataclasses
import json
import types
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

from torch import Tensor

from FedSegCore.errors import ModelFileError
from FedSegCore.tensors import tensorfile
from FedSegCore.tensors.header import KEY, index_of

Message = TypeVar("Message")

_ENVELOPE: Final = frozenset({"format", "sha256", "type", "fields"})
"""What every message's header holds."""


def encode(message: object, **header: Any) -> bytes:
    """Turn a dataclass instance into bytes; `header` adds JSON-able facts about the message."""
    tensors, fields = split(message)
    return tensorfile.pack(tensors, {**header, "type": type(message).__name__, "fields": fields})


def decode(kind: type[Message], data: bytes, source: str = "message") -> Message:
    """Turn bytes back into a `kind`.

    Raises:
        ModelFileError: other bytes than `encode` makes of a `kind` without further facts.
    """
    message, header = decode_with_header(kind, data, source)
    if extra := sorted(header.keys() - _ENVELOPE):
        raise ModelFileError(
            f"{source} tells {extra} besides the fields of a {kind.__name__}.",
            "Use the same FedSeg version and method at both ends.",
        )
    return message


def decode_with_header(
    kind: type[Message], data: bytes, source: str = "message"
) -> tuple[Message, dict[str, Any]]:
    """As `decode`, with the header that `encode` was given."""
    header, tensors = tensorfile.unpack(data, source)
    return _message(kind, header, tensors, source), header


def decode_mapped(kind: type[Message], path: Path, source: str = "message") -> Message:
    """A `kind` from a file that this process wrote after `decode` took its bytes; see `tensorfile.mapped`."""
    return _message(kind, *tensorfile.mapped(path), source)


def _message(
    kind: type[Message], header: Mapping[str, Any], tensors: Mapping[str, Tensor], source: str
) -> Message:
    fields = header.get("fields")
    values: dict[str, Any] = dict(fields) if isinstance(fields, Mapping) else {}
    for name, tensor in tensors.items():
        field, _, key = name.partition("/")
        _entry(values, field)[key] = tensor
    known = {field.name for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    if header.get("type") != kind.__name__ or set(values) != known:
        raise ModelFileError(
            f"{source} holds a {header.get('type')} with {sorted(values)}, expected a {kind.__name__} "
            f"with {sorted(known)}.",
            "Use the same FedSeg version and method at both ends.",
        )
    hints = typing.get_type_hints(kind)
    if wrong := sorted(name for name, value in values.items() if not _fits(value, hints[name])):
        raise ModelFileError(
            f"{source} holds a {kind.__name__} whose {wrong} have values of the wrong type.",
            "Use the same FedSeg version and method at both ends.",
        )
    return kind(**values)


def same(one: object, other: object) -> bool:
    """Whether two messages are alike without a look at their numbers: the very same tensors, equal fields.

    Most methods send every site the same; it is then encoded once.
    """
    (tensors, fields), (others, told) = split(one), split(other)
    alike = type(one) is type(other) and fields == told and tensors.keys() == others.keys()
    return alike and all(tensor is others[name] for name, tensor in tensors.items())


def type_of(data: bytes) -> str:
    """The type that a message says it is, unchecked; "" where it says nothing."""
    try:
        return str(json.loads(index_of(data)["__metadata__"][KEY])["type"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return ""


def split(message: object) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors of a dataclass by `field/name`, and its other fields (an empty mapping counts as JSON)."""
    tensors: dict[str, Tensor] = {}
    fields: dict[str, Any] = {}
    for field in dataclasses.fields(message):  # type: ignore[arg-type]
        value = getattr(message, field.name)
        if isinstance(value, Mapping) and any(isinstance(item, Tensor) for item in value.values()):
            tensors.update({f"{field.name}/{name}": tensor for name, tensor in value.items()})
        else:
            fields[field.name] = value
    return tensors, fields


def _entry(values: dict[str, Any], field: str) -> dict[str, Any]:
    """The mapping of a field that tensors are put into; anything else that stood there gives way."""
    if not isinstance(values.get(field), dict):
        values[field] = {}
    entry: dict[str, Any] = values[field]
    return entry


def _fits(value: object, hint: Any) -> bool:
    """Whether a decoded value is what a field's annotation says; JSON has lists where Python has tuples."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return True
    if origin in (typing.Union, types.UnionType):
        return any(_fits(value, one) for one in arguments)
    if origin in (Mapping, dict):
        return isinstance(value, Mapping) and all(_fits(item, arguments[1]) for item in value.values())
    if origin in (Sequence, list, tuple):
        return isinstance(value, list | tuple) and all(_fits(item, arguments[0]) for item in value)
    kinds = int | float if hint is float else hint
    return isinstance(value, kinds) and isinstance(value, bool) == (hint is bool)
