"""`fedseg segment`."""

from __future__ import annotations

import os
from argparse import Namespace
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from FedSegCore.console import Console
from FedSegCore.device import choose_device
from FedSegCore.errors import InputError
from FedSegCore.inference.bank import read_bank
from FedSegCore.inference.modelfile import ModelHeader, load_model
from FedSegCore.inference.routed import RoutedBank
from FedSegCore.inference.segment import match_modalities, segment_volumes
from FedSegCore.inference.verdict import read_calibration
from FedSegCore.interrupt import sigterm_as_ctrl_c
from FedSegCore.unforeseen import TRACEBACK
from FedSegCore.verbs.account import Account
from FedSegCore.verbs.line import Case, Line, Segment
from FedSegCore.verbs.naming import (
    Images,
    find_cases,
    is_image_folder,
    name_channels,
    name_results,
    tell_order,
)
from FedSegCore.verbs.routing import name_sides, refuse_sides


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
        with Line(header, segment, account, strict=alone or bool(os.environ.get(TRACEBACK))) as line:
            line.segment(cases, resume=arguments.resume, resample=arguments.resample)
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
