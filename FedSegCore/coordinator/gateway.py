"""The one public port: Flower's fleet API forwarded, its other doors shut, and the hub for the sites.

Every request is bounded in size; every answer to a client is one JSON sentence, never a traceback.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import ssl
import threading
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, Final, Protocol, final

import httpx
import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from FedSegCore.coordinator.roster import Refused
from FedSegCore.errors import FedSegError, RunError, StorageError

LARGEST_JSON: Final = 64 * 1024
LARGEST_JOINING: Final = 256 * 1024
LARGEST_ENGINE: Final = 16 * 1024 * 1024
"""Flower sends objects in pieces of 5 MiB."""
_ENGINE_CALL: Final = re.compile(r"[a-z-]{1,40}")
_PULL: Final = "pull-messages"
_HELD_S: Final = 20.0
"""How long a site's question for messages is held open; Flower's sites give up after 30 s and else ask every 3 s."""
_GLANCE_S: Final = 0.1
_LONGEST_WAIT_S: Final = 25.0
_FORWARDED: Final = ("content-type", "flwr-", "x-flwr", "accept")


class Hub(Protocol):
    """What the gateway asks of the coordinator. Each may raise Refused."""

    def descriptor(self) -> dict[str, Any]:
        """What anybody may know."""

    def enrol(self, asked: dict[str, Any]) -> dict[str, Any]:
        """Let a site in."""

    def site_of(self, credential: str) -> str:
        """Whose credential it is."""

    def join(self, site: str, data: bytes) -> dict[str, Any]:
        """Take what a site tells of itself."""

    def study(self) -> dict[str, Any] | None:
        """What all agreed on; none until enough sites have joined."""

    def attach(self, site: str) -> dict[str, Any]:
        """Let the engine know the site's new connection."""

    def state(self, site: str) -> dict[str, Any]:
        """How the study goes, for one site."""

    def leave(self, site: str) -> dict[str, Any]:
        """Let a site go."""

    def received(self, site: str) -> dict[str, Any]:
        """A site has all models."""

    def models(self) -> dict[str, Any]:
        """The published models."""

    def model(self, run: str, file: str) -> Path:
        """One of them."""

    def engine(self) -> tuple[str, ssl.SSLContext]:
        """Where Flower's SuperLink listens, as host:port, and how its certificate is checked."""


@final
class Gateway:
    """The public server, in a thread of its own.

    Args:
        routes: further routes, such as the status page's.
        certificate, key: PEM files.
    """

    def __init__(
        self,
        hub: Hub,
        *,
        host: str,
        port: int,
        certificate: Path,
        key: Path,
        routes: list[Route] | None = None,
    ) -> None:
        app = make_app(hub, routes or [])
        config = uvicorn.Config(
            app, host=host, port=port, ssl_certfile=str(certificate), ssl_keyfile=str(key), log_config=None,
            access_log=False, server_header=False, date_header=False, timeout_keep_alive=30,
            timeout_graceful_shutdown=3, h11_max_incomplete_event_size=32 * 1024, http="h11", ws="none",
            lifespan="on",
        )  # fmt: skip
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._run, name="gateway", daemon=True)
        self._thread.start()
        while not self._server.started and self._thread.is_alive():
            time.sleep(0.02)
        if not self._server.started:
            raise RunError(f"Port {port} of {host} cannot be listened on.", "Choose another with --port.")

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return int(self._server.servers[0].sockets[0].getsockname()[1])

    def stop(self) -> None:
        """Let requests finish for a moment and close the port."""
        self._server.should_exit = True
        self._thread.join()

    def _run(self) -> None:
        # A port that is taken ends uvicorn with SystemExit.
        with contextlib.suppress(SystemExit):
            self._server.run()


def make_app(hub: Hub, routes: list[Route]) -> Starlette:
    """The ASGI application."""
    doors = _Doors(hub)

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        yield
        await doors.close()

    return Starlette(
        routes=[
            Route("/v1/fleet/{call}", doors.engine, methods=["POST"]),
            Route("/hub/descriptor", doors.descriptor),
            Route("/hub/enrol", doors.enrol, methods=["POST"]),
            Route("/hub/join", doors.join, methods=["POST"]),
            Route("/hub/study", doors.study),
            Route("/hub/attach", doors.attach, methods=["POST"]),
            Route("/hub/state", doors.state),
            Route("/hub/leave", doors.leave, methods=["POST"]),
            Route("/hub/received", doors.received, methods=["POST"]),
            Route("/hub/models", doors.models),
            Route("/hub/models/{run}/{file}", doors.model),
            *routes,
            Route(
                "/{path:path}", _nothing_here, methods=["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"]
            ),
        ],
        lifespan=lifespan,
        exception_handlers={FedSegError: _refused, ClientDisconnect: _gone, Exception: _failed},
    )


