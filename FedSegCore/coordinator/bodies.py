"""What comes with a request, read no further and no longer than is right."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any, Final

from starlette.requests import Request

from FedSegCore.coordinator.roster import Refused

LARGEST_JSON: Final = 64 * 1024
_SLOWEST: Final = 8 * 1024
"""Bytes a second below which a request is not waited for, after the first half minute."""
_FIRST_S: Final = 30.0


async def read_body(request: Request, largest: int) -> bytes:
    """The body, read no further than it may be.

    Raises:
        Refused: it is larger, or comes too slowly.
    """
    told = request.headers.get("content-length", "0")
    if not (told.isascii() and told.isdecimal()) or int(told) > largest:
        raise Refused(f"The request is larger than {largest} bytes.", "Send less.", 413)
    data, started = bytearray(), time.monotonic()
    pieces = aiter(request.stream())
    while True:
        left = started + _FIRST_S + len(data) / _SLOWEST - time.monotonic()
        try:
            data += await asyncio.wait_for(anext(pieces), left)
        except StopAsyncIteration:
            return bytes(data)
        except TimeoutError:
            raise Refused("The request does not come to its end.", "Try again.", 408) from None
        if len(data) > largest:
            raise Refused(f"The request is larger than {largest} bytes.", "Send less.", 413)


async def read_json(request: Request) -> dict[str, Any]:
    """A small JSON object.

    Raises:
        Refused: it is none.
    """
    try:
        told = json.loads(await read_body(request, LARGEST_JSON))
    except (ValueError, RecursionError):
        told = None
    if not isinstance(told, dict):
        raise Refused("The request is not a JSON object.", "Use the same FedSeg version at both ends.", 400)
    return told
