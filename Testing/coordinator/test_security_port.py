"""The public port as who speaks no clean HTTP sees it: over real sockets, with TLS."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import ssl
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from FedSegCore.coordinator import bodies, gateway, listening
from FedSegCore.coordinator.gateway import Gateway
from FedSegCore.federation.keys import make_tls
from Testing.coordinator.doors import House

STATE = b"GET /hub/state HTTP/1.1\r\nHost: hub\r\n"
JOIN = b"POST /hub/join HTTP/1.1\r\nHost: hub\r\n"


@dataclass
class Port:
    """An open port and who is behind it."""

    house: House
    number: int
    context: ssl.SSLContext

    def connect(self) -> ssl.SSLSocket:
        plain = socket.create_connection(("127.0.0.1", self.number), timeout=10)
        return self.context.wrap_socket(plain, server_hostname="127.0.0.1")

    def say(self, *pieces: bytes) -> bytes:
        """Everything that comes back until the other end hangs up, or says nothing more for a moment."""
        with self.connect() as line:
            for piece in pieces:
                line.sendall(piece)
            return heard(line, 0.7)

    @property
    def bearer(self) -> bytes:
        return f"Authorization: Bearer {self.house.north.credential}\r\n".encode()


def heard(line: ssl.SSLSocket, patience_s: float) -> bytes:
    line.settimeout(patience_s)
    data = b""
    with contextlib.suppress(TimeoutError, ConnectionError, ssl.SSLError):
        while piece := line.recv(65536):
            data += piece
    return data


def hung_up(line: ssl.SSLSocket, within_s: float) -> bool:
    started = time.monotonic()
    heard(line, within_s)
    return time.monotonic() - started < within_s


def statuses(data: bytes) -> list[int]:
    return [int(part[:3]) for part in data.split(b"HTTP/1.1 ")[1:]]


@pytest.fixture
def port(house: House) -> Iterator[Port]:
    tls = make_tls(house.folder / "tls", ("127.0.0.1",))
    opened = Gateway(house.hub, host="127.0.0.1", port=0, certificate=tls.certificate, key=tls.key)
    yield Port(house, opened.port, ssl.create_default_context(cadata=tls.ca))
    opened.stop()


def test_an_answer_names_no_software(port: Port) -> None:
    told = port.say(STATE + b"\r\n").lower()
    assert statuses(told.upper()) == [401]
    assert b"server:" not in told and b"date:" not in told and b"uvicorn" not in told


@pytest.mark.parametrize(
    "words",
    [b"junk\r\n\r\n", b"\x00\x01\x02\r\n\r\n", b"GET\r\n\r\n", b"GET / HTTP/1.x\r\n\r\n",
     STATE + b"Bad Header: x\r\n\r\n", STATE + b"X: a\rb\r\n\r\n", STATE + b"X: a\x00b\r\n\r\n",
     STATE + b"X: " + b"y" * 40_000, STATE + b"Host: other\r\n\r\n", b"GET /hub/st\xe9te HTTP/1.1\r\nHost: h\r\n\r\n",
     JOIN + b"Content-Length: 1\r\nContent-Length: 5\r\n\r\nhello", JOIN + b"Content-Length: -1\r\n\r\n",
     JOIN + b"Content-Length: 5, 6\r\n\r\nhello", JOIN + b"Content-Length: 1e9\r\n\r\n",
     JOIN + b"Transfer-Encoding: gzip\r\n\r\n", JOIN + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n"],
    ids=lambda words: repr(words[-36:]),
)  # fmt: skip
def test_what_is_no_http_gets_one_sentence_and_the_line_is_cut(port: Port, words: bytes) -> None:
    with port.connect() as line:
        line.sendall(words)
        told = heard(line, 5)
        assert hung_up(line, 1)
    (head, _, body) = told.partition(b"\r\n\r\n")
    assert statuses(head) in ([400], [401], [501]), told
    assert set(json.loads(body)) == {"message", "fix"}


def test_a_request_hidden_in_a_body_of_two_lengths_is_never_answered(port: Port) -> None:
    hidden = STATE + port.bearer + b"\r\n"
    told = port.say(
        JOIN + b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n" + hidden,
    )
    assert statuses(told) == [400] and b"two lengths" in told


def test_a_line_break_in_an_escaped_path_stays_in_the_path(port: Port) -> None:
    told = port.say(
        b"GET /hub/models/r/x%0d%0aSet-Cookie:%20a=b HTTP/1.1\r\nHost: h\r\n" + port.bearer + b"\r\n"
    )
    assert statuses(told) == [404] and b"set-cookie" not in told.lower()


def test_a_head_that_does_not_come_to_its_end_is_not_waited_for(
    port: Port, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listening, "PATIENCE_S", 0.4)
    with port.connect() as silent, port.connect() as slow:
        slow.sendall(b"GET /hub/st")
        time.sleep(0.2)
        slow.sendall(b"ate HT")
        assert hung_up(slow, 2) and hung_up(silent, 2)


def test_a_second_head_is_not_waited_for_either(port: Port, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listening, "PATIENCE_S", 0.4)
    with port.connect() as line:
        line.sendall(STATE + b"\r\n")
        assert statuses(heard(line, 0.3)) == [401]
        time.sleep(0.5)
        line.sendall(STATE + b"\r\n")
        assert statuses(heard(line, 0.3)) == [401], "a line on which nothing is owed stays open"
        line.sendall(b"GET")
        assert hung_up(line, 2)


def test_a_body_that_does_not_come_is_refused(port: Port, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "_FIRST_S", 0.3)
    with port.connect() as line:
        line.sendall(JOIN + port.bearer + b"Content-Length: 100\r\n\r\nabc")
        told = heard(line, 3)
    assert statuses(told) == [408] and b"does not come to its end" in told


def test_the_rest_of_a_refused_request_is_not_taken_for_ever(
    port: Port, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listening, "PATIENCE_S", 0.4)
    with port.connect() as line:
        line.sendall(JOIN + b"Content-Length: 100000\r\n\r\nabc")
        assert statuses(heard(line, 0.3)) == [401]
        with contextlib.suppress(OSError):
            for _ in range(20):
                time.sleep(0.05)
                line.sendall(b"x")
        assert hung_up(line, 2)


def resident_bytes() -> int:
    pages = Path("/proc/self/statm").read_text().split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.skipif(not Path("/proc/self/statm").is_file(), reason="memory is measured on Linux")
@pytest.mark.parametrize("head", [JOIN, b"POST /v1/fleet/push-object HTTP/1.1\r\nHost: h\r\n"])
def test_a_body_without_end_fills_no_memory_and_is_cut(port: Port, head: bytes) -> None:
    piece = b"10000\r\n" + b"x" * 65536 + b"\r\n"
    before = most = resident_bytes()
    signed = "".join(f"{name}: {value}\r\n" for name, value in port.house.north.signed().items()).encode()
    started = time.monotonic()
    with port.connect() as line, pytest.raises(OSError):
        line.sendall(head + port.bearer + signed + b"Transfer-Encoding: chunked\r\n\r\n")
        while time.monotonic() - started < 10:
            line.sendall(piece)
            most = max(most, resident_bytes())
    assert most - before < 40 * 2**20


def test_there_are_fewer_connections_than_files_that_a_process_may_open() -> None:
    assert gateway._MOST_CONNECTIONS < 1000
