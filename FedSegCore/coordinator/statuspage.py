"""The coordinator's own page: how the study goes, for who has its login token, and nothing that can be changed."""

from __future__ import annotations

import hmac
import secrets
import time
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any, Final, final
from urllib.parse import parse_qs

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from FedSegCore.coordinator.bodies import read_body
from FedSegCore.coordinator.roster import Refused
from FedSegCore.coordinator.statusview import login_page, status_page

HEADERS: Final = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
_LARGEST_FORM: Final = 4096
_SESSION_S: Final = 12 * 3600.0
_SESSIONS: Final = 100
_FREE_TRIES: Final = 3
_LONGEST_PAUSE_S: Final = 60.0
_ADDRESSES: Final = 1000
_FILES: Final = {"page.css": "text/css", "page.js": "text/javascript"}


def status_routes(snapshot: Callable[[], dict[str, Any]], login: str) -> list[Route]:
    """The page, the same as JSON, the way in and the way out.

    Args:
        snapshot: tells all facts of the study as of now.
        login: the token that opens them.
    """
    page = _Page(snapshot, Visitors(login))
    return [
        Route("/status", page.page),
        Route("/status.json", page.facts),
        Route("/status/login", page.log_in, methods=["POST"]),
        Route("/status/logout", page.log_out, methods=["POST"]),
        Route("/status/{file}", page.file),
    ]


@final
class Visitors:
    """Who may look: a session for each that showed the token. Wrong ones make their address wait, longer each time.

    Sessions are forgotten with the process. Only digests are kept and compared, in constant time.
    One thread alone uses it: the port's.

    Args:
        login: the token.
        now: seconds, of a clock that never goes back.
    """

    def __init__(self, login: str, now: Callable[[], float] = time.monotonic) -> None:
        self._login = _digest(login)
        self._now = now
        self._sessions: dict[bytes, float] = {}
        self._wrong: dict[str, tuple[int, float]] = {}
        # Cookies are shared by all ports of a host: each coordinator has its own name for its.
        self.cookie = f"__Host-fedseg-{_digest(f'name of {login}').hex()[:8]}"

    def admit(self, token: str, address: str) -> str:
        """A new session for who shows the token.

        Raises:
            Refused: it is wrong, or its address has to wait.
        """
        self.check(token, address)
        session = secrets.token_urlsafe(32)
        self._sessions[_digest(session)] = self._now() + _SESSION_S
        while len(self._sessions) > _SESSIONS:
            del self._sessions[next(iter(self._sessions))]
        return session

    def check(self, token: str, address: str) -> None:
        """See that it is the token.

        Raises:
            Refused: it is wrong, or its address has to wait.
        """
        wrong, until = self._wrong.get(address, (0, 0.0))
        if (wait := until - self._now()) > 0:
            raise Refused(f"Too many wrong tries; wait {wait:.0f} s.", "Then try again.", 429)
        if hmac.compare_digest(self._login, _digest(token)):
            self._wrong.pop(address, None)
            return
        pause = min(2.0 ** (wrong + 1 - _FREE_TRIES), _LONGEST_PAUSE_S) if wrong + 1 >= _FREE_TRIES else 0.0
        self._wrong.pop(address, None)
        self._wrong[address] = wrong + 1, self._now() + pause
        while len(self._wrong) > _ADDRESSES:
            del self._wrong[next(iter(self._wrong))]
        raise Refused("That is not the login token.", "See the file coordinator/login.", 401)

    def knows(self, session: str) -> bool:
        """Whether a session is open."""
        return self._sessions.get(_digest(session), 0.0) > self._now()

    def leave(self, session: str) -> None:
        """End a session."""
        self._sessions.pop(_digest(session), None)


@final
class _Page:
    """The routes."""

    def __init__(self, snapshot: Callable[[], dict[str, Any]], visitors: Visitors) -> None:
        self._snapshot = snapshot
        self._visitors = visitors

    async def page(self, request: Request) -> Response:
        if not self._is_in(request):
            return HTMLResponse(login_page(), 401, HEADERS)
        return HTMLResponse(await run_in_threadpool(lambda: status_page(self._snapshot())), headers=HEADERS)

    async def facts(self, request: Request) -> Response:
        """The facts for a browser that is in, or for a program that shows the token itself."""
        if not self._is_in(request):
            kind, _, token = request.headers.get("authorization", "").partition(" ")
            if kind.lower() != "bearer":
                refused = {"message": "This needs the coordinator's login.", "fix": "Log in at /status."}
                return JSONResponse(refused, 401, HEADERS)
            try:
                self._visitors.check(token, _address(request))
            except Refused as error:
                return JSONResponse({"message": error.message, "fix": error.fix}, error.status, HEADERS)
        return JSONResponse(await run_in_threadpool(self._snapshot), headers=HEADERS)

    async def log_in(self, request: Request) -> Response:
        form = parse_qs((await read_body(request, _LARGEST_FORM)).decode(errors="replace"))
        try:
            session = self._visitors.admit(form.get("token", [""])[0].strip(), _address(request))
        except Refused as error:
            return HTMLResponse(login_page(error.message), error.status, HEADERS)
        response = RedirectResponse("/status", 303, HEADERS)
        response.set_cookie(
            self._visitors.cookie, session, max_age=int(_SESSION_S), path="/", secure=True, httponly=True,
            samesite="strict",
        )  # fmt: skip
        return response

    async def log_out(self, request: Request) -> Response:
        self._visitors.leave(request.cookies.get(self._visitors.cookie, ""))
        response = RedirectResponse("/status", 303, HEADERS)
        response.delete_cookie(self._visitors.cookie, path="/", secure=True, httponly=True, samesite="strict")
        return response

    async def file(self, request: Request) -> Response:
        """The page's style and script; nothing of the study is in them."""
        name = request.path_params["file"]
        if name not in _FILES:
            return JSONResponse(
                {"message": "There is nothing here.", "fix": "Check the address."}, 403, HEADERS
            )
        return Response(_read(name), headers=HEADERS, media_type=_FILES[name])

    def _is_in(self, request: Request) -> bool:
        return self._visitors.knows(request.cookies.get(self._visitors.cookie, ""))


def _read(name: str) -> bytes:
    return (Path(__file__).parent / name.replace("page", "status")).read_bytes()


def _address(request: Request) -> str:
    return request.client.host if request.client is not None else ""


def _digest(text: str) -> bytes:
    return sha256(text.encode()).digest()
