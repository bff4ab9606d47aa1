"""Cases segmented one after the other: the next is read and the last is written while one is computed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, wait
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from threading import Thread
from typing import Protocol, TypeVar, final

from FedSegCore.data.imagefiles import image_suffix
from FedSegCore.data.regrid import on_one_grid
from FedSegCore.data.volume import Volume
from FedSegCore.errors import FedSegError, InputError, StorageError
from FedSegCore.inference.modelfile import ModelHeader
from FedSegCore.inference.routed import RoutedSegmentation
from FedSegCore.inference.segment import (
    Segmentation,
    read_case,
    volumes_in_ml,
    volumes_of_result,
    write_segmentation,
)
from FedSegCore.learning.windows import Tell
from FedSegCore.unforeseen import unforeseen
from FedSegCore.verbs.account import Account
from FedSegCore.verbs.routing import Sides, tell_routing, write_routing

Result = TypeVar("Result")


class Segment(Protocol):
    """How a case is segmented: by one model, or by a mixture that is fitted to it."""

    def __call__(self, volumes: Mapping[str, Volume], *, tell: Tell) -> Segmentation | RoutedSegmentation:
        """A case's images on one grid, by modality; `tell` is told how far it is."""


@final
@dataclass(frozen=True)
class Case:
    """One case that is to be segmented.

    Args:
        image: its first image, which names it.
        matched: its images by modality, or why they do not fit the model.
        target: where its result goes.
    """

    image: Path
    matched: dict[str, Path] | InputError
    target: Path
    sides: Sides


@dataclass(frozen=True)
class _Skipped:
    """A result that was there before."""

    volumes_ml: Mapping[str, float]


@dataclass(frozen=True)
class _Written:
    """What is told of a result."""

    volumes_ml: Mapping[str, float]
    hidden: int
    routed: RoutedSegmentation | None


@final
class Line(AbstractContextManager["Line"]):
    """Reads one case ahead and writes one behind, each in a thread of its own; three cases at most are in memory.

    Only the thread that computes tells anything, in the order of the cases.

    Args:
        strict: whether a case that fails is the end; else it is told, and the others go on.
    """

    def __init__(self, header: ModelHeader, segment: Segment, account: Account, *, strict: bool) -> None:
        self._header = header
        self._segment = segment
        self._account = account
        self._strict = strict
        self._behind: tuple[Case, Future[_Written]] | None = None
        self._writer: Thread | None = None

    def __exit__(self, *_: object) -> None:
        """What is being written is written to its end."""
        if self._writer is not None and self._writer.ident is not None:
            self._writer.join()

    def segment(self, cases: Sequence[Case], *, resume: bool, resample: bool) -> None:
        """Segment all of them.

        Args:
            resume: whether those are left out whose results are there and whole.
            resample: whether images on different grids are brought onto one.
        """
        read = partial(_read, resume=resume, resample=resample)
        ahead = _apart(partial(read, cases[0]))
        for case, following in zip(cases, [*cases[1:], None], strict=True):
            self._account.begin(case.target)
            volumes = self._get(case, ahead)
            if following is not None:
                ahead = _apart(partial(read, following))
            if isinstance(volumes, _Skipped):
                self._settle()
                self._account.skipped(case.image, case.target, volumes.volumes_ml)
            elif volumes is not None:
                self._compute(case, volumes)
        self._settle()

    def _get(
        self, case: Case, ahead: Future[dict[str, Volume] | _Skipped]
    ) -> dict[str, Volume] | _Skipped | None:
        """What was read of a case; None where that failed and was told."""
        try:
            return ahead.result()
        except Exception as error:
            self._account.end()
            self._settle()
            self._fail(case, error)
            return None

    def _compute(self, case: Case, volumes: dict[str, Volume]) -> None:
        first = next(iter(volumes.values()))
        try:
            found = self._segment(volumes, tell=self._tell)
        except Exception as error:
            self._account.end()
            self._settle()
            self._fail(case, error)
            return
        self._account.end()
        self._settle()
        writing: Future[_Written] = Future()
        work = partial(_write, case, found, first, self._header)
        # Noted before it begins, for an interrupt may come at any moment; the program's end waits for it.
        self._behind, self._writer = (case, writing), Thread(target=_fill, args=(writing, work))
        self._writer.start()

    def _tell(self, share: float) -> None:
        if self._behind is not None and self._behind[1].done():
            self._settle()
        self._account.share(share)

    def _settle(self) -> None:
        """Wait until the last result is written, and tell of it."""
        if self._behind is None:
            return
        case, writing = self._behind
        wait([writing])  # an interrupt here leaves it to `__exit__` to wait
        self._behind = None
        try:
            written = writing.result()
        except Exception as error:
            self._fail(case, error)
            return
        console = self._account.console
        routing = tell_routing(written.routed, case.target, console) if written.routed else None
        self._account.done(
            case.image, case.target, written.volumes_ml, hidden=written.hidden, routing=routing
        )

    def _fail(self, case: Case, error: Exception) -> None:
        """Tell that a case has no result.

        Raises:
            Exception: the error, where it is the end: what one case meets on the disk, every other will meet too.
        """
        if self._strict or isinstance(error, StorageError | BrokenPipeError):
            raise error
        told = (error.message, error.fix) if isinstance(error, FedSegError) else unforeseen(error)
        self._account.failed(case.image, case.target, *told)


def _apart(work: Callable[[], Result]) -> Future[Result]:
    """What a piece of work will come to, done in a thread that nobody waits for at the program's end."""
    future: Future[Result] = Future()
    Thread(target=_fill, args=(future, work), daemon=True).start()
    return future


def _fill(future: Future[Result], work: Callable[[], Result]) -> None:
    try:
        future.set_result(work())
    except BaseException as error:
        future.set_exception(error)


def _read(case: Case, *, resume: bool, resample: bool) -> dict[str, Volume] | _Skipped:
    """A case's images on one grid."""
    if resume and (skipped := _done_before(case)) is not None:
        return skipped
    if isinstance(case.matched, InputError):
        raise case.matched
    return on_one_grid(read_case(case.matched), resample=resample)


def _done_before(case: Case) -> _Skipped | None:
    """The case's result, if it and what is to lie beside it are there and can be read to their end."""
    beside = (case.sides.weights, case.sides.disagreement)
    if not all(path.is_file() for path in (case.target, *beside) if path is not None):
        return None
    try:
        return _Skipped(volumes_of_result(case.target))
    except InputError:
        return None


def _write(
    case: Case, found: Segmentation | RoutedSegmentation, like: Volume, header: ModelHeader
) -> _Written:
    """Write a case's result last: where that is there, all is there."""
    routed = found if isinstance(found, RoutedSegmentation) else None
    if isinstance(found, RoutedSegmentation):
        write_routing(found, case.target, case.sides, like=like)
        found = found.segmentation
    write_segmentation(case.target, found, like=like, header=header)
    hidden = 0 if image_suffix(case.target) == ".seg.nrrd" else found.hidden(header)
    sizes = dict(zip(header.label_names, found.regions, strict=True))
    return _Written(volumes_in_ml(sizes, like.affine), hidden, routed)
