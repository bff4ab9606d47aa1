"""One site's invitation to a study that is being served."""

from __future__ import annotations

import http.client
import json
import ssl
import time
from pathlib import Path
from typing import Any, Final

from FedSegCore.coordinator.desk import Desk
from FedSegCore.errors import RunError, UsageError, nearest
from FedSegCore.federation.invitation import new_token, write_invitation
from FedSegCore.study import parse_study

_DAY_S: Final = 86400.0
_LARGEST: Final = 64 * 1024


def invite(site: str, served: Path, target: Path, *, days: float) -> dict[str, Any]:
    """Put a site on the roster and write its invitation; an unused earlier one is no longer good.

    Args:
        served: the folder of `fedseg serve --out`.
        target: the invitation's file.
        days: how long it can be used.

    Raises:
        RunError: the study is not being served.
        UsageError: the study has no such member.
        Refused: the site has used its invitation already.
    """
    if not 0 < days <= 366:
        raise UsageError(f"--days is {days:g}, expected more than 0 and at most 366.", "Choose another.")
    desk = Desk(served)
    facts = desk.served()
    _see_that_it_answers(desk, facts)
    study = parse_study(facts["study"], Path())
    if site not in study.members:
        raise UsageError(f'The study has no member "{site}".', nearest(site, study.members))
    token, expires = new_token(), time.time() + days * _DAY_S
    desk.roster(study).invite(site, token, expires)
    write_invitation(
        target, desk.identity, site=site, address=facts["address"], study=facts["study"], token=token,
        expires=expires, ca=facts["ca"],
    )  # fmt: skip
    return {
        "site": site, "address": facts["address"], "expires": expires,
        "hint": "Give it to that site alone, by a way that you trust: whoever has it first can join as this site.",
    }  # fmt: skip


def _see_that_it_answers(desk: Desk, facts: dict[str, Any]) -> None:
    """Ask the port on this machine who it is.

    Its certificate may be made out to other names than this machine's own, and nothing secret is asked or believed.
    """
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    connection = http.client.HTTPSConnection("127.0.0.1", facts["port"], timeout=5, context=context)
    try:
        connection.request("GET", "/hub/descriptor")
        told = json.loads(connection.getresponse().read(_LARGEST))
    except (OSError, http.client.HTTPException, ValueError):
        told = None
    finally:
        connection.close()
    if not isinstance(told, dict) or told.get("identity") != desk.identity.public:
        raise RunError(
            f"{desk.folder.parent} is not served at the moment.",
            "Start `fedseg serve` again and keep it running.",
        )
