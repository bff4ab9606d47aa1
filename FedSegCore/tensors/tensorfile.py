"""One format for message, checkpoint and model: safetensors with a JSON header and a content hash.

The bytes are a function of header and tensors alone (no time, host or path), so equal content is an equal
file. The hash covers names, types, shapes, values and header: a file altered by hand is refused.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from FedSegCore.errors import ModelFileError
from FedSegCore.files import write_atomic
from FedSegCore.tensors.header import FORMAT, KEY, check_header, index_of

_MOST_AXES: Final = 16


def pack(tensors: Mapping[str, Tensor], header: Mapping[str, Any]) -> bytes:
    """Serialise tensors with a JSON-able header; tensors that share memory are each stored in full."""
    plain = {name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in tensors.items()}
    full = {**header, "format": FORMAT}
    full["sha256"] = _digest(plain, full)
    data: bytes = safetensors.torch.save(plain, {KEY: _canonical(full)})
    return data


def unpack(data: bytes, source: str = "message") -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Read what `pack` wrote: (header, tensors).

    Raises:
        ModelFileError: truncated, foreign, altered, or of another format version.
    """
    try:
        tensors = safetensors.torch.load(data)
        metadata = index_of(data).get("__metadata__")
    except (safetensors.SafetensorError, ValueError, KeyError, TypeError, RuntimeError, OverflowError):
        raise ModelFileError(
            f"{source} is truncated or not a FedSeg file.", "Fetch the file again."
        ) from None
    if any(tensor.ndim > _MOST_AXES for tensor in tensors.values()):
        raise ModelFileError(f"{source} holds a tensor of too many axes.", "Use the same FedSeg version.")
    header = check_header(metadata, source)
    padded_as_written = data[8 : 8 + int.from_bytes(data[:8], "little")].rstrip(b" ").endswith(b"}")
    if not padded_as_written or not _is_digest(header.get("sha256"), tensors, header):
        raise ModelFileError(
            f"{source} was altered after it was written: its content does not match its sha256.",
            "Fetch the file again from where it was published.",
        )
    return header, tensors


def mapped(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Read a file that this process wrote and checked: (header, tensors); its hash is not looked at again.

    The tensors lie in the file, not in memory; whoever keeps one longer than the file copies it.
    """
    with safetensors.safe_open(path, framework="pt") as file:
        header = check_header(file.metadata(), str(path))
        return header, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)


def save(path: Path, tensors: Mapping[str, Tensor], header: Mapping[str, Any]) -> None:
    """Write a FedSeg file atomically."""
    write_atomic(path, pack(tensors, header))


def load(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Read a FedSeg file: (header, tensors). Raises ModelFileError as `unpack` does."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ModelFileError(f"{path} cannot be read: {error.strerror}.", "Check the path.") from None
    return unpack(data, str(path))


def _canonical(header: Mapping[str, Any]) -> str:
    return json.dumps(header, sort_keys=True, ensure_ascii=False, separators=(",", ":"))


def _is_digest(told: object, tensors: Mapping[str, Tensor], header: Mapping[str, Any]) -> bool:
    """Whether a header's hash is right; one that holds half letters, or is nested without end, has none."""
    try:
        return told == _digest(tensors, header)
    except (UnicodeEncodeError, RecursionError):
        return False


def _digest(tensors: Mapping[str, Tensor], header: Mapping[str, Any]) -> str:
    digest = hashlib.sha256(_canonical({k: v for k, v in header.items() if k != "sha256"}).encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"\n{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
