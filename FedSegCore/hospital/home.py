"""A site's own folder: its key and credential, what it agreed to, and everything that it makes in a study."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final, final

from FedSegCore.errors import UsageError
from FedSegCore.federation.keys import make_engine_key, write_private
from FedSegCore.files import write_atomic

STATUS: Final = "status.json"
PAUSED: Final = "paused"
LEFT: Final = "left"


@final
class Home:
    """The folder that a hospital gives to one study.

    Args:
        folder: made where it does not exist.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def claim(self, facts: dict[str, Any]) -> None:
        """Make it the folder of one site of one study.

        Raises:
            UsageError: it is another's.
        """
        path = self.folder / "site.json"
        if path.is_file():
            known = json.loads(path.read_text(encoding="utf-8"))
            if known != facts:
                raise UsageError(
                    f'{self.folder} belongs to site {known["site"]} of the study "{known["study"]}".',
                    "Give another folder with --site-dir.",
                )
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        self.folder.chmod(0o700)
        write_atomic(path, json.dumps(facts).encode())

    @property
    def key(self) -> Path:
        """The engine's private key; it never leaves."""
        return self.folder / "engine.key"

    def engine_key(self) -> str:
        """Its public half; both are made on first use."""
        return make_engine_key(self.key)

    @property
    def credential(self) -> str:
        """What the site shows to the hub; "" until it enrolled."""
        path = self.folder / "credential"
        return path.read_text(encoding="utf-8") if path.is_file() else ""

    def keep_credential(self, credential: str) -> None:
        """Keep it where only this account reads it."""
        write_private(self.folder / "credential", credential.encode())

    def keep_ca(self, ca: str) -> Path | None:
        """The authority's certificate as a file, for the engine; none where the system's are to be trusted."""
        if not ca:
            return None
        path = self.folder / "ca.crt"
        write_atomic(path, ca.encode())
        return path

    def keep_agreement(self, agreed: dict[str, Any]) -> None:
        """Keep what all sites agreed on."""
        write_atomic(self.folder / "agreement.json", json.dumps(agreed, indent=1).encode())

    def agreement(self) -> dict[str, Any] | None:
        """What all sites agreed on, if that is known here."""
        path = self.folder / "agreement.json"
        return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None

    def tell(self, state: dict[str, Any]) -> None:
        """Keep how the study goes, for `fedseg status`."""
        write_atomic(self.folder / STATUS, json.dumps(state).encode())

    @property
    def paused(self) -> bool:
        """Whether the site pauses."""
        return (self.folder / PAUSED).exists()
