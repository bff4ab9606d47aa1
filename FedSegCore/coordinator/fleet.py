"""Calls of the sites' SuperNodes, handed on to Flower's SuperLink on this machine."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Final, final

import httpx

_PULL: Final = "pull-messages"
_HELD_S: Final = 20.0
"""How long a site's question for messages is held open; Flower's sites give up after 30 s and else ask every 3 s."""
_GLANCE_S: Final = 0.1
_FORWARDED: Final = ("content-type", "flwr-", "x-flwr", "accept")


@final
class Fleet:
    """The one way to the engine from outside.

    Args:
        where: where the SuperLink listens, as host:port, and how its certificate is checked; both change when it is
            started anew.
    """

    def __init__(self, where: Callable[[], tuple[str, ssl.SSLContext]]) -> None:
        self._where = where
        self._client: httpx.AsyncClient | None = None
        self._address = ""

    async def forward(
        self, call: str, body: bytes, headers: Mapping[str, str], gone: Callable[[], Awaitable[bool]]
    ) -> httpx.Response:
        """The SuperLink's answer, with those of its headers alone that Flower needs; 503 while there is none.

        Args:
            gone: whether the site has hung up.
        """
        headers = _flowers(headers)
        deadline = time.monotonic() + _HELD_S
        while True:
            answer = await self._once(call, body, headers)
            # An empty answer has no message. Held open, the next one gets to the site as soon as it is there.
            if call != _PULL or answer.status_code != 200 or answer.content or time.monotonic() > deadline:
                break
            await asyncio.sleep(_GLANCE_S)
            if await gone():
                break
        return httpx.Response(answer.status_code, headers=_flowers(answer.headers), content=answer.content)

    async def close(self) -> None:
        """Let go of connections."""
        if self._client is not None:
            await self._client.aclose()

    async def _once(self, call: str, body: bytes, headers: Mapping[str, str]) -> httpx.Response:
        address, context = self._where()
        if self._client is None or address != self._address:
            await self.close()
            self._client = httpx.AsyncClient(verify=context, timeout=25, trust_env=False)
            self._address = address
        try:
            return await self._client.post(
                f"https://{address}/v1/fleet/{call}", content=body, headers=headers
            )
        except httpx.TransportError:
            return httpx.Response(503)


def _flowers(headers: Mapping[str, str]) -> dict[str, str]:
    """Of a header that came twice the first, which is also the one that the caller was known by."""
    return {name: headers[name] for name in headers if name.lower().startswith(_FORWARDED)}
