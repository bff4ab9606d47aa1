"""Which sites may take part and how far each has come, kept on disk."""

from __future__ import annotations

import contextlib
import hmac
import json
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Final, Literal, TypeVar, final

from FedSegCore.errors import FedSegError, ModelFileError
from FedSegCore.federation import wire
from FedSegCore.federation.invitation import token_digest
from FedSegCore.federation.joining import Joining
from FedSegCore.files import write_atomic

Read = TypeVar("Read")


class Refused(FedSegError):
    """A request that is not served.

    Args:
        status: of HTTP.
    """

    def __init__(self, message: str, fix: str, status: int = 401) -> None:
        super().__init__(message, fix)
        self.status = status


MOST_CASES: Final = 1_000_000
"""Updates weigh by cases: one site cannot drown all others by a number that no hospital has."""


@dataclass(frozen=True)
class Entry:
    """One site on the roster.

    Args:
        token: SHA-256 of the token in its invitation.
        expires: when the invitation does, in seconds since 1970.
        engine_key: the public half of the site's key, as an OpenSSH line; "" until it enrolled.
        credential: SHA-256 of what it shows with each request; "" until it enrolled.
        state: `left` is for good.
    """

    site: str
    token: str
    expires: float
    engine_key: str = ""
    credential: str = ""
    state: Literal["invited", "enrolled", "joined", "left"] = "invited"


@final
class Roster:
    """The sites of one study. Safe to use from several threads; invitations may be added by another process.

    Args:
        folder: `SITE.json` for each invited site and `SITE.joining` for each that joined.
        members: the sites that the study has; nobody else can be invited.
        now: the time in seconds since 1970.
    """

    def __init__(self, folder: Path, members: tuple[str, ...], now: Callable[[], float] = time.time) -> None:
        self.folder = folder
        self.members = members
        self._now = now
        self._lock = threading.Lock()
        self._read: dict[Path, tuple[tuple[int, int], Any]] = {}

    def invite(self, site: str, token: str, expires: float) -> None:
        """Put a site on the roster, or replace an invitation that nobody has used.

        Raises:
            Refused: it has enrolled already.
        """
        with self._lock:
            known = self.entry(site)
            if known is not None and known.engine_key:
                raise Refused(
                    f"{site} has used its invitation already.",
                    "A site that has lost its folder must be taken off the roster first: see the walk-through.",
                )
            self._write(Entry(site, token_digest(token), expires))

    def enrol(self, site: str, token: str, engine_key: str) -> str:
        """Use an invitation; returns the credential. The same key may ask again, for an answer can be lost.

        Raises:
            Refused: the token is unknown, expired, or was used with another key; or the key is another site's.
        """
        with self._lock:
            entry = self.entry(site)
            if entry is None or not hmac.compare_digest(entry.token, token_digest(token)):
                raise Refused("The invitation is not of this study.", "Ask the coordinator for a new one.")
            if entry.state == "left":
                raise Refused(f"{site} has left this study.", "Ask the coordinator for a new invitation.")
            if entry.engine_key and entry.engine_key != engine_key:
                raise Refused(
                    "The invitation was used already, from another folder or computer.",
                    "Go on with that folder as --site-dir, or ask the coordinator for a new invitation.",
                )
            if any(one.engine_key == engine_key and one.site != site for one in self.entries()):
                raise Refused("Another site has this key.", "Join from a folder of the site's own.", 409)
            if not entry.engine_key and self._now() > entry.expires:
                raise Refused("The invitation has expired.", "Ask the coordinator for a new one.")
            credential = secrets.token_urlsafe(32)
            state = entry.state if entry.engine_key else "enrolled"
            self._write(
                replace(entry, engine_key=engine_key, credential=token_digest(credential), state=state)
            )
            return credential

    def by_credential(self, credential: str) -> Entry:
        """Whose credential it is.

        Raises:
            Refused: nobody's.
        """
        digest = token_digest(credential)
        for entry in self.entries():
            if entry.credential and hmac.compare_digest(entry.credential, digest):
                return entry
        raise Refused("The credential is unknown.", "Join again with a new invitation.")

    def decode(self, site: str, data: bytes) -> Joining:
        """What a site tells when it joins.

        Raises:
            Refused: it is no such message, or another site's.
        """
        try:
            joining = wire.decode(Joining, data, f"what {site} told when joining")
        except ModelFileError as error:
            raise Refused(error.message, error.fix, 400) from error
        if joining.name != site:
            raise Refused("The site told that it is another one.", "Use the invitation of this site.", 400)
        texts = [joining.licence, *joining.modalities, *joining.labels, *joining.values]
        if not 1 <= joining.num_cases <= MOST_CASES or not all(map(_plain, texts)):
            raise Refused(
                f"The site told of {joining.num_cases} cases, or of names that nobody can read.",
                "Look at its dataset.json.",
                400,
            )
        return joining

    def join(self, site: str, data: bytes) -> None:
        """Keep what a site told when it joined; the first word holds.

        Raises:
            Refused: it is not what was told before, or the site is not on the roster.
        """
        with self._lock:
            entry, path = self.entry(site), self.folder / f"{site}.joining"
            if entry is None or entry.state == "left":
                raise Refused(f"{site} is not on the roster.", "Ask the coordinator for a new invitation.")
            if path.is_file() and path.read_bytes() != data:
                raise Refused(
                    "The site joined before with other data.",
                    "Restore the dataset folder as it was, or ask the coordinator for a new invitation.",
                    409,
                )
            write_atomic(path, data)
            self._write(replace(entry, state="joined"))

    def turn_away(self, site: str) -> None:
        """Forget what a site told when it joined; it may join again with another word."""
        with self._lock:
            entry = self.entry(site)
            if entry is not None and entry.state == "joined":
                self._write(replace(entry, state="enrolled"))
                (self.folder / f"{site}.joining").unlink(missing_ok=True)

    def leave(self, site: str) -> None:
        """Let a site go; what it taught the models stays in them."""
        with self._lock:
            entry = self.entry(site)
            if entry is not None:
                self._write(replace(entry, state="left"))

    def joined(self) -> dict[str, Joining]:
        """What those sites told that have joined and not left, by name."""
        return {
            entry.site: self._known(self.folder / f"{entry.site}.joining", partial(wire.decode, Joining))
            for entry in self.entries()
            if entry.state == "joined"
        }

    def entries(self) -> list[Entry]:
        """The sites on the roster, sorted by name."""
        found = (self.entry(site) for site in sorted(self.members))
        return [entry for entry in found if entry is not None]

    def entry(self, site: str) -> Entry | None:
        """One site; none where it was not invited."""
        if site not in self.members:
            return None
        with contextlib.suppress(FileNotFoundError):
            return self._known(self.folder / f"{site}.json", lambda data: Entry(**json.loads(data)))
        return None

    def _known(self, path: Path, parse: Callable[[bytes], Read]) -> Read:
        """What a file says, parsed once for as long as it is the same file: each request asks for all of them."""
        facts = path.stat()
        mark = facts.st_ino, facts.st_mtime_ns
        if path not in self._read or self._read[path][0] != mark:
            self._read[path] = mark, parse(path.read_bytes())
        found: Read = self._read[path][1]
        return found

    def _write(self, entry: Entry) -> None:
        path = self.folder / f"{entry.site}.json"
        write_atomic(path, json.dumps(asdict(entry), indent=1).encode())


def _plain(text: str) -> bool:
    """Whether a text can be shown and written down: no control characters, no halves of letters."""
    return all(letter.isprintable() or letter.isspace() for letter in text)
