"""How a site trusts and reaches the hub: the invitation's authority alone, and the proxy that this computer uses."""

from __future__ import annotations

import os
import ssl
import sys
from dataclasses import dataclass, field
from typing import Any, Final, final
from urllib.parse import unquote, urlsplit

import certifi
from requests.adapters import HTTPAdapter
from requests.utils import get_environ_proxies, select_proxy

from FedSegCore.errors import InputError, UsageError


def trusting(ca_pem: str) -> ssl.SSLContext:
    """A context that trusts this authority and no other; "" stands for the authorities that the system trusts.

    Raises:
        InputError: the text is no certificate.
    """
    if ca_pem:
        try:
            return _modern(ssl.create_default_context(cadata=ca_pem))
        except (ssl.SSLError, ValueError) as error:
            raise InputError(
                "The invitation's certificate cannot be read.", "Ask the coordinator for a new invitation."
            ) from error
    context = ssl.create_default_context()
    paths = ssl.get_default_verify_paths()
    if sys.platform != "win32" and not (paths.cafile or paths.capath):
        # A Python that was built elsewhere, as Slicer's is, looks for the system's certificates where none are.
        context.load_verify_locations(certifi.where())
    return _modern(context)


def _modern(context: ssl.SSLContext) -> ssl.SSLContext:
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


@final
class TrustingAdapter(HTTPAdapter):
    """Sends over TLS that one context decides on; what requests would trust besides stays out."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._context = context
        super().__init__(pool_maxsize=2)

    def init_poolmanager(self, *arguments: Any, **options: Any) -> None:
        """As requests does, with the context."""
        super().init_poolmanager(*arguments, **options, ssl_context=self._context)

    def proxy_manager_for(self, proxy: str, **options: Any) -> Any:
        """As requests does; the tunnel's inner end has the context, an HTTPS proxy itself the system's trust."""
        if proxy.lower().startswith("https"):
            options["proxy_ssl_context"] = trusting("")
        return super().proxy_manager_for(proxy, **options, ssl_context=self._context)

    def cert_verify(self, conn: Any, url: str, verify: Any, cert: Any) -> None:
        """Leave the context as it is: requests would add every public authority to it."""
        conn.cert_reqs = "CERT_REQUIRED"


@final
@dataclass(frozen=True)
class Proxy:
    """A proxy on the way.

    Args:
        scheme: http or https; anything else cannot be used.
        user, password: where the proxy's address holds them; never shown.
    """

    scheme: str
    host: str
    port: int
    user: str = ""
    password: str = field(default="", repr=False)

    @property
    def name(self) -> str:
        """Its host and port."""
        return f"{bracketed(self.host)}:{self.port}"


_PORTS: Final = {"http": 80, "https": 443}


def proxies_for(address: str) -> dict[str, str]:
    """What the environment or the system's settings say of proxies for this address, NO_PROXY honoured."""
    return dict(get_environ_proxies(f"https://{address}/"))


def proxy_for(address: str) -> Proxy | None:
    """The proxy that requests to this address go through; none: they go straight.

    Raises:
        UsageError: its address cannot be read.
    """
    url = select_proxy(f"https://{address}/", proxies_for(address))
    if not url:
        return None
    try:
        parts = urlsplit(url if "://" in url else f"http://{url}")
        port = parts.port or _PORTS.get(parts.scheme, 1080)
    except ValueError:
        parts, port = urlsplit(""), 0
    if not parts.hostname:
        raise UsageError(
            "The address of this computer's proxy cannot be read.",
            "Correct HTTPS_PROXY or the system's settings.",
        )
    return Proxy(
        parts.scheme, parts.hostname, port, unquote(parts.username or ""), unquote(parts.password or "")
    )


def keep_one_proxy(address: str) -> None:
    """Let this process and its children use the way to the hub that was found, and no proxy for anything else.

    All that they talk to are the hub, over HTTPS, and each other on this machine, over HTTP: the engine's own client
    would send that to HTTP_PROXY, and knows nothing of the exceptions in a system's settings.
    """
    url = select_proxy(f"https://{address}/", proxies_for(address))
    for name in [name for name in os.environ if name.lower() in _VARIABLES]:
        del os.environ[name]
    os.environ.update({"https_proxy": url} if url else {"no_proxy": "*"})


_VARIABLES: Final = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")


def host_and_port(address: str) -> tuple[str, int]:
    """An invitation's "host:port" taken apart; IPv6 addresses stand in brackets.

    Raises:
        InputError: it is none.
    """
    try:
        parts = urlsplit(f"//{address}")
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if not host or not port or bracketed(host) + f":{port}" != address.lower():
        raise InputError(
            f"The invitation's address is {address!r}, expected host:port.",
            "Ask the coordinator for a new invitation.",
        )
    return host, port


def bracketed(host: str) -> str:
    """A host as it stands in an address."""
    return f"[{host}]" if ":" in host else host
