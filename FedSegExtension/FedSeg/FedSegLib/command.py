"""How the `fedseg` command is found, and the words that it is called with."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from FedSegLib.events import Message
from FedSegLib.translation import tr as _

COMMAND_SETTING = "FedSeg/command"
"""The application's setting that holds the program or interpreter that the user named."""


class CommandNotFound(Exception):
    """There is no `fedseg` to call.

    Args:
        message: why, and what to do.
    """

    def __init__(self, message: Message) -> None:
        super().__init__(f"{message.text} {message.fix}")
        self.message = message


@dataclass(frozen=True)
class Command:
    """A way to call `fedseg`.

    Args:
        words: the program and what stands before the verb.
        folders: where an interpreter finds FedSegCore, and packages that it may lack itself.
    """

    words: tuple[str, ...]
    folders: tuple[Path, ...] = ()

    @property
    def isInterpreter(self) -> bool:
        """Whether it is Slicer's Python or one that the user chose, to which FedSeg can add packages."""
        return self.words[1:2] == ("-m",)

    def environment(self, base: Mapping[str, str]) -> dict[str, str]:
        """The variables of the process.

        Args:
            base: those of the time before Slicer started, whose own libraries are not for other interpreters.
        """
        changed = dict(base)
        changed["PYTHONUTF8"] = "1"
        if self.folders:
            changed["PYTHONPATH"] = os.pathsep.join(map(str, self.folders))
        return changed


def findCommand(told: str, environment: Mapping[str, str], packages: Path | None = None) -> Command:
    """What the user told, else `fedseg` on the path, else Slicer's own Python with the FedSegCore beside the module.

    Args:
        told: a `fedseg` program or a Python interpreter; empty: neither.
        environment: where the path is looked up.
        packages: FedSeg's own folder of packages, for interpreters.

    Raises:
        CommandNotFound: nothing of this is there.
    """
    path = environment.get("PATH")
    if told:
        program = shutil.which(told, path=path)
        if program is None:
            raise CommandNotFound(
                Message(
                    _("There is no program {program}.").format(program=told),
                    _("Choose another one under Setup, or leave the field empty."),
                )
            )
        return (
            _interpreter(program, packages)
            if Path(program).stem.lower().startswith("python")
            else Command((program,))
        )
    program = shutil.which("fedseg", path=path)
    if program is not None:
        return Command((program,))
    program = shutil.which("PythonSlicer")
    if program is not None and coreFolder() is not None:
        return _interpreter(program, packages)
    raise CommandNotFound(
        Message(
            _("The fedseg command was not found."),
            _("Install FedSeg, or choose under Setup the fedseg program or the Python that has it."),
        )
    )


def slicersCommand(slicer) -> Command:
    """The way to call `fedseg` from this Slicer: what the user named in its settings, else what is found.

    Args:
        slicer: the package, or what stands in for it.

    Raises:
        CommandNotFound: there is none.
    """
    told = slicer.util.settingsValue(COMMAND_SETTING, "")
    return findCommand(told, slicer.util.startupEnvironment(), packagesFolder(slicer))


def packagesFolder(slicer) -> Path:
    """FedSeg's own packages, of Slicer's Python, beside Slicer's settings."""
    version = f"python-{sys.version_info.major}.{sys.version_info.minor}"
    return Path(slicer.app.slicerUserSettingsFilePath).parent / "FedSeg" / version


def coreFolder() -> Path | None:
    """The folder that holds FedSegCore: beside the installed module, or the checkout that the module is part of."""
    for folder in Path(__file__).resolve().parents[1:5]:
        if (folder / "FedSegCore" / "__main__.py").is_file():
            return folder
    return None


def _interpreter(program: str, packages: Path | None) -> Command:
    folders = [folder for folder in (coreFolder(), packages) if folder is not None]
    return Command((program, "-m", "FedSegCore"), tuple(folders))


def segmentWords(
    images: Mapping[str, Path], model: Path, out: Path, disagreement: Path, *, resample: bool = False
) -> list[str]:
    """`fedseg segment` of one case.

    Args:
        images: modality -> image.
        model: a model file, or a folder of models that are mixed for this case.
        disagreement: where a mixture's map goes; one model has none.
        resample: bring the images onto the first one's grid where they differ.
    """
    words = ["segment", "--json", "-o", str(out)]
    for modality, image in images.items():
        words += ["--image", f"{modality}={image}"]
    if resample:
        words.append("--resample")
    if model.is_dir():
        return [*words, "--route", str(model), "--disagreement", str(disagreement)]
    return [*words, "--model", str(model)]


def infoWords(file: Path | None = None) -> list[str]:
    """`fedseg info` of one file, or of the installation."""
    return ["info", "--json"] if file is None else ["info", "--json", str(file)]


def demoWords(folder: Path) -> list[str]:
    """`fedseg demo` in a folder."""
    return ["demo", "--json", "--out", str(folder)]


def checkWords(dataset: Path) -> list[str]:
    """`fedseg check` of a dataset folder."""
    return ["check", "--json", str(dataset)]


def trainWords(dataset: Path, out: Path, init: Path | None = None, *, resume: bool) -> list[str]:
    """`fedseg train` on one dataset.

    Args:
        init: the published model to start from; None: from scratch.
        resume: go on with what an earlier training left in `out`.
    """
    words = ["train", "--json", str(dataset), "--out", str(out)]
    words += [] if init is None else ["--init", str(init)]
    return [*words, "--resume"] if resume else words


def connectionWords(invitation: Path) -> list[str]:
    """`fedseg test-connection` to the coordinator of an invitation."""
    return ["test-connection", "--json", str(invitation)]


def joinWords(invitation: Path, data: Path, folder: Path, *, publishes: bool, accepts: bool) -> list[str]:
    """`fedseg join`, anew or again.

    Args:
        data: the site's dataset.
        folder: receives what the site keeps: its keys, consent, ledger and models.
        publishes: the site's own model may be published.
        accepts: the user has agreed to what leaves; else it is joined only if the agreement in `folder` holds.
    """
    words = ["join", "--json", str(invitation), "--data", str(data), "--site-dir", str(folder)]
    words += ["--publish-personal"] if publishes else []
    return [*words, "--accept"] if accepts else words


def siteWords(verb: str, folder: Path) -> list[str]:
    """`fedseg pause`, `resume`, `leave` or `status` of the site that keeps its files in a folder."""
    return [verb, "--json", *([] if verb == "status" else ["--site-dir"]), str(folder)]
