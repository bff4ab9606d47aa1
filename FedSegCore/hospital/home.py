"""A site's own folder: its key and credential, what it agreed to, and everything that it makes in a study."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final, final

from FedSegCore.errors import UsageError
from FedSegCore.federation.keys import make_engine_key
from FedSegCore.files import write_atomic, write_private

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

    def claim(self, facts: dict[str, Any], invitation: bytes) -> None:
        """Make it the folder of one site of one study; the invitation is kept with it.

        Raises:
            UsageError: it is another's.
        """
        known = self._facts()
        if known:
            if known != facts:
                raise UsageError(
                    f'{self.folder} belongs to site {known["site"]} of the study "{known["study"]}".',
                    "Give another folder with --site-dir.",
                )
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        self.folder.chmod(0o700)
        write_private(self.invitation, invitation)
        write_atomic(self.folder / "site.json", json.dumps(facts).encode())

    @property
    def site(self) -> str:
        """The site's name; "" before it was claimed."""
        return str(self._facts().get("site", ""))

    @property
    def invitation(self) -> Path:
        """The invitation that it was claimed with."""
        return self.folder / "invitation.fedseg"

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
    def finished(self) -> bool:
        """Whether the hub has said that the study is finished."""
        path = self.folder / STATUS
        return path.is_file() and json.loads(path.read_text(encoding="utf-8")).get("state") == "finished"

    @property
    def paused(self) -> bool:
        """Whether the site pauses."""
        return (self.folder / PAUSED).exists()

    @property
    def left(self) -> bool:
        """Whether the site has left the study."""
        return (self.folder / LEFT).exists()

    def mark(self, name: str, *, present: bool) -> None:
        """Put down or take away `paused` or `left`."""
        if present:
            write_atomic(self.folder / name, b"")
        else:
            (self.folder / name).unlink(missing_ok=True)

    def _facts(self) -> dict[str, Any]:
        path = self.folder / "site.json"
        return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def known_home(folder: Path) -> Home:
    """The folder of a site that has joined.

    Raises:
        UsageError: it is none.
    """
    home = Home(folder)
    if not home.site:
        raise UsageError(
            f"{folder} is not a site's folder.", "Give the folder that `fedseg join` was given as --site-dir."
        )
    return home
