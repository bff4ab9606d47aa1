"""The test of the connection: hop after hop from this computer to the study, until one fails; in words for IT."""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable, Iterator
from typing import Final, final

from FedSegCore.errors import FedSegError
from FedSegCore.federation.invitation import Invitation
from FedSegCore.hospital import handshake, probing
from FedSegCore.hospital.answers import Descriptor, HubRefused, NotAHub, cleaned
from FedSegCore.hospital.handshake import Hop
from FedSegCore.hospital.hubclient import CONNECT_S, HubClient
from FedSegCore.hospital.tls import Proxy, host_and_port, proxy_for, trusting

HOPS: Final = ("DNS", "TCP", "proxy", "TLS", "gateway", "identity", "version", "clock", "enrolment")
"""In their order; through a proxy there is no TCP of our own, and without a credential no enrolment."""


def test_connection(
    invitation: Invitation,
    *,
    credential: str | None = None,
    client_factory: Callable[[str, str, str | None], HubClient] = HubClient,
    now: Callable[[], float] = time.time,
) -> list[Hop]:
    """All hops up to the first that failed, or to the study."""
    return list(hops(invitation, credential=credential, client_factory=client_factory, now=now))


def hops(
    invitation: Invitation,
    *,
    credential: str | None = None,
    client_factory: Callable[[str, str, str | None], HubClient] = HubClient,
    now: Callable[[], float] = time.time,
) -> Iterator[Hop]:
    """As `test_connection`, each hop as it is passed.

    Args:
        credential: what enrolment gave this site; none: it has not enrolled.
        client_factory: makes the client from address, authority and credential.
        now: this computer's clock, seconds since 1970.

    Raises:
        FedSegError: the invitation's address or certificate, or the proxy's address, cannot be read.
    """
    with client_factory(invitation.address, invitation.ca, credential) as client:
        way = _Way(invitation, client, proxy_for(invitation.address), now)
        steps = [
            way.name,
            way.tunnel if way.proxy else way.line,
            way.tls,
            way.gateway,
            way.identity,
            way.version,
        ]
        for step in [*steps, way.clock, *([way.enrolment] if credential else [])]:
            hop = step()
            yield hop
            if hop.status == "failed":
                return


