"""`fedseg segment`."""

from __future__ import annotations

import os
from argparse import Namespace
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol, final

from FedSegCore.console import Console
from FedSegCore.data.imagefiles import image_suffix
from FedSegCore.data.regrid import on_one_grid
from FedSegCore.data.volume import Volume
from FedSegCore.device import choose_device
from FedSegCore.errors import FedSegError, InputError, StorageError
from FedSegCore.inference.bank import read_bank
from FedSegCore.inference.modelfile import ModelHeader, load_model
from FedSegCore.inference.routed import RoutedBank, RoutedSegmentation
from FedSegCore.inference.segment import (
    Segmentation,
    match_modalities,
    read_case,
    segment_volumes,
    volumes_in_ml,
    volumes_of_result,
    write_segmentation,
)
from FedSegCore.inference.verdict import read_calibration
from FedSegCore.interrupt import sigterm_as_ctrl_c
from FedSegCore.learning.windows import Tell
from FedSegCore.unforeseen import TRACEBACK, unforeseen
from FedSegCore.verbs.account import Account
from FedSegCore.verbs.naming import (
    Images,
    find_cases,
    is_image_folder,
    name_channels,
    name_results,
    tell_order,
)
from FedSegCore.verbs.routing import Sides, name_sides, refuse_sides, tell_routing


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


def run(arguments: Namespace, console: Console) -> int:
    """Segment one case, several images, or a folder of them; the model or bank is loaded once.

    Of several cases one that cannot be segmented is told, and the others are; of a single one it is the end.
    """
    with sigterm_as_ctrl_c():
        found = find_cases(arguments.images, arguments.channels, modality=arguments.modality)
        alone = len(found) == 1 and not is_image_folder(arguments.images)
        header, segment = _segmenter(arguments, console)
        cases = _plan(found, header, arguments, alone=alone)
        tell_order(found, header, console)
        account = Account(console, cases=len(cases))
        for case in cases:
            account.begin(case.image, case.target)
            if arguments.resume and _is_done(case, account):
                continue
            try:
                _segment(case, header, segment, account, resample=arguments.resample)
            except (StorageError, BrokenPipeError):
                raise  # what one case meets there, every other will meet too
            except Exception as error:
                if alone or os.environ.get(TRACEBACK):
                    raise
                account.failed(*_told(error))
        return account.close()


def _plan(found: Sequence[Images], header: ModelHeader, arguments: Namespace, *, alone: bool) -> list[Case]:
    """Every case matched and named before the first is segmented: a wrong one costs nothing.

    Raises:
        InputError: no case fits the model, or results cannot be named so.
    """
    matched = [_match(case, header) for case in found]
    if all(isinstance(one, InputError) for one in matched):
        raise next(one for one in matched if isinstance(one, InputError))
    targets = name_results(arguments.out, found, one=alone, kind=arguments.kind)
    images = [{str(path): path for _, path in case} for case in found]
    sides = name_sides(arguments, targets, images, one=alone)
    firsts = [case[0][1] for case in found]
    return [Case(*one) for one in zip(firsts, matched, targets, sides, strict=True)]


def _match(case: Images, header: ModelHeader) -> dict[str, Path] | InputError:
    try:
        return match_modalities(header, name_channels(case, header))
    except InputError as error:
        return error


def _is_done(case: Case, account: Account) -> bool:
    """Whether the case's result and what is to lie beside it are there and can be read to their end."""
    beside = (case.sides.weights, case.sides.disagreement)
    if not all(path.is_file() for path in (case.target, *beside) if path is not None):
        return False
    try:
        volumes_ml = volumes_of_result(case.target)
    except InputError:
        return False
    account.skipped(volumes_ml)
    return True


def _segment(case: Case, header: ModelHeader, segment: Segment, account: Account, *, resample: bool) -> None:
    """Segment a case and write its result last: where that is there, all is there."""
    if isinstance(case.matched, InputError):
        raise case.matched
    volumes = on_one_grid(read_case(case.matched), resample=resample)
    first = next(iter(volumes.values()))
    found, routing = segment(volumes, tell=account.share), None
    if isinstance(found, RoutedSegmentation):
        routing = tell_routing(found, case.target, case.sides, like=first, console=account.console)
        found = found.segmentation
    write_segmentation(case.target, found, like=first, header=header)
    hidden = 0 if image_suffix(case.target) == ".seg.nrrd" else found.hidden(header)
    sizes = dict(zip(header.label_names, found.regions, strict=True))
    account.done(volumes_in_ml(sizes, first.affine), hidden=hidden, routing=routing)


def _told(error: Exception) -> tuple[str, str]:
    return (error.message, error.fix) if isinstance(error, FedSegError) else unforeseen(error)


def _segmenter(arguments: Namespace, console: Console) -> tuple[ModelHeader, Segment]:
    """What the model or bank says of itself, and how it segments a case."""
    device = choose_device(arguments.device)
    if arguments.route is not None:
        bank = read_bank(arguments.route)
        for expert in bank.left_out:
            console.emit(
                "warning",
                message=f"{expert.path.name} is several sites' networks in one and is left out of the mixture.",
                fix="Nothing to do; segment with --model to use it alone.",
            )
        calibration = read_calibration(bank)
        return bank.header, RoutedBank(bank, device=device, calibration=calibration).segment
    refuse_sides(arguments)
    model = load_model(arguments.model, device)
    return model.header, partial(segment_volumes, model)
