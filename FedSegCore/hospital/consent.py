"""A hospital's consent: what it is shown, and the record that it agreed to exactly that."""

from __future__ import annotations

import getpass
import hashlib
import json
import os
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, final

from FedSegCore.files import write_atomic
from FedSegCore.hospital.leaving import what_leaves, what_never_leaves
from FedSegCore.study import Study

FILE: Final = "consent.json"
_VERSION: Final = 1
QUESTION: Final = (
    "Does your hospital have the approvals that this needs (ethics, data-use agreement), and do you agree to what is "
    "said above?"
)


@final
@dataclass(frozen=True)
class Consent:
    """Who agreed to what, and when.

    Args:
        version: of this record.
        time: UTC, ISO 8601.
        user: the name of the system's account.
        invitation, text: sha256 of the invitation's file and of the text that was shown.
        publish_personal: whether the site's own model may be published.
    """

    version: int
    time: str
    user: str
    invitation: str
    text: str
    publish_personal: bool

    def covers(self, invitation: bytes, text: str) -> bool:
        """Whether it is of this invitation and this text; another of either has to be agreed to anew."""
        return (self.invitation, self.text) == (_digest(invitation), _digest(text.encode()))


def what_to_know() -> list[str]:
    """What a hospital should know before it agrees, whatever the study."""
    return [
        "Weights can leak the images that they were trained on. The coordinator sees this site's weights as they "
        "are: FedSeg adds no noise (differential privacy) and does not hide single sites (secure aggregation).",
        "Published models are given to all sites of the study; nobody can take them back.",
        "Leaving stops future updates. It does not erase what earlier ones have taught the models.",
        "Every message about the data is written into ledger.jsonl in this site's folder before it leaves.",
        "Whether this may be done is for your hospital to decide; FedSeg can neither give nor judge an approval.",
    ]


def shown_text(study: Study, site: str) -> str:
    """All that is shown before the question, as one text; the record holds its hash.

    Raises:
        StudyError: the study has no such member.
    """
    parts = (
        (f'What leaves {site} for the study "{study.name}":', what_leaves(study, site)),
        ("What never leaves:", what_never_leaves()),
        ("What to know:", what_to_know()),
    )
    lines = [line for title, told in parts for line in (title, *(f"  - {sentence}" for sentence in told), "")]
    return "\n".join([*lines, QUESTION])


def give_consent(
    folder: Path, invitation: bytes, text: str, *, publish_personal: bool, now: datetime | None = None
) -> Consent:
    """Write down that whoever uses this account agreed to what was shown.

    Args:
        folder: the site's own.
        invitation: its file's bytes.
        text: what `shown_text` gave and the user saw.

    Raises:
        StorageError: it cannot be written.
    """
    moment = (now or datetime.now(UTC)).astimezone(UTC)
    consent = Consent(
        version=_VERSION,
        time=moment.isoformat(timespec="seconds"),
        user=_user(),
        invitation=_digest(invitation),
        text=_digest(text.encode()),
        publish_personal=publish_personal,
    )
    write_atomic(folder / FILE, (json.dumps(asdict(consent), indent=2) + "\n").encode())
    return consent


def read_consent(folder: Path) -> Consent | None:
    """The consent that was given in a site's folder; None where there is none that can be read: it is asked anew."""
    path = folder / FILE
    try:
        raw = json.loads(path.read_bytes())
        consent = Consent(**raw)
    except (FileNotFoundError, ValueError, TypeError, RecursionError):
        return None
    kinds = {"version": int, "publish_personal": bool}
    right = all(type(getattr(consent, one.name)) is kinds.get(one.name, str) for one in fields(Consent))
    return consent if right and consent.version == _VERSION else None


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _user() -> str:
    """The account's name, or its number where the system has no name for it, as in a container."""
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):
        return f"user {os.getuid()}" if hasattr(os, "getuid") else "unknown"