@final
class _Doors:
    """The routes, over one hub."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._client: httpx.AsyncClient | None = None
        self._address = ""

    async def descriptor(self, request: Request) -> Response:
        return JSONResponse(await _ask(self._hub.descriptor))

    async def enrol(self, request: Request) -> Response:
        asked = await _json(request)
        return JSONResponse(await run_in_threadpool(self._hub.enrol, asked))

    async def join(self, request: Request) -> Response:
        site = await self._site(request)
        data = await _body(request, LARGEST_JOINING)
        return JSONResponse(await run_in_threadpool(self._hub.join, site, data))

    async def study(self, request: Request) -> Response:
        await self._site(request)
        deadline = time.monotonic() + _wait(request)
        while (found := await _ask(self._hub.study)) is None and time.monotonic() < deadline:
            await asyncio.sleep(_GLANCE_S)
            if await request.is_disconnected():
                break
        return Response(status_code=204) if found is None else JSONResponse(found)

    async def attach(self, request: Request) -> Response:
        return await self._for_site(request, self._hub.attach)

    async def state(self, request: Request) -> Response:
        return await self._for_site(request, self._hub.state)

    async def leave(self, request: Request) -> Response:
        return await self._for_site(request, self._hub.leave)

    async def received(self, request: Request) -> Response:
        return await self._for_site(request, self._hub.received)

    async def models(self, request: Request) -> Response:
        await self._site(request)
        return JSONResponse(await _ask(self._hub.models))

    async def model(self, request: Request) -> Response:
        await self._site(request)
        run, file = request.path_params["run"], request.path_params["file"]
        return FileResponse(await run_in_threadpool(self._hub.model, run, file))

    async def engine(self, request: Request) -> Response:
        """Forward one call of a site's SuperNode. Who it is, Flower itself checks by its key."""
        call = request.path_params["call"]
        if not _ENGINE_CALL.fullmatch(call):
            return await _nothing_here(request)
        body = await _body(request, LARGEST_ENGINE)
        headers = {k: v for k, v in request.headers.items() if k.startswith(_FORWARDED)}
        deadline = time.monotonic() + _HELD_S
        while True:
            answer = await self._forward(call, body, headers)
            # An empty answer has no message. Held open, the next one gets to the site as soon as it is there.
            if call != _PULL or answer.status_code != 200 or answer.content or time.monotonic() > deadline:
                break
            await asyncio.sleep(_GLANCE_S)
            if await request.is_disconnected():
                break
        kept = {k: v for k, v in answer.headers.items() if k.startswith(_FORWARDED)}
        return Response(answer.content, answer.status_code, kept)

    async def close(self) -> None:
        if self._client is not None:
            await self._client.aclose()

    async def _forward(self, call: str, body: bytes, headers: dict[str, str]) -> httpx.Response:
        address, context = self._hub.engine()
        if self._client is None or address != self._address:
            await self.close()
            self._client, self._address = (
                httpx.AsyncClient(verify=context, timeout=25, trust_env=False),
                address,
            )
        try:
            return await self._client.post(
                f"https://{address}/v1/fleet/{call}", content=body, headers=headers
            )
        except httpx.TransportError:
            return httpx.Response(503)

    async def _for_site(self, request: Request, act: Callable[[str], dict[str, Any]]) -> Response:
        site = await self._site(request)
        return JSONResponse(await run_in_threadpool(act, site))

    async def _site(self, request: Request) -> str:
        kind, _, credential = request.headers.get("authorization", "").partition(" ")
        if kind.lower() != "bearer" or not credential:
            raise Refused("This needs a site's credential.", "Join with an invitation.")
        return await run_in_threadpool(self._hub.site_of, credential)


async def _ask(question: Callable[[], Any]) -> Any:
    return await run_in_threadpool(question)


async def _body(request: Request, largest: int) -> bytes:
    """The body, read no further than it may be.

    Raises:
        Refused: it is larger.
    """
    data = bytearray()
    async for piece in request.stream():
        data += piece
        if len(data) > largest:
            raise Refused(f"The request is larger than {largest} bytes.", "Send less.", 413)
    return bytes(data)


async def _json(request: Request) -> dict[str, Any]:
    try:
        told = json.loads(await _body(request, LARGEST_JSON))
    except ValueError:
        told = None
    if not isinstance(told, dict):
        raise Refused("The request is not a JSON object.", "Use the same FedSeg version at both ends.", 400)
    return told


def _wait(request: Request) -> float:
    with contextlib.suppress(ValueError):
        return min(max(float(request.query_params.get("wait", "0")), 0.0), _LONGEST_WAIT_S)
    return 0.0


async def _nothing_here(request: Request) -> Response:
    return _sentence("There is nothing here.", "Check the address.", 403)


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, FedSegError)
    if isinstance(error, Refused):
        return _sentence(error.message, error.fix, error.status)
    if isinstance(error, StorageError):
        return _sentence("The coordinator's disk takes no more.", "Tell the coordinator.", 507)
    return _sentence("The coordinator could not do it.", "Try again; else tell the coordinator.", 503)


async def _gone(request: Request, error: Exception) -> Response:
    return Response(status_code=400)


async def _failed(request: Request, error: Exception) -> Response:
    return _sentence(
        "The coordinator failed on this request.", "Tell the coordinator; its log says more.", 500
    )


def _sentence(message: str, fix: str, status: int) -> Response:
    return JSONResponse({"message": message, "fix": fix}, status)
