"""Whole folders without a window: what the scripts in Resources/Scripts do, each with one process of the command."""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from FedSegLib.batchtable import Table
from FedSegLib.command import Command, CommandNotFound, slicersCommand, trainWords
from FedSegLib.events import readEvent
from FedSegLib.job import lastWords, ownGroup, signalTree
from FedSegLib.translation import tr as _

FAILED, USAGE = 1, 2
"""Exit codes, as the command's."""

TABLE = "batch.csv"

Event = Mapping[str, Any]
Say = Callable[[str], None]


def runScript(slicer, work: Callable[[Sequence[str], Command, Mapping[str, str]], int]) -> None:
    """Do a script's work with the words that it was called with, and end Slicer with its exit code, whatever happens.

    Args:
        slicer: the package, or what stands in for it.
        work: from words, command and the variables of the time before Slicer started to the exit code.
    """
    code = FAILED
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)  # whoever asks for the end interrupts
    try:
        words = sys.argv[2:] if sys.argv[1:2] == ["--"] else sys.argv[1:]
        code = work(words, slicersCommand(slicer), slicer.util.startupEnvironment())
    except CommandNotFound as error:
        print(error, file=sys.stderr)
        code = USAGE
    except SystemExit as ended:  # of argparse, which has said why
        code = ended.code if isinstance(ended.code, int) else FAILED
    except KeyboardInterrupt:
        print(_("Interrupted."), file=sys.stderr)
    except BaseException:
        traceback.print_exc()
    finally:
        # of a handler that was not set from Python nothing is known, and it cannot be set again
        signal.signal(signal.SIGTERM, signal.SIG_DFL if before is None else before)
        slicer.util.exit(code)


def segmentFolder(
    words: Sequence[str], command: Command, environment: Mapping[str, str], say: Say = print
) -> int:
    """What `FedSegBatch.py` does; the exit code."""
    told = _batchArguments(words)
    if told.input.resolve() == told.output.resolve():
        say(_("The results cannot lie among the images. Give another folder with --output."))
        return USAGE
    called = ["segment", "--json", str(told.input.resolve()), "-o", str(told.output.resolve())]
    called += ["--format", "seg.nrrd", "--device", told.device]
    source = ("--model", told.model) if told.model else ("--route", told.route)
    called += [source[0], str(source[1].resolve())]
    called += ["--modality", told.modality] if told.modality else []
    called += ["--resume"] if told.resume else []
    table = Table(told.output / TABLE, goOn=told.resume)
    kept = True

    def take(event: Mapping[str, Any]) -> None:
        nonlocal kept
        _tell(event, say)
        if table.take(event):
            kept = _isWritten(table)

    code = call(command, called, environment, take)
    if not (kept or _isWritten(table)):
        say(_("{file} could not be written; is it open elsewhere?").format(file=table.path))
        return code or FAILED
    return code


def _isWritten(table: Table) -> bool:
    """A table that is open in another program waits for the next case, or for the end."""
    try:
        table.write()
    except OSError:
        return False
    return True


def trainOn(words: Sequence[str], command: Command, environment: Mapping[str, str], say: Say = print) -> int:
    """What `FedSegTrain.py` does; the exit code."""
    told = _trainArguments(words)
    init = told.init.resolve() if told.init else None
    called = trainWords(told.data.resolve(), told.out.resolve(), init, resume=told.resume)
    return call(command, called, environment, lambda event: _tell(event, say))


def call(
    command: Command, words: Sequence[str], environment: Mapping[str, str], take: Callable[[Event], None]
) -> int:
    """Run the command to its end and hand on its events, its last ones too where it is interrupted; its exit code.

    Raises:
        OSError: it could not be started.
    """
    with subprocess.Popen(
        [*command.words, *words],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        env=command.environment(environment),
        **ownGroup(),
    ) as process:
        try:
            hasEnded = _hear(process, take)
        except BaseException:
            signalTree(process, force=True)
            raise
    if not hasEnded:
        fix = _("Free some memory and go on with --resume.")
        take({"event": "error", "message": lastWords(process.returncode), "fix": fix})
    return process.returncode if hasEnded and process.returncode >= 0 else FAILED


def _hear(process: subprocess.Popen, take: Callable[[Event], None]) -> bool:
    """Hand on what a process tells until it falls silent, as it does soon after an interruption; whether it told
    how it ended."""
    ends = []

    def follow() -> None:
        for event in filter(None, map(readEvent, process.stdout)):
            ends.extend([event] if event["event"] in ("result", "error") else [])
            take(event)

    try:
        follow()
    except KeyboardInterrupt:
        signalTree(process, force=False)
        follow()
    return bool(ends)


def _tell(event: Event, say: Say) -> None:
    """An event in a line, if it is one for people."""
    tell = _TELLERS.get(event["event"])
    if tell is not None:
        say(" ".join(tell(event).split()))


def _progress(event: Event) -> str:
    isCase = event["stage"] == "segment"  # whose message is the result's path
    what = Path(event["message"]).name if isCase else event["message"]
    minutes = round((event.get("eta_s") or 0) / 60)
    left = _("about {minutes} min left").format(minutes=minutes) if minutes else ""
    return f"[{event['value']:4.0%}] {what} {left}"


def _case(event: Event) -> str:
    sizes = ", ".join(f"{label} {volume} ml" for label, volume in event["volumes_ml"].items())
    return f"{event['state']} {event['name']}: {sizes}".rstrip(": ")


def _round(event: Event) -> str:
    dice = " ".join(f"{label} {value:.3f}" for label, value in event["dice"].items() if value is not None)
    return _("round {number} of {total}: Dice {dice}").format(
        number=event["number"], total=event["total"], dice=dice or "-"
    )


def _message(event: Event) -> str:
    return f"{event['event']}: {event['message']} {event.get('fix') or ''}"


def _result(event: Event) -> str:
    summary = event["summary"]
    if "done" not in summary:
        return str(event.get("path", ""))
    told = _("{done} done, {failed} failed, {skipped} skipped")
    return told.format(**{state: len(summary[state]) for state in ("done", "failed", "skipped")})


_TELLERS = {
    "progress": _progress,
    "case": _case,
    "round": _round,
    "problem": _message,
    "warning": _message,
    "error": _message,
    "result": _result,
}


def _batchArguments(words: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        "FedSegBatch.py",
        description=_(
            "Segment a folder of images, or of DICOM folders, one a patient, into .seg.nrrd files."
        ),
        epilog=_("Research use only. Every segmentation must be reviewed by a qualified person."),
    )
    parser.add_argument("--input", type=Path, required=True, metavar="DIR")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--model", type=Path, metavar="FILE", help=_("a published model"))
    source.add_argument("--route", type=Path, metavar="DIR", help=_("models that are mixed for each image"))
    parser.add_argument("--output", type=Path, required=True, metavar="DIR")
    parser.add_argument("--modality", metavar="NAME", help=_("what every image is, such as CT"))
    parser.add_argument("--resume", action="store_true", help=_("leave out what is done"))
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    return parser.parse_args(words)


def _trainArguments(words: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser("FedSegTrain.py", description=_("Train a model on a dataset folder."))
    parser.add_argument(
        "--data", type=Path, required=True, metavar="DIR", help=_("a folder with a dataset.json")
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    parser.add_argument("--init", type=Path, metavar="MODEL", help=_("the model to start from"))
    parser.add_argument("--resume", action="store_true", help=_("go on with what was interrupted"))
    return parser.parse_args(words)
