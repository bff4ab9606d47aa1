"""The invitation: one file with all that one site needs to take part in one study, signed by the coordinator.

The signature shows that nothing was altered since, not who the coordinator is: whoever can replace the file can sign
another one. So it is to be handed over on a way that both trust, and it holds a token: whoever has it can join.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import secrets
import time
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from FedSegCore.errors import InputError
from FedSegCore.federation.keys import Identity, fingerprint, signed_by
from FedSegCore.files import write_private
from FedSegCore.version import VERSION, minor, numbers

FORMAT: Final = 1
_MAX_BYTES: Final = 1_000_000
_SHAPE: Final[Mapping[str, type]] = {
    "format": int,
    "fedseg": str,
    "site": str,
    "address": str,
    "study": dict,
    "token": str,
    "expires": int,
    "ca": str,
    "ca_sha256": str,
    "identity": str,
    "signature": str,
}
_END_OF_TIME: Final = 253_402_300_800  # the year 10000, which no calendar here knows
_VERSION: Final = re.compile(r"\d{1,6}\.\d{1,6}(\.\w{1,20})*", re.ASCII)
_ADDRESS: Final = re.compile(r"(\[[0-9a-fA-F:.]+\]|[^\s/@:?#\[\]\\]+):(?P<port>[1-9]\d{0,4})", re.ASCII)
_PRIVATE_KEYS: Final = ("cases", "test_cases")
_ELSEWHERE: Final = "elsewhere"
_ASK: Final = "Ask the coordinator to send the file again, unchanged."
_INVITE_ANEW: Final = "Ask the coordinator for a new invitation."


@dataclass(frozen=True)
class Invitation:
    """What one site is told before it joins.

    Args:
        site: who is invited.
        address: the coordinator's host:port.
        study: the study's tables, without any site's folder and without the other sites' names of cases.
        token: what enrolment is paid with, once.
        expires: when the token no longer counts, in unix seconds.
        ca: the certificate that the coordinator's is checked against, as PEM text; "" for the system's own.
        ca_sha256: its fingerprint, in hex; "" where there is none.
        identity: the coordinator's public key, in base64.
        fedseg: the version of FedSeg that wrote the file.
    """

    site: str
    address: str
    study: Mapping[str, Any]
    token: str = field(repr=False)
    expires: int
    ca: str
    ca_sha256: str
    identity: str
    fedseg: str

    def tables(self) -> dict[str, Any]:
        """The study's tables as `parse_study` reads them, with a placeholder for every site's folder."""
        sites = [{**site, "data": _ELSEWHERE} for site in self.study["site"]]
        return {**self.study, "site": sites}


def new_token() -> str:
    """A secret that nobody guesses: 32 random bytes."""
    return secrets.token_urlsafe(32)


def token_digest(token: str) -> str:
    """What a coordinator keeps of a token: enough to know it again, not to use it."""
    return hashlib.sha256(token.encode()).hexdigest()


def write_invitation(
    path: Path,
    identity: Identity,
    *,
    site: str,
    address: str,
    study: Mapping[str, Any],
    token: str,
    expires: float,
    ca: str,
) -> Invitation:
    """Write a signed invitation, readable by its owner alone.

    Args:
        study: the tables of `study_tables`; folders and the other sites' names of cases are left out.
        ca: see `Invitation`.

    Raises:
        InputError: the site is none of the study's, the address is none, or it would expire in the past.
    """
    told: dict[str, Any] = {
        "format": FORMAT,
        "fedseg": VERSION,
        "site": site,
        "address": address,
        "study": {**study, "site": [_public(table, site) for table in study["site"]]},
        "token": token,
        "expires": int(expires),
        "ca": ca,
        "ca_sha256": fingerprint(ca) if ca else "",
        "identity": identity.public,
    }
    data = _file(told, identity.sign(_canonical(told)))
    invitation = _checked(data, str(path), None, time.time())
    write_private(path, data)
    return invitation


def read_invitation(
    path: Path, *, expected_identity: str | None = None, now: float | None = None
) -> Invitation:
    """Read an invitation and refuse every one that is not exactly what a coordinator wrote.

    Args:
        expected_identity: the coordinator's public key, where the site knows it already.
        now: the clock in unix seconds, this machine's if not given. A site that has enrolled has no more use for
            the token and reads its copy with 0.

    Raises:
        InputError: it is none, or was altered, has expired, is of another version or of another coordinator.
    """
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_BYTES + 1)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}.", "Check the path.") from None
    return _checked(data, str(path), expected_identity, time.time() if now is None else now)


def _public(table: Mapping[str, Any], invited: str) -> dict[str, Any]:
    """A site's table as every site may know it; its own names of cases are told to the site itself alone."""
    hidden = {"data"} if table["name"] == invited else {"data", *_PRIVATE_KEYS}
    return {key: value for key, value in table.items() if key not in hidden}


