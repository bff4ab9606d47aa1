"""Whether the command has what it needs, and the installation of what it lacks into a folder of FedSeg's own.

Packages that Slicer bundles are never changed: the folder is on the path of FedSeg's processes alone. Torch comes by
the PyTorch extension.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from FedSegLib.command import Command
from FedSegLib.translation import tr as _

TORCH = "torch"

_INSTALLER = Path(__file__).with_name("pipinstall.py")


@dataclass(frozen=True)
class Installation:
    """What `fedseg info` tells of itself.

    Args:
        lacking: the packages that are missing or too old, as pip names them.
        device: what FedSeg will compute on; "" where torch is missing.
    """

    version: str
    lacking: tuple[str, ...]
    device: str

    @property
    def lacksTorch(self) -> bool:
        """Whether the PyTorch extension has to be asked."""
        return any(_name(told) == TORCH for told in self.lacking)

    @property
    def lacksOthers(self) -> bool:
        """Whether FedSeg's own folder is incomplete."""
        return any(_name(told) != TORCH for told in self.lacking)


def readInstallation(facts: Mapping[str, Any]) -> Installation:
    """The summary of `fedseg info --json`.

    Raises:
        ValueError: it tells of something else.
    """
    try:
        lacking = tuple(str(name) for name in facts["lacking"])
        return Installation(str(facts["python"]), lacking, str(facts["device"] or ""))
    except (KeyError, TypeError) as error:
        raise ValueError(f"no installation: {error!r}") from None


def installationText(installation: Installation) -> str:
    """What a person should know of it."""
    lines = [_("FedSeg runs on Python {version}.").format(version=installation.version)]
    if installation.lacking:
        lines.append(_("Missing or too old: {names}.").format(names=", ".join(installation.lacking)))
    if installation.device:
        lines.append(_("It computes on: {device}.").format(device=installation.device))
    return "\n".join(lines)


def installer(command: Command, requirements: Path, folder: Path) -> tuple[Command, list[str]]:
    """What installs the packages with the command's own interpreter.

    Args:
        folder: FedSeg's own; made if it is absent.
    """
    script = Command((command.words[0], str(_INSTALLER)))
    return script, [str(requirements), str(folder)]


def _name(requirement: str) -> str:
    return requirement.split(">")[0].strip()
