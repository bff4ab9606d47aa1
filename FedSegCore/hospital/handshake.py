"""What a hub tells of itself, judged before anything is told to it: whose it is, its version, its clock."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal, final

from FedSegCore.federation.invitation import Invitation
from FedSegCore.federation.rounds import Emit
from FedSegCore.hospital.answers import Descriptor, HubError
from FedSegCore.hospital.hubclient import HubClient
from FedSegCore.version import VERSION, minor, numbers

Status = Literal["ok", "warning", "failed"]
_CLOCKS_APART_S: Final = 60.0


@final
@dataclass(frozen=True)
class Hop:
    """One part of the way to a hub.

    Args:
        name: one of `connection.HOPS`.
        seen: what was found there, in a sentence.
        fix: what IT, or who is named, can do; "" where nothing is wrong.
    """

    name: str
    status: Status
    seen: str
    fix: str = ""


def identity(told: Descriptor, invitation: Invitation) -> Hop:
    """Whether the hub is the coordinator's who signed the invitation."""
    if told.identity != invitation.identity:
        seen = "This hub belongs to another coordinator than the invitation."
        fix = "Do not join; ask the coordinator, by telephone, for a new invitation."
        return Hop("identity", "failed", seen, fix)
    return Hop("identity", "ok", "The hub is the inviting coordinator's.")


def version(told: Descriptor) -> Hop:
    """Whether both ends understand each other."""
    theirs = told.fedseg
    if minor(theirs) != minor(VERSION):
        seen = f"The hub has FedSeg {theirs}, this computer {VERSION}; both ends need the same minor version."
        older = "this computer" if numbers(theirs) > numbers(VERSION) else "the coordinator"
        return Hop("version", "failed", seen, f"The older one must be updated: {older}'s.")
    return Hop("version", "ok", f"The hub has FedSeg {theirs}, {told.engine}.")


def clock(told: Descriptor, asked_at: float) -> Hop:
    """How far the clocks are apart: invitations and certificates are valid by the clock.

    Args:
        asked_at: when the hub told its time, by this computer's clock.
    """
    ahead = asked_at - told.time
    if abs(ahead) > _CLOCKS_APART_S:
        seen = (
            f"This computer's clock is {abs(ahead):.0f} s {'ahead of' if ahead > 0 else 'behind'} the hub's."
        )
        return Hop("clock", "warning", seen, "Set this computer's clock (IT: time synchronisation, NTP).")
    return Hop("clock", "ok", f"The clocks are {abs(ahead):.0f} s apart.")


def greet(
    hub: HubClient, invitation: Invitation, emit: Emit, *, now: Callable[[], float] = time.time
) -> None:
    """Ask a hub who it is before it is told anything.

    Raises:
        HubError: it is another coordinator's, or of another minor version.
    """
    before = now()
    told = hub.descriptor()
    for hop in (identity(told, invitation), version(told), clock(told, (before + now()) / 2)):
        if hop.status == "failed":
            raise HubError(hop.seen, hop.fix)
        if hop.status == "warning":
            emit("warning", message=hop.seen, fix=hop.fix)
