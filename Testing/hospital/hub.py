"""A hub that says what it is told to, and a proxy before it: real sockets, real TLS, a thread each."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import StreamRequestHandler, ThreadingTCPServer
from typing import Any


@dataclass
class Answer:
    """What one request gets.

    Args:
        length: what Content-Length says; None: the truth; negative: nothing.
        cut: bytes of the body after which the connection breaks off; None: none.
        hangs: whether the hub says nothing at all until it ends.
    """

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    length: int | None = None
    cut: int | None = None
    hangs: bool = False


@dataclass(frozen=True)
class Asked:
    """One request as it arrived."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


Says = Answer | Callable[[Asked], Answer]


def said(content: object, status: int = 200) -> Answer:
    """An answer in JSON."""
    return Answer(status, json.dumps(content).encode())


def file(data: bytes, *, cuts: list[int] | None = None, ranges: bool = True) -> Says:
    """A file that the connection breaks off in: once for each cut, after so many bytes of an answer."""
    left = list(cuts or [])

    def answer(asked: Asked) -> Answer:
        cut = left.pop(0) if left else None
        found = re.fullmatch(r"bytes=(\d+)-", asked.headers.get("range", ""))
        if not found or not ranges:
            return Answer(200, data, cut=cut)
        start = int(found[1])
        return Answer(
            206, data[start:], {"Content-Range": f"bytes {start}-{len(data) - 1}/{len(data)}"}, cut=cut
        )

    return answer


class Hub(ThreadingHTTPServer):
    """Answers by path: the answers given for it one after the other, the last one ever after; 404 elsewhere."""

    daemon_threads = True

    def __init__(self, context: ssl.SSLContext | None) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.says: dict[str, list[Says]] = {}
        self.asked: list[Asked] = []
        self.ended = threading.Event()
        if context is not None:
            self.socket = context.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)

    @property
    def port(self) -> int:
        return int(self.server_address[1])

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def on(self, path: str, *answers: Says) -> None:
        self.says[path] = list(answers)

    def paths(self) -> list[str]:
        return [f"{one.method} {one.path}" for one in self.asked]

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up is no news."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Hub

    def log_message(self, format: str, *arguments: Any) -> None:
        """Nobody reads it."""

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        headers = {name.lower(): value for name, value in self.headers.items()}
        asked = Asked(self.command, self.path, headers, body)
        self.server.asked.append(asked)
        waiting = self.server.says.get(self.path, [Answer(404, b"<html>not found</html>")])
        says = waiting.pop(0) if len(waiting) > 1 else waiting[0]
        answer = says if isinstance(says, Answer) else says(asked)
        if answer.hangs:
            self.server.ended.wait()
            return
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        length = len(answer.body) if answer.length is None else answer.length
        if answer.status != 204 and length >= 0:
            self.send_header("Content-Length", str(length))
        self.end_headers()
        self.wfile.write(answer.body if answer.cut is None else answer.body[: answer.cut])
        if answer.cut is not None:
            self.close_connection = True

    do_GET = do_POST = _answer  # noqa: N815 - http.server looks for these names


@contextlib.contextmanager
def serving(context: ssl.SSLContext | None) -> Iterator[Hub]:
    """A running hub; without TLS where there is no context."""
    hub = Hub(context)
    with _running(hub):
        try:
            yield hub
        finally:
            hub.ended.set()


class ConnectProxy(ThreadingTCPServer):
    """Opens tunnels, or answers every one with a status line of its own."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, refusal: str = "", context: ssl.SSLContext | None = None, *, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), _Tunnel)
        if context is not None:
            self.socket = context.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)
        self.refusal = refusal
        self.heads: list[str] = []

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up is no news."""


class _Tunnel(StreamRequestHandler):
    server: ConnectProxy

    def handle(self) -> None:
        head = b""
        while not head.endswith(b"\r\n\r\n") and (line := self.rfile.readline()):
            head += line
        self.server.heads.append(head.decode())
        if self.server.refusal:
            self.wfile.write(f"HTTP/1.1 {self.server.refusal}\r\nContent-Length: 0\r\n\r\n".encode())
            return
        host, port = head.split()[1].decode().rsplit(":", 1)
        with socket.create_connection((host, int(port))) as far:
            self.wfile.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            back = threading.Thread(target=_pump, args=(far, self.connection), daemon=True)
            back.start()
            _pump(self.connection, far)
            back.join()


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while piece := source.recv(65536):
            sink.sendall(piece)
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_WR)


@contextlib.contextmanager
def proxying(refusal: str = "", context: ssl.SSLContext | None = None) -> Iterator[ConnectProxy]:
    """A running proxy, spoken to over TLS where there is a context."""
    proxy = ConnectProxy(refusal, context)
    with _running(proxy):
        yield proxy


@contextlib.contextmanager
def _running(server: ThreadingTCPServer | Hub) -> Iterator[None]:
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
