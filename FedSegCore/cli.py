"""The `fedseg` verbs: their arguments, and nothing else.

What a verb does stands in `FedSegCore.verbs`, imported when the verb is called, so that `fedseg info` answers
without torch. Every verb takes `--json`. Exit codes: 0 done, 1 failed, 2 bad usage or bad input.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from FedSegCore.console import Console
from FedSegCore.errors import FedSegError, UsageError, nearest
from FedSegCore.unforeseen import TRACEBACK, unforeseen

DISCLAIMER = (
    "Research software, not a medical device: every segmentation must be reviewed by a qualified person."
)


class _Parser(argparse.ArgumentParser):
    """A parser whose complaints are ours: one sentence and exit code 2."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message[:1].upper()}{message[1:]}.", f"See `{self.prog} --help`.")


if TYPE_CHECKING:
    _Verbs = argparse._SubParsersAction[_Parser]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb; returns its exit code."""
    # Read by OpenMP when torch is loaded: threads that wait should sleep. On a machine that something else keeps
    # busy, spinning ones made a training step a hundred times slower; on an idle one this costs nothing.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    words = list(sys.argv[1:] if arguments is None else arguments)
    console = Console(json_lines="--json" in words)
    try:
        parsed = _parse(words)
        run: Callable[[argparse.Namespace, Console], int] = importlib.import_module(
            f"FedSegCore.verbs.{parsed.verb.replace('-', '_')}"
        ).run
        return run(parsed, console)
    except FedSegError as error:
        console.error(error.message, error.fix)
        return error.exit_code
    except KeyboardInterrupt:
        console.error("Interrupted.", _GOING_ON.get(_verb_of(words) or "", "Run the command again."))
        return 1
    except BrokenPipeError:
        # Whoever read the output has stopped, as `| head` does; nobody is left to be told.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        where = error.filename or "A file could not be read or written"
        console.error(f"{where}: {error.strerror or error}.", "Check the disk's space and your rights.")
        return 2
    except Exception as error:
        if os.environ.get(TRACEBACK):
            raise
        console.error(*unforeseen(error))
        return 1


_GOING_ON = {
    "simulate": "What was finished is on disk; simulate goes on with --resume.",
    "train": "What was finished is on disk; train goes on with --resume.",
    "segment": "What was finished is on disk; segment goes on with --resume.",
    "serve": "What was finished is on disk; the same command goes on, and the sites wait for it.",
    "join": "What was finished is on disk; the same command goes on. The study goes on without this site meanwhile.",
    "demo": "What was finished is on disk; `fedseg simulate DIR/hospitals/study.toml --out DIR --resume` goes on.",
}
"""What can be done after Ctrl-C, where it is not to begin again."""


def _parse(words: list[str]) -> argparse.Namespace:
    parsed, rest = make_parser().parse_known_args(_known_verb(words))
    if rest:
        raise UsageError(f'Unknown argument "{rest[0]}".', f"See `fedseg {parsed.verb} --help`.")
    return parsed


def make_parser() -> argparse.ArgumentParser:
    """The parser of all verbs."""
    parser = _Parser(prog="fedseg", description="Federated, personalised segmentation of medical images.",
                     epilog=DISCLAIMER)  # fmt: skip
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True, parser_class=_Parser)
    for add in (
        _demo, _simulate, _check, _train, _segment, _evaluate, _info,
        _serve, _invite, _join, _test_connection, _pausing, _status,
    ):  # fmt: skip
        add(verbs)
    return parser


def _demo(verbs: _Verbs) -> None:
    demo = _verb(verbs, "demo", "a whole small federation on this machine, on generated images")
    demo.add_argument("--out", type=Path, default=Path("demo"), metavar="DIR")


def _simulate(verbs: _Verbs) -> None:
    simulate = _verb(verbs, "simulate", "run a whole study on this machine")
    simulate.add_argument("study", type=Path, metavar="STUDY.toml")
    simulate.add_argument("--out", type=Path, required=True, metavar="DIR")
    simulate.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    simulate.add_argument("--workers", type=int, default=1, metavar="N", help="processes that sites train in")
    simulate.add_argument("--resume", action="store_true", help="go on in DIR, or start in an empty one")
    simulate.add_argument("--dry-run", action="store_true", help="check study and data, train nothing")


def _check(verbs: _Verbs) -> None:
    check = _verb(verbs, "check", "list every problem of a dataset folder")
    check.add_argument("dataset", type=Path, metavar="DATASET_DIR")
    check.add_argument("--study", type=Path, metavar="STUDY.toml")
    check.add_argument("--site", metavar="NAME", help="the site of the study that the dataset is for")


def _train(verbs: _Verbs) -> None:
    train = _verb(verbs, "train", "train on one dataset, without a federation")
    train.add_argument("dataset", type=Path, metavar="DATASET_DIR")
    train.add_argument("--out", type=Path, required=True, metavar="DIR")
    train.add_argument("--init", type=Path, metavar="MODEL", help="start from this model")
    train.add_argument(
        "--study", type=Path, metavar="STUDY.toml", help="take plan, network and training from it"
    )
    train.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    train.add_argument("--resume", action="store_true", help="go on in DIR, or start in an empty one")


def _segment(verbs: _Verbs) -> None:
    segment = _verb(verbs, "segment", "segment images with a published model")
    segment.add_argument(
        "images",
        nargs="*",
        type=Path,
        metavar="IMAGE",
        help="image, DICOM folder, or folder of both, where CASE_0000, CASE_0001, ... are one case's channels",
    )
    segment.add_argument("--image", action="append", default=[], metavar="MODALITY=FILE", dest="channels",
                         help="one channel of one case; may be repeated")  # fmt: skip
    source = segment.add_mutually_exclusive_group(required=True)
    source.add_argument("--model", type=Path, metavar="FILE")
    source.add_argument(
        "--route", type=Path, metavar="DIR", help="fit a mixture of the folder's models to each image"
    )
    segment.add_argument("-o", "--out", type=Path, required=True, metavar="OUT")
    segment.add_argument("--format", choices=("nii.gz", "nrrd", "seg.nrrd"), dest="kind",
                         help="what the results in a folder are; default: as the images")  # fmt: skip
    segment.add_argument("--modality", metavar="NAME",
                         help="what every image is, where the model takes several kinds")  # fmt: skip
    segment.add_argument("--resume", action="store_true",
                         help="leave out cases whose result is there and whole")  # fmt: skip
    segment.add_argument("--resample", action="store_true",
                         help="bring a case's images onto the first one's grid where they differ")  # fmt: skip
    segment.add_argument(
        "--weights-out", type=Path, metavar="FILE.json", help="with --route: what the mixture is of"
    )
    segment.add_argument("--disagreement", type=Path, metavar="FILE.nii.gz",
                         help="with --route: where the models disagree, in bits")  # fmt: skip
    segment.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")


def _evaluate(verbs: _Verbs) -> None:
    evaluate = _verb(verbs, "evaluate", "compare segmentations with references")
    evaluate.add_argument(
        "predictions",
        type=Path,
        metavar="PREDICTIONS",
        help="file or folder; what `fedseg segment` wrote and a .seg.nrrd are compared by their structures' names, "
        "any other file by the values that the dataset.json beside LABELS gives to them",
    )
    evaluate.add_argument(
        "labels",
        type=Path,
        metavar="LABELS",
        help="file or folder; of two folders each reference needs a prediction",
    )
    evaluate.add_argument("--csv", type=Path, metavar="FILE")
    evaluate.add_argument(
        "--study", type=Path, metavar="STUDY.toml", help="score the structures of this study"
    )
    evaluate.add_argument("--site", metavar="NAME", help="the site of the study that the references are of")
    evaluate.add_argument(
        "--slices",
        choices=("1", "2", "3", "none"),
        help="the files' axis that is a list of slices, so that surfaces are measured in the slices, or none; "
        "default: as the segmentations say, else none",
    )


def _info(verbs: _Verbs) -> None:
    info = _verb(
        verbs,
        "info",
        "what a model, checkpoint, study, dataset or image is; without a file, this installation",
    )
    info.add_argument("file", type=Path, nargs="?", metavar="FILE")


def _test_connection(verbs: _Verbs) -> None:
    test = _verb(
        verbs, "test-connection", "test the way to a study, hop after hop, and name the one that fails"
    )
    test.add_argument("file", type=Path, metavar="FILE", help="the invitation")


def _serve(verbs: _Verbs) -> None:
    serve = _verb(verbs, "serve", "lead a study across hospitals, from one port")
    serve.add_argument("study", type=Path, metavar="STUDY.toml")
    serve.add_argument("--out", type=Path, required=True, metavar="DIR")
    serve.add_argument(
        "--host", default="0.0.0.0", metavar="H", help="what is listened on; default: everywhere"
    )
    serve.add_argument("--port", type=int, default=8443, metavar="P")
    serve.add_argument("--address", default="", metavar="PUBLIC_HOST:PORT", help="how the sites reach it")
    serve.add_argument(
        "--tls-cert", type=Path, metavar="FILE", help="PEM, the whole chain; default: made for you"
    )
    serve.add_argument("--tls-key", type=Path, metavar="FILE")
    serve.add_argument("--keep", action="store_true", help="stay up after the last round")
    serve.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")


def _invite(verbs: _Verbs) -> None:
    invite = _verb(verbs, "invite", "write a site's invitation to the study that is served from a folder")
    invite.add_argument("site", metavar="SITE")
    invite.add_argument("--from", type=Path, required=True, dest="served", metavar="DIR")
    invite.add_argument("-o", "--out", type=Path, required=True, metavar="FILE")
    invite.add_argument(
        "--days", type=float, default=14.0, metavar="N", help="how long it can be used; default: 14"
    )


def _join(verbs: _Verbs) -> None:
    join = _verb(verbs, "join", "take part in a study with this hospital's dataset")
    join.add_argument("invitation", type=Path, metavar="FILE")
    join.add_argument("--data", type=Path, required=True, metavar="DATASET_DIR")
    join.add_argument(
        "--site-dir", type=Path, metavar="DIR", help="the site's own folder; default: fedseg-SITE"
    )
    join.add_argument(
        "--publish-personal", action="store_true", help="let others use this site's personal model"
    )
    join.add_argument("--accept", action="store_true", help="agree to what leaves without being asked")
    join.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")


def _pausing(verbs: _Verbs) -> None:
    for name, text in (
        ("pause", "take no part from the next round on, until `resume`"),
        ("resume", "take part again from the next round on"),
        ("leave", "leave a study for good; models that were made stay"),
    ):
        verb = _verb(verbs, name, text)
        verb.add_argument("--site-dir", type=Path, required=True, metavar="DIR")


def _status(verbs: _Verbs) -> None:
    status = _verb(verbs, "status", "how a study goes that is served from, or joined with, a folder")
    status.add_argument("folder", type=Path, metavar="DIR")


VERBS = (
    "demo", "simulate", "check", "train", "segment", "evaluate", "info",
    "serve", "invite", "join", "test-connection", "pause", "resume", "leave", "status",
)  # fmt: skip


def _verb(verbs: _Verbs, name: str, text: str) -> argparse.ArgumentParser:
    parser = verbs.add_parser(
        name, help=text, description=text[:1].upper() + text[1:] + ".", epilog=DISCLAIMER
    )
    parser.add_argument("--json", action="store_true", help="one JSON object a line on stdout")
    return parser


def _known_verb(words: list[str]) -> list[str]:
    verb = _verb_of(words)
    if verb is not None and verb not in VERBS:
        raise UsageError(f'Unknown verb "{verb}".', nearest(verb, VERBS))
    return words or ["--help"]


def _verb_of(words: list[str]) -> str | None:
    return next((word for word in words if not word.startswith("-")), None)
