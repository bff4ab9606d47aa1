"""Messages through a pipe: a length, then that many bytes; a length for the JSON head goes before."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, BinaryIO


def write_frame(pipe: BinaryIO, head: Mapping[str, Any], body: bytes = b"") -> None:
    """Send one message."""
    text = json.dumps(head).encode()
    pipe.write(len(text).to_bytes(4, "little") + len(body).to_bytes(8, "little") + text + body)
    pipe.flush()


def read_frame(pipe: BinaryIO) -> tuple[dict[str, Any], bytes]:
    """Receive one message.

    Raises:
        EOFError: the other end is gone.
    """
    lengths = _exactly(pipe, 12)
    text = _exactly(pipe, int.from_bytes(lengths[:4], "little"))
    return json.loads(text), _exactly(pipe, int.from_bytes(lengths[4:], "little"))


def _exactly(pipe: BinaryIO, length: int) -> bytes:
    data = pipe.read(length)
    if data is None or len(data) < length:
        raise EOFError("the other end of the pipe is gone")
    return data
