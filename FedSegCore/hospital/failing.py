"""What went wrong on the way to the hub, in a sentence; never in the library's words, which quote addresses."""

from __future__ import annotations

import re
import socket
import ssl
from collections.abc import Iterator

import requests

from FedSegCore.errors import FedSegError
from FedSegCore.hospital.answers import HubError, HubUnreachable, HubUntrusted
from FedSegCore.hospital.tls import proxy_for

TEST = "`fedseg test-connection` with the invitation names the part that fails."


def as_hub_error(error: requests.RequestException, address: str, timeouts_s: tuple[float, float]) -> HubError:
    """The failure of one request; HubUnreachable where another try may succeed."""
    causes = list(_causes(error))
    for cause in causes:
        if isinstance(cause, ssl.SSLCertVerificationError):
            reason = cause.verify_message.rstrip(".") or "its certificate is wrong"
            return HubUntrusted(f"{address} is not trusted: {reason}.", TEST)
    if isinstance(error, requests.exceptions.ProxyError):
        return _at_the_proxy(causes, address)
    if isinstance(error, requests.ConnectTimeout):
        return HubUnreachable(f"{address} did not accept a connection within {timeouts_s[0]:g} s.", TEST)
    if isinstance(error, requests.Timeout) or any(isinstance(cause, TimeoutError) for cause in causes):
        return HubUnreachable(f"{address} was silent for {timeouts_s[1]:g} s.", TEST)
    if any(isinstance(cause, socket.gaierror) for cause in causes):
        return HubUnreachable(f"The name in {address} is not known here.", TEST)
    if any(isinstance(cause, ConnectionRefusedError) for cause in causes):
        return HubUnreachable(f"{address} refused the connection.", TEST)
    if isinstance(error, requests.ConnectionError | requests.exceptions.ChunkedEncodingError):
        return HubUnreachable(f"The connection to {address} broke off.", TEST)
    return HubError(f"{address} cannot be asked ({type(error).__name__}).", TEST)


def refusal_of(status_line: str) -> int | None:
    """The status with which a proxy refused a tunnel; None where the text tells none."""
    found = re.search(r"\b([45]\d\d)\b", status_line)
    return int(found[1]) if found else None


def _at_the_proxy(causes: list[BaseException], address: str) -> HubError:
    try:
        proxy = proxy_for(address)
        name = proxy.name if proxy else "a proxy"
    except FedSegError:
        name = "a proxy"
    refused = [str(cause) for cause in causes if "Tunnel connection failed" in str(cause)]
    status = refusal_of(refused[-1]) if refused else None
    if status is None:
        return HubUnreachable(f"The proxy {name} cannot be reached.", TEST)
    kind = HubError if status < 500 else HubUnreachable
    return kind(f"The proxy {name} does not let this computer through to {address} ({status}).", TEST)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
