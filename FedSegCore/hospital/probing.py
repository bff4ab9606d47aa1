"""The way to the hub in single steps, below HTTP: a name, a connection, a proxy's tunnel, a certificate."""

from __future__ import annotations

import base64
import contextlib
import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, final

from urllib3.util.ssltransport import SSLTransport

from FedSegCore.hospital.answers import cleaned
from FedSegCore.hospital.failing import refusal_of
from FedSegCore.hospital.tls import Proxy, bracketed, trusting

_LONGEST_HEAD: Final = 64 * 1024
"""Bytes of a proxy's answer before its tunnel begins."""


_NOT_YET_VALID: Final = 9
_EXPIRED: Final = 10
_WRONG_NAMES: Final = (62, 64)
"""OpenSSL's X509_V_ERR_CERT_NOT_YET_VALID, _CERT_HAS_EXPIRED, _HOSTNAME_MISMATCH and _IP_ADDRESS_MISMATCH."""


class TunnelRefused(Exception):
    """A proxy that answers, but does not let this computer through.

    Args:
        status: its HTTP status; None where it spoke no HTTP.
        text: its first line, cleaned.
    """

    def __init__(self, status: int | None, text: str) -> None:
        super().__init__(text)
        self.status = status


@final
@dataclass(frozen=True)
class Certificate:
    """What a certificate that was not trusted says of itself."""

    subject: str
    issuer: str
    begins: datetime
    ends: datetime


def resolved(host: str, port: int) -> list[str]:
    """The addresses of a name.

    Raises:
        OSError: it has none here.
    """
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


@contextlib.contextmanager
def connection(host: str, port: int, proxy: Proxy | None, *, timeout_s: float) -> Iterator[socket.socket]:
    """A TCP connection to the hub, or through the proxy's tunnel.

    Raises:
        OSError: nobody there.
        TunnelRefused: the proxy says no.
    """
    first = (proxy.host, proxy.port) if proxy else (host, port)
    with contextlib.ExitStack() as stack:
        line = stack.enter_context(socket.create_connection(first, timeout=timeout_s))
        if proxy is not None:
            if proxy.scheme == "https":
                line = stack.enter_context(trusting("").wrap_socket(line, server_hostname=proxy.host))
            _tunnel(line, f"{bracketed(host)}:{port}", proxy)
        yield line


def _tunnel(line: socket.socket, target: str, proxy: Proxy) -> None:
    login = ""
    if proxy.user:
        pair = base64.b64encode(f"{proxy.user}:{proxy.password}".encode()).decode()
        login = f"Proxy-Authorization: Basic {pair}\r\n"
    line.sendall(f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n{login}\r\n".encode())
    head = b""
    # One byte at a time, for what follows the head belongs to TLS.
    while not head.endswith(b"\r\n\r\n") and len(head) < _LONGEST_HEAD and (byte := line.recv(1)):
        head += byte
    first = head.split(b"\r\n")[0].decode("latin-1")
    words = first.split()
    if len(words) < 2 or not words[0].startswith("HTTP/") or not words[1].startswith("2"):
        raise TunnelRefused(refusal_of(first), cleaned(first))


def secured(line: socket.socket, host: str, context: ssl.SSLContext) -> ssl.SSLSocket | SSLTransport:
    """TLS over a connection; over that of an HTTPS proxy too, which is TLS within TLS.

    Raises:
        OSError: the handshake failed.
    """
    if isinstance(line, ssl.SSLSocket):
        return SSLTransport(line, context, server_hostname=host)
    return context.wrap_socket(line, server_hostname=host)


def shown_certificate(line: socket.socket, host: str) -> Certificate | None:
    """The certificate at the end of a fresh connection, trusted or not: nothing is sent to whoever shows it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        looked_at = secured(line, host, context)
        try:
            return _read(looked_at.getpeercert(binary_form=True))
        finally:
            looked_at.close()
    except (OSError, ValueError):
        return None


def _read(der: object) -> Certificate:
    from cryptography import x509

    shown = x509.load_der_x509_certificate(der if isinstance(der, bytes) else b"")
    subject, issuer = (cleaned(name.rfc4514_string()) for name in (shown.subject, shown.issuer))
    return Certificate(subject, issuer, shown.not_valid_before_utc, shown.not_valid_after_utc)


def distrust(
    error: ssl.SSLCertVerificationError, shown: Certificate | None, *, host: str, now: float
) -> tuple[str, str]:
    """What is wrong with a certificate, and what to do about it.

    Args:
        shown: what it says of itself, where that could be seen.
        now: this computer's clock, seconds since 1970.
    """
    code = getattr(error, "verify_code", None)
    subject, issuer = (shown.subject, shown.issuer) if shown else ("unknown", "unknown")
    clock = f"it is {datetime.fromtimestamp(now, UTC):%Y-%m-%d %H:%M} UTC by this computer's clock"
    if code == _NOT_YET_VALID:
        begins = f"only from {shown.begins:%Y-%m-%d %H:%M} UTC" if shown else "not yet"
        return (
            f"The certificate is valid {begins}; {clock}.",
            "Set this computer's clock (IT: time synchronisation, NTP).",
        )
    if code == _EXPIRED:
        ends = f" on {shown.ends:%Y-%m-%d %H:%M} UTC" if shown else ""
        return (
            f"The certificate expired{ends}; {clock}.",
            "If this clock is right, ask the coordinator to renew the certificate; else set the clock.",
        )
    if code in _WRONG_NAMES:
        return (
            f"The certificate ({subject}, issued by {issuer}) is not for {host}.",
            "Ask the coordinator to serve with this address in the certificate, or for a new invitation.",
        )
    return (
        f"The certificate ({subject}) was issued by {issuer}, which the invitation does not trust.",
        f"If that is your hospital's own: a proxy reads encrypted traffic; ask IT to exempt {host} from TLS "
        "inspection. Else ask the coordinator, by telephone, for a new invitation.",
    )
