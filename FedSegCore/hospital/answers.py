"""What a hub's answers may be: bounded, of the promised shape, and never trusted with a terminal or a log."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, final

from requests import Response

from FedSegCore.errors import RunError

_MOST_BYTES: Final = 4 * 1024 * 1024
"""Of a JSON answer."""
_MOST_SECONDS: Final = 120.0
"""That a JSON answer may take; a hub that sends a byte now and then would hold a site for ever."""
_LONGEST: Final = 300
"""Letters of a text that the hub sent."""
_PIECE: Final = 64 * 1024


class HubError(RunError):
    """The hub did not do what it was asked to."""


class HubUnreachable(HubError):
    """No answer, half an answer or one of a server in trouble (5xx): another try may succeed."""


class HubUntrusted(HubError):
    """Whoever answers has no certificate that the invitation's authority signed for this address."""


class NotAHub(HubError):
    """Something answers that is no FedSeg hub."""


class HubRefused(HubError):
    """The hub said no (4xx), in its own words.

    Args:
        status: the HTTP status.
    """

    def __init__(self, message: str, fix: str, *, status: int) -> None:
        super().__init__(message, fix)
        self.status = status


@final
@dataclass(frozen=True)
class Descriptor:
    """What a hub tells anyone about itself.

    Args:
        study: its name.
        fedseg, engine: versions.
        identity: the coordinator's public key, base64.
        time: by the hub's clock, seconds since 1970.
        state: waiting, running or finished.
    """

    study: str
    fedseg: str
    engine: str
    identity: str
    time: float
    state: str


@final
@dataclass(frozen=True)
class HubModel:
    """A model that the hub has for this site.

    Args:
        run, file: where it stands there; plain names.
        bytes, sha256: of the file.
        card: what its page says.
    """

    run: str
    file: str
    bytes: int
    sha256: str
    card: Mapping[str, Any]


def check_status(response: Response, address: str, *, secrets: Iterable[str] = ()) -> None:
    """See that the hub said yes.

    Args:
        secrets: what must not come back in a message: a hub could echo it.

    Raises:
        HubRefused: 4xx; its message and fix, cleaned and cut.
        HubUnreachable: 5xx.
        NotAHub: a redirection, which no hub sends.
    """
    status = response.status_code
    if 200 <= status < 300:
        return
    if status >= 500:
        raise HubUnreachable(
            f"{address} answered {status}: its server is in trouble.", "Ask the coordinator."
        )
    if status < 400:
        raise NotAHub(
            f"{address} answered {status}: it sends visitors elsewhere, which no hub does.", _NO_HUB
        )
    try:
        told = read_object(response, address)
    except NotAHub as error:
        raise NotAHub(f"{address} answered {status}, and not in a hub's words.", error.fix) from None
    message, fix = (cleaned(told.get(key), secrets=secrets) for key in ("message", "fix"))
    raise HubRefused(f"{address} refused ({status}): {message or 'no reason given.'}", fix, status=status)


def read_object(response: Response, address: str) -> dict[str, Any]:
    """A JSON object of bounded size.

    Raises:
        NotAHub: it is none, or too long, or comes too slowly.
    """
    if response.headers.get("Content-Encoding", "identity") != "identity":
        raise NotAHub(f"{address} sent a packed answer that was not asked for.", _NO_HUB)
    body, started = bytearray(), time.monotonic()
    for piece in response.iter_content(_PIECE):
        body += piece
        if len(body) > _MOST_BYTES or time.monotonic() - started > _MOST_SECONDS:
            raise NotAHub(
                f"{address} sent an answer of more than {_MOST_BYTES} bytes or {_MOST_SECONDS:.0f} s.",
                _NO_HUB,
            )
    try:
        told = json.loads(bytes(body))
    except (ValueError, RecursionError):
        told = None
    if not isinstance(told, dict):
        raise NotAHub(f"{address} answered, but not as a hub does.", _NO_HUB)
    return told


def parse_descriptor(told: Mapping[str, Any], address: str) -> Descriptor:
    """The descriptor that a hub sent.

    Raises:
        NotAHub: it is of another format.
    """
    texts = {key: told.get(key) for key in ("study", "fedseg", "engine", "identity", "state")}
    clock = told.get("time")
    known = told.get("format") == 1 and all(isinstance(text, str) for text in texts.values())
    if not known or not _is_number(clock):
        raise NotAHub(
            f"{address} describes itself as no hub that this FedSeg knows.",
            "Compare the FedSeg versions of coordinator and site; update the older one.",
        )
    return Descriptor(**{key: cleaned(text) for key, text in texts.items()}, time=float(clock or 0.0))


def parse_models(told: Mapping[str, Any], address: str) -> list[HubModel]:
    """The list of models that a hub sent.

    Raises:
        NotAHub: an entry is not what it should be, or its name would lead out of a folder.
    """
    models = told.get("models")
    if not isinstance(models, list) or not all(isinstance(one, Mapping) for one in models):
        raise NotAHub(f"{address} sent no list of models.", _OTHER_VERSION)
    return [_model(one, address) for one in models]


def is_plain_name(name: object) -> bool:
    """Whether a name that came from elsewhere may name a file here: one that stays in its folder, on any system."""
    if not isinstance(name, str) or not 0 < len(name) <= 200 or not name.isprintable():
        return False
    return ".." not in name and name[0] != "." and not set(name) & set('/\\:*?"<>|')


def cleaned(text: object, *, secrets: Iterable[str] = ()) -> str:
    """A text from outside, as it may be shown: no control characters, no secrets, not long."""
    if not isinstance(text, str):
        return ""
    for secret in filter(None, secrets):
        text = text.replace(secret, "(secret)")
    printable = "".join(letter if letter.isprintable() else " " for letter in text[: 4 * _LONGEST])
    short = " ".join(printable.split())
    return short if len(short) <= _LONGEST else short[: _LONGEST - 1] + "…"


_NO_HUB: Final = "Check the address with the coordinator; a proxy or another web server may have answered."
_OTHER_VERSION: Final = "Compare the FedSeg versions of coordinator and site; update the older one."


def _model(one: Mapping[str, Any], address: str) -> HubModel:
    run, file, size, digest, card = (one.get(key) for key in ("run", "file", "bytes", "sha256", "card"))
    if not is_plain_name(run) or not is_plain_name(file):
        raise NotAHub(
            f'{address} offers a model called "{cleaned(run)}/{cleaned(file)}", which is no plain name.',
            "Do not go on; tell the coordinator.",
        )
    hexadecimal = isinstance(digest, str) and len(digest) == 64 and set(digest) <= set("0123456789abcdef")
    whole = isinstance(size, int) and not isinstance(size, bool) and size >= 0
    if not (hexadecimal and whole and isinstance(card, Mapping)):
        raise NotAHub(
            f'{address} lists the model "{cleaned(file)}" without size, hash or card.', _OTHER_VERSION
        )
    return HubModel(str(run), str(file), int(size or 0), str(digest), card)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e12
