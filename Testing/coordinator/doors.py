"""A coordinator's port with a stand-in for Flower's SuperLink behind it, and a site that can sign its calls."""

from __future__ import annotations

import base64
import contextlib
import ssl
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from FedSegCore.coordinator.board import Board
from FedSegCore.coordinator.hub import StudyHub
from FedSegCore.coordinator.quota import Quota
from FedSegCore.coordinator.roster import Roster
from FedSegCore.federation import wire
from FedSegCore.federation.joining import Joining
from FedSegCore.federation.keys import TlsFiles, make_engine_key, make_tls
from Testing.coordinator.listening import Listening

SITES = ("north", "south")
ANSWER = b"\x0a\x07answer!"


@dataclass
class FakeSuperLink:
    """Answers every call with the same bytes and remembers it."""

    tls: TlsFiles
    status: int = 200
    body: bytes = ANSWER
    calls: list[tuple[str, bytes, dict[str, str]]] = field(default_factory=list)
    epoch: str = "first"
    quota: Quota = field(default_factory=Quota)
    attached: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._listening = Listening(self, self.tls)

    @property
    def where(self) -> tuple[str, ssl.SSLContext]:
        return self._listening.address, ssl.create_default_context(cadata=self.tls.ca)

    def attach(self, site: str, engine_key: str) -> None:
        self.attached.append(site)

    def detach(self, site: str) -> None:
        self.attached.append(f"not {site}")

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        body, more = b"", True
        while more:
            told = await receive()
            body, more = body + told.get("body", b""), told.get("more_body", False)
        headers = {name.decode(): value.decode("latin-1") for name, value in scope["headers"]}
        self.calls.append((scope["path"], body, headers))
        secret = [(b"server", b"uvicorn"), (b"x-secret", b"/srv/flower"), (b"content-type", b"application/x")]
        await send({"type": "http.response.start", "status": self.status, "headers": secret})
        await send({"type": "http.response.body", "body": self.body})

    def stop(self) -> None:
        self._listening.stop()


@dataclass
class Visitor:
    """A site, or somebody who would like to be one.

    Args:
        folder: for its key.
    """

    name: str
    folder: Path
    credential: str = ""

    def __post_init__(self) -> None:
        self.engine_key = make_engine_key(self.folder / f"{self.name}.key")
        loaded = serialization.load_ssh_private_key((self.folder / f"{self.name}.key").read_bytes(), None)
        assert isinstance(loaded, ec.EllipticCurvePrivateKey)
        self.key = loaded

    @property
    def bearer(self) -> dict[str, str]:
        return {"authorization": f"Bearer {self.credential}"}

    def signed(self, moment: str | None = None) -> dict[str, str]:
        """The headers of a SuperNode's call."""
        moment = moment or datetime.now(UTC).isoformat()
        public = self.key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        signature = self.key.sign(moment.encode(), ec.ECDSA(hashes.SHA256()))
        return {
            "flwr-public-key": base64.b64encode(public).decode(),
            "flwr-signature": base64.b64encode(signature).decode(),
            "flwr-timestamp": moment,
        }


@dataclass
class House:
    """A hub of two sites: `north` is enrolled, `south` is invited only."""

    folder: Path
    link: FakeSuperLink
    now: float = 1000.0
    refusal: Exception | None = None

    def __post_init__(self) -> None:
        self.link.calls.clear()
        self.link.attached.clear()
        self.link.status, self.link.body, self.link.quota = 200, ANSWER, Quota()
        self.roster = Roster(self.folder / "roster", SITES, now=lambda: self.now)
        self.board = Board(
            self.folder / "status.json", study="s", runs=["r"], total=2, emit=lambda *a, **b: None,
            members=SITES, entries=self.roster.entries,
        )  # fmt: skip
        self.hub = StudyHub(
            "s", identity="identity", roster=self.roster, engine=self.link, board=self.board, welcome=self.welcome,  # type: ignore[arg-type]
        )  # fmt: skip
        for site in SITES:
            self.roster.invite(site, f"token of {site}", expires=self.now + 100)
        self.north = Visitor("north", self.folder)
        self.south = Visitor("south", self.folder)
        self.stranger = Visitor("stranger", self.folder, "made up")
        self.north.credential = self.roster.enrol("north", "token of north", self.north.engine_key)

    def welcome(self, joining: Joining) -> None:
        if self.refusal is not None:
            raise self.refusal


@contextlib.contextmanager
def superlink(folder: Path) -> Iterator[FakeSuperLink]:
    link = FakeSuperLink(make_tls(folder / "loopback", ()))
    yield link
    link.stop()


def joining(name: str = "north", **other: Any) -> bytes:
    facts: dict[str, Any] = {
        "name": name, "modalities": ["CT"], "labels": ["Liver"], "values": {"Liver": [1]}, "num_cases": 3,
        "licence": "CC0", "passport": {},
    }  # fmt: skip
    return wire.encode(Joining(**{**facts, **other}))
