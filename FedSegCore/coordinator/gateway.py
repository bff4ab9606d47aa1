"""The one public port: Flower's fleet API forwarded, its other doors shut, and the hub for the sites.

Who calls is known before anything of a body is read, but for enrolment. Every request is bounded in size and time;
every refusal is one JSON sentence, never a traceback.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import ssl
import threading
import time
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any, Final, Protocol, final

import httpx
import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from FedSegCore.coordinator.bodies import read_body, read_json
from FedSegCore.coordinator.fleet import Fleet
from FedSegCore.coordinator.listening import ImpatientConnection
from FedSegCore.coordinator.roster import Refused
from FedSegCore.errors import FedSegError, RunError, StorageError
from FedSegCore.federation.flower import PIECES

LARGEST_JOINING: Final = 256 * 1024
_GLANCE_S: Final = 0.1
_AT_ONCE: Final = 8
"""Calls with a body that one site may have under way; the others wait with theirs unread."""
_PIECES_AT_ONCE: Final = 2
"""Pieces of models on the way between this server and the engine, each in memory several times over; how fast a site
is has no part in it."""
_MOST_CONNECTIONS: Final = 600
_RANGE: Final = re.compile(r"bytes=(\d{1,15})-(\d{0,15})", re.ASCII)
_LONGEST_WAIT_S: Final = 25.0


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

    def study(self, site: str) -> dict[str, Any] | None:
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

    def largest_call(self, call: str) -> int | None:
        """How large a call of a SuperNode may be; none where there is no such call."""

    def calling(self, headers: Mapping[str, str]) -> str:
        """Whose SuperNode calls."""

    def weigh(self, site: str, call: str, body: bytes) -> None:
        """See that a site pushes no more than an answer of its own."""

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
            timeout_graceful_shutdown=3, h11_max_incomplete_event_size=32 * 1024, http=ImpatientConnection,
            ws="none", lifespan="on", limit_concurrency=_MOST_CONNECTIONS,
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
        middleware=[Middleware(_Unambiguous)],
        exception_handlers={
            FedSegError: _refused,
            HTTPException: _no_such_method,
            ClientDisconnect: _gone,
            Exception: _failed,
        },
    )


@final
class _Unambiguous:
    """Refuses requests that say twice how long they are: a proxy in front might see another end than this server."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        names = [name for name, _ in scope.get("headers", ())]
        if b"transfer-encoding" in names and b"content-length" in names:
            await _sentence("The request has two lengths.", "Give one.", 400)(scope, receive, send)
        else:
            await self._app(scope, receive, send)


@final
class _Doors:
    """The routes, over one hub."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._fleet = Fleet(hub.engine)
        self._turns: dict[str, asyncio.Semaphore] = {}
        self._pieces = asyncio.Semaphore(_PIECES_AT_ONCE)

    async def descriptor(self, request: Request) -> Response:
        return JSONResponse(await run_in_threadpool(self._hub.descriptor))

    async def enrol(self, request: Request) -> Response:
        asked = await read_json(request)
        return JSONResponse(await run_in_threadpool(self._hub.enrol, asked))

    async def join(self, request: Request) -> Response:
        site = await self._site(request)
        data = await read_body(request, LARGEST_JOINING)
        return JSONResponse(await run_in_threadpool(self._hub.join, site, data))

    async def study(self, request: Request) -> Response:
        site = await self._site(request)
        deadline = time.monotonic() + _wait(request)
        while (found := self._hub.study(site)) is None and time.monotonic() < deadline:
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
        return JSONResponse(await run_in_threadpool(self._hub.models))

    async def model(self, request: Request) -> Response:
        await self._site(request)
        run, file = request.path_params["run"], request.path_params["file"]
        path = await run_in_threadpool(self._hub.model, run, file)
        if not _one_range(request.headers.get("range", "bytes=0-"), path.stat().st_size):
            raise Refused("Only one range of the file's bytes is served.", "Ask for the whole file.", 416)
        return FileResponse(path)

    async def engine(self, request: Request) -> Response:
        """Hand on one call of a site's SuperNode."""
        call = request.path_params["call"]
        largest = self._hub.largest_call(call)
        if largest is None:
            return await _nothing_here(request)
        site = await run_in_threadpool(self._hub.calling, request.headers)

        async def forward() -> httpx.Response:
            return await self._fleet.forward(call, body, request.headers, request.is_disconnected)

        async with self._turns.setdefault(site, asyncio.Semaphore(_AT_ONCE)):
            body = await read_body(request, largest)
            async with self._pieces if call in PIECES else contextlib.nullcontext():
                await run_in_threadpool(self._hub.weigh, site, call, body)
                answer = await forward() if call in PIECES else None
        # A question for messages is held open, and the site may ask others meanwhile.
        answer = await forward() if answer is None else answer
        if answer.status_code >= 500:
            return _sentence("The engine cannot be reached.", "Try again.", 503)
        return Response(answer.content, answer.status_code, dict(answer.headers))

    async def close(self) -> None:
        await self._fleet.close()

    async def _for_site(self, request: Request, act: Callable[[str], dict[str, Any]]) -> Response:
        site = await self._site(request)
        return JSONResponse(await run_in_threadpool(act, site))

    async def _site(self, request: Request) -> str:
        kind, _, credential = request.headers.get("authorization", "").partition(" ")
        if kind.lower() != "bearer" or not credential:
            raise Refused("This needs a site's credential.", "Join with an invitation.")
        return await run_in_threadpool(self._hub.site_of, credential)


def _one_range(asked: str, size: int) -> bool:
    found = _RANGE.fullmatch(asked)
    return found is not None and int(found[1]) < size and int(found[1]) <= int(found[2] or size)


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


async def _no_such_method(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return _sentence("This is not served.", "Use the same FedSeg version.", error.status_code)


async def _gone(request: Request, error: Exception) -> Response:
    return Response(status_code=400)


async def _failed(request: Request, error: Exception) -> Response:
    return _sentence(
        "The coordinator failed on this request.", "Tell the coordinator; its log says more.", 500
    )


def _sentence(message: str, fix: str, status: int) -> Response:
    # Whoever was refused may be in the middle of a request; the rest of it is not waited for.
    headers = {"connection": "close"} if status in (400, 408, 413) else None
    return JSONResponse({"message": message, "fix": fix}, status, headers)