def _checked(data: bytes, source: str, expected_identity: str | None, now: float) -> Invitation:
    told = _document(data, source)
    signature = told.pop("signature")
    if not _whole(told, signature, data):
        raise InputError(f"{source} was altered after the coordinator signed it.", _ASK)
    if expected_identity is not None and told["identity"] != expected_identity:
        raise InputError(
            f"{source} is signed by another coordinator than the one that this site knows.",
            "Do not use it; ask the coordinator, by telephone, whether it is theirs.",
        )
    flaw = _flaw(told)
    if flaw:
        raise InputError(f"{source} {flaw}.", _INVITE_ANEW)
    if now >= told["expires"]:
        end = datetime.fromtimestamp(told["expires"], UTC)
        raise InputError(f"{source} expired on {end:%Y-%m-%d %H:%M} UTC.", _INVITE_ANEW)
    del told["format"]
    return Invitation(**told)


def _document(data: bytes, source: str) -> dict[str, Any]:
    """The file's JSON, with the keys and types of this format, from this version."""
    if len(data) > _MAX_BYTES:
        raise InputError(f"{source} is not an invitation: it is larger than 1 MB.", "Check the path.")
    try:
        found = json.loads(data.decode("ascii"))
    except (ValueError, RecursionError):
        raise InputError(f"{source} is not an invitation, or a damaged one: it is no JSON.", _ASK) from None
    if not isinstance(found, dict) or type(found.get("format")) is not int:
        raise InputError(f"{source} is not an invitation of FedSeg.", "Check the path.")
    _refuse_other_version(found, source)
    if found.keys() != _SHAPE.keys() or any(type(found[key]) is not kind for key, kind in _SHAPE.items()):
        raise InputError(
            f"{source} is not a whole invitation: something is missing, or of the wrong kind.", _ASK
        )
    return found


def _refuse_other_version(found: Mapping[str, Any], source: str) -> None:
    theirs = found.get("fedseg")
    if not isinstance(theirs, str) or not _VERSION.fullmatch(theirs):
        raise InputError(f"{source} does not say which FedSeg wrote it.", _ASK)
    if found["format"] == FORMAT and minor(theirs) == minor(VERSION):
        return
    newer = (found["format"], numbers(theirs)) > (FORMAT, numbers(VERSION))
    raise InputError(
        f"{source} was written by FedSeg {theirs}, and this is FedSeg {VERSION}; the first two numbers must agree.",
        f"Update FedSeg here, to {minor(theirs)}."
        if newer
        else f"Ask the coordinator to update to {minor(VERSION)} and to invite anew.",
    )


def _whole(told: Mapping[str, Any], signature: str, data: bytes) -> bool:
    """Whether the facts are signed and the bytes are those that a writer makes of them: no other space or escape."""
    try:
        raw = base64.b64decode(signature, validate=True)
        return signed_by(told["identity"], raw, _canonical(told)) and _file(told, raw) == data
    except (ValueError, RecursionError):
        return False


def _flaw(told: Mapping[str, Any]) -> str:
    """What is wrong with an invitation that its coordinator signed nevertheless; "" for nothing."""
    address = _ADDRESS.fullmatch(told["address"])
    if not address or int(address["port"]) > 65535:
        return f"gives {told['address']!r} as the coordinator's address, expected host:port"
    if not 0 < told["expires"] < _END_OF_TIME:
        return "does not say when it expires"
    if not told["token"]:
        return "has no token"
    if not _fits(told["ca"], told["ca_sha256"]):
        return "holds another certificate than the one that its fingerprint names"
    if not all(map(_harmless, _texts(told))):
        return "holds control characters"
    sites = told["study"].get("site")
    if not isinstance(sites, list) or not all(
        isinstance(site, dict) and isinstance(site.get("name"), str) for site in sites
    ):
        return "holds no study"
    if told["site"] not in [site["name"] for site in sites]:
        return f'is for the site "{told["site"]}", which is none of its study'
    return ""


def _fits(ca: str, ca_sha256: str) -> bool:
    try:
        return ca_sha256 == (fingerprint(ca) if ca else "")
    except InputError:
        return False


def _texts(value: Any) -> Iterable[str]:
    waiting = [value]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            waiting += [*value.keys(), *value.values()]
        elif isinstance(value, list):
            waiting += value
        elif isinstance(value, str):
            yield value


def _harmless(text: str) -> bool:
    """Whether a text can be shown on a terminal and written to a file."""
    return all(unicodedata.category(letter) not in ("Cc", "Cs") or letter in "\n\t" for letter in text)


def _canonical(told: Mapping[str, Any]) -> bytes:
    return json.dumps(told, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


def _file(told: Mapping[str, Any], signature: bytes) -> bytes:
    """The file's bytes, for people to read too: the only ones that a reader takes for these facts."""
    whole = {**told, "signature": base64.b64encode(signature).decode()}
    return (json.dumps(whole, sort_keys=True, indent=2, allow_nan=False) + "\n").encode()
