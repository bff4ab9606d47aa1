"""What a coordinator keeps besides a study's results: who it is, its certificates, where it can be reached."""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, final

from FedSegCore.coordinator.roster import Roster
from FedSegCore.errors import RunError
from FedSegCore.federation.keys import Identity, TlsFiles, given_tls, make_tls
from FedSegCore.files import write_atomic, write_private
from FedSegCore.study import Study, study_tables

FOLDER: Final = "coordinator"


@dataclass(frozen=True)
class Place:
    """Where a coordinator listens and how it is reached.

    Args:
        host, port: what is listened on; port 0 takes any.
        address: host:port as the sites see it; "": the host and port themselves.
        certificate, key: the coordinator's own TLS files; none: made for it.
    """

    host: str = "0.0.0.0"
    port: int = 8443
    address: str = ""
    certificate: Path | None = None
    key: Path | None = None


@final
class Desk:
    """The coordinator's private folder beside a study's results.

    Args:
        out: the study's output folder.
    """

    def __init__(self, out: Path) -> None:
        self.folder = out / FOLDER

    def claim(self) -> None:
        """Make the folder, for this account alone."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.folder.chmod(0o700)

    @property
    def identity(self) -> Identity:
        """The key that signs invitations; made on first use."""
        return Identity(self.folder / "identity.key")

    def roster(self, study: Study) -> Roster:
        """Who may take part."""
        return Roster(self.folder / "roster", study.members)

    def loopback(self) -> TlsFiles:
        """What the engine is served with on this machine."""
        return make_tls(self.folder / "loopback", ())

    def public(self, place: Place) -> TlsFiles:
        """What the public port is served with."""
        if place.certificate is not None and place.key is not None:
            return given_tls(place.certificate, place.key)
        hosts = {place.host, place.address.rpartition(":")[0]} - {"", "0.0.0.0", "::"}
        return make_tls(self.folder / "tls", tuple(sorted(hosts)))

    @property
    def login(self) -> str:
        """What opens the status page; made on first use."""
        path = self.folder / "login"
        if not path.is_file():
            write_private(path, secrets.token_urlsafe(24).encode())
        return path.read_text(encoding="utf-8")

    def open(self, study: Study, *, address: str, port: int, ca: str) -> None:
        """Let `fedseg invite` know that the study is served."""
        tables = study_tables(study)
        facts = {"address": address, "port": port, "ca": ca, "study": tables}
        write_atomic(self.folder / "served.json", json.dumps(facts).encode())

    def served(self) -> dict[str, Any]:
        """What `open` wrote.

        Raises:
            RunError: the study was never served from here.
        """
        path = self.folder / "served.json"
        if not path.is_file():
            raise RunError(
                f"{self.folder.parent} is not served.",
                "Start it: fedseg serve STUDY.toml --out DIR, and keep it running.",
            )
        facts: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return facts