@final
class _Way:
    """The steps, and what the earlier ones found out for the later."""

    def __init__(
        self, invitation: Invitation, client: HubClient, proxy: Proxy | None, now: Callable[[], float]
    ) -> None:
        self.invitation = invitation
        self.client = client
        self.proxy = proxy
        self.now = now
        self.host, self.port = host_and_port(invitation.address)
        self.asked_at = 0.0
        self.descriptor = Descriptor("", "", "", "", 0.0, "")

    def name(self) -> Hop:
        """Whether the first machine's name is known."""
        host, port = (self.proxy.host, self.proxy.port) if self.proxy else (self.host, self.port)
        whose = f"the proxy's name {host}" if self.proxy else host
        try:
            found = probing.resolved(host, port)
        except (OSError, UnicodeError):
            return Hop(
                "DNS",
                "failed",
                f"This computer's name server does not know {whose}.",
                "Correct the proxy's address (HTTPS_PROXY or the system's settings)."
                if self.proxy
                else f"Ask IT whether outside names are resolved here, and whether {host} goes through a proxy that "
                "HTTPS_PROXY has to name; compare the address with the coordinator's.",
            )
        known = (
            f"{whose} is {', '.join(found[:3])}." if found != [host] else f"{host} is an address, not a name."
        )
        return Hop("DNS", "ok", known)

    def line(self) -> Hop:
        """Whether the hub's port can be reached."""
        wanted = f"Ask IT to allow outbound TCP from this computer to {self.host}, port {self.port}."
        try:
            with probing.connection(self.host, self.port, None, timeout_s=CONNECT_S):
                return Hop("TCP", "ok", f"{self.invitation.address} accepts connections.")
        except TimeoutError:
            seen = f"{self.invitation.address} was silent for {CONNECT_S:.0f} s, as behind a firewall."
        except ConnectionRefusedError:
            seen = f"{self.invitation.address} refuses connections: nothing listens there, or a firewall says no."
            wanted = f"Ask the coordinator whether the study is being served; if it is: {wanted}"
        except OSError as error:
            seen = f"{self.invitation.address} cannot be reached ({error.strerror or type(error).__name__})."
        return Hop("TCP", "failed", seen, wanted)

    def tunnel(self) -> Hop:
        """Whether the proxy lets this computer through."""
        assert self.proxy is not None
        name, target = self.proxy.name, self.invitation.address
        if self.proxy.scheme not in ("http", "https"):
            seen = f"The proxy {name} is of the kind {self.proxy.scheme}, which FedSeg does not speak."
            return Hop(
                "proxy", "failed", seen, "Name an HTTP proxy in HTTPS_PROXY, or take the host into NO_PROXY."
            )
        try:
            with probing.connection(self.host, self.port, self.proxy, timeout_s=CONNECT_S):
                return Hop("proxy", "ok", f"The proxy {name} opens a tunnel to {target}.")
        except probing.TunnelRefused as error:
            if error.status == 407:
                seen = f"The proxy {name} wants a login (407)."
                fix = (
                    "Write HTTPS_PROXY as http://USER:PASSWORD@HOST:PORT, or ask IT for a way without login."
                )
                return Hop("proxy", "failed", seen, fix)
            seen = f'The proxy {name} does not open a tunnel to {target}: "{error}".'
        except OSError as error:
            reason = "silent" if isinstance(error, TimeoutError) else error.strerror or type(error).__name__
            seen = f"The proxy {name} cannot be reached ({reason})."
            fix = "Correct HTTPS_PROXY or the system's settings, or take the host into NO_PROXY."
            return Hop("proxy", "failed", seen, fix)
        fix = f"Ask IT to allow CONNECT to {self.host}, port {self.port}, on that proxy, without inspecting its TLS."
        return Hop("proxy", "failed", seen, fix)

    def tls(self) -> Hop:
        """Whether whoever answers is whom the invitation means."""
        context = trusting(self.invitation.ca)
        try:
            with probing.connection(self.host, self.port, self.proxy, timeout_s=CONNECT_S) as line:
                secure = probing.secured(line, self.host, context)
                version = secure.version()
                secure.close()
        except ssl.SSLCertVerificationError as error:
            return Hop(
                "TLS", "failed", *probing.distrust(error, self._shown(), host=self.host, now=self.now())
            )
        except (OSError, probing.TunnelRefused) as error:
            seen = (
                f"{self.invitation.address} does not speak TLS, or something cuts it off ({_reason(error)})."
            )
            fix = f"Ask IT whether a firewall inspects or blocks TLS to {self.host}, port {self.port}."
            return Hop("TLS", "failed", seen, fix)
        whose = (
            "an authority that the system trusts" if not self.invitation.ca else "the invitation's authority"
        )
        return Hop("TLS", "ok", f"{version}, with a certificate of {whose}.")

    def _shown(self) -> probing.Certificate | None:
        """The certificate that is not trusted, from a second connection; the verdict stands without it."""
        try:
            with probing.connection(self.host, self.port, self.proxy, timeout_s=CONNECT_S) as line:
                return probing.shown_certificate(line, self.host)
        except (OSError, probing.TunnelRefused):
            return None

    def gateway(self) -> Hop:
        """Whether a hub answers."""
        before = self.now()
        try:
            self.descriptor = self.client.descriptor()
        except NotAHub as error:
            return Hop("gateway", "failed", f"A web server, but no FedSeg hub: {error.message}", error.fix)
        except FedSegError as error:
            return Hop(
                "gateway", "failed", error.message, "Ask the coordinator whether the study is being served."
            )
        self.asked_at = (before + self.now()) / 2
        return Hop("gateway", "ok", f'The study "{self.descriptor.study}" is {self.descriptor.state}.')

    def identity(self) -> Hop:
        """Whether the hub is the coordinator's who signed the invitation."""
        return handshake.identity(self.descriptor, self.invitation)

    def version(self) -> Hop:
        """Whether both ends understand each other."""
        return handshake.version(self.descriptor)

    def clock(self) -> Hop:
        """How far the clocks are apart."""
        return handshake.clock(self.descriptor, self.asked_at)

    def enrolment(self) -> Hop:
        """Whether the hub knows this site."""
        try:
            told = self.client.state()
        except HubRefused as error:
            fix = error.fix or "Ask the coordinator for a new invitation."
            return Hop("enrolment", "failed", f"The hub does not accept this site: {error.message}", fix)
        except FedSegError as error:
            return Hop("enrolment", "failed", error.message, error.fix)
        return Hop("enrolment", "ok", f"The hub knows this site; the study is {cleaned(told.get('state'))}.")


def _reason(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "silent"
    return cleaned(getattr(error, "reason", None) or getattr(error, "strerror", None)) or type(error).__name__
