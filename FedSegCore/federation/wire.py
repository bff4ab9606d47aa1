"""Dataclasses of weights and numbers <-> bytes, for messages, client states and checkpoints.

A field that is a mapping of tensors becomes tensors called `field/name`; everything else must be JSON.
Nothing but what the dataclass declares can cross: an undeclared field in the bytes is an error.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, TypeVar

from torch import Tensor

from FedSegCore.errors import ModelFileError
from FedSegCore.tensors import tensorfile

Message = TypeVar("Message")


def encode(message: object, **header: Any) -> bytes:
    """Turn a dataclass instance into bytes; `header` adds JSON-able facts about the message."""
    tensors, fields = split(message)
    return tensorfile.pack(tensors, {**header, "type": type(message).__name__, "fields": fields})


def decode(kind: type[Message], data: bytes, source: str = "message") -> Message:
    """Turn bytes back into a `kind`.

    Raises:
        ModelFileError: other bytes than `encode` makes of a `kind`.
    """
    return decode_with_header(kind, data, source)[0]


def decode_with_header(
    kind: type[Message], data: bytes, source: str = "message"
) -> tuple[Message, dict[str, Any]]:
    """As `decode`, with the header that `encode` was given."""
    header, tensors = tensorfile.unpack(data, source)
    values: dict[str, Any] = dict(header.get("fields", {}))
    for name, tensor in tensors.items():
        field, _, key = name.partition("/")
        values.setdefault(field, {})[key] = tensor
    known = {field.name for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    if header.get("type") != kind.__name__ or set(values) != known:
        raise ModelFileError(
            f"{source} holds a {header.get('type')} with {sorted(values)}, expected a {kind.__name__} "
            f"with {sorted(known)}.",
            "Use the same FedSeg version and method at both ends.",
        )
    return kind(**values), header


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
