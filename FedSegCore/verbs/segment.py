"""`fedseg segment`."""

from __future__ import annotations

import math
from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from FedSegCore.console import Console
from FedSegCore.data.imagefiles import (
    IMAGE_SUFFIXES,
    channel_of,
    find_images,
    image_stem,
    image_suffix,
    is_dicom_folder,
)
from FedSegCore.data.regrid import on_one_grid
from FedSegCore.data.volume import Volume
from FedSegCore.device import choose_device
from FedSegCore.errors import DataError, UsageError
from FedSegCore.inference.bank import read_bank
from FedSegCore.inference.modelfile import ModelHeader, load_model
from FedSegCore.inference.routed import RoutedBank, RoutedSegmentation
from FedSegCore.inference.segment import (
    Segmentation,
    match_modalities,
    read_case,
    segment_volumes,
    write_segmentation,
)
from FedSegCore.inference.verdict import read_calibration
from FedSegCore.verbs.routing import name_sides, refuse_sides, tell_routing

Segment = Callable[[Mapping[str, Volume]], Segmentation | RoutedSegmentation]


def run(arguments: Namespace, console: Console) -> int:
    """Segment one case, several images, or a folder of them; the model or bank is loaded once."""
    files = find_cases(arguments.images, arguments.channels)
    header, segment = _segmenter(arguments, console)
    # Every case is matched and named before the first is segmented: a wrong one costs nothing.
    matched = [match_modalities(header, case) for case in name_channels(files, header, console)]
    one = len(matched) == 1 and not _is_image_folder(arguments.images)
    targets = name_results(arguments.out, matched, one=one)
    sides = name_sides(arguments, targets, matched, one=one)
    sizes: dict[str, dict[str, float]] = {}
    told: dict[str, dict[str, Any]] = {}
    hidden: list[int] = []
    for place, (case, target) in enumerate(zip(matched, targets, strict=True)):
        console.emit("progress", stage="segment", value=place / len(matched), message=str(target), eta_s=None)
        volumes = on_one_grid(read_case(case), resample=arguments.resample)
        found = segment(volumes)
        first = next(iter(volumes.values()))
        if isinstance(found, RoutedSegmentation):
            told[str(target)] = tell_routing(found, target, sides[place], like=first, console=console)
            found = found.segmentation
        write_segmentation(target, found, like=first, header=header)
        hidden.append(0 if image_suffix(target) == ".seg.nrrd" else found.hidden(header))
        voxel_ml = math.prod(first.spacing_mm) / 1000.0
        volumes_ml = [round(float(region.sum()) * voxel_ml, 3) for region in found.regions]
        sizes[str(target)] = dict(zip(header.label_names, volumes_ml, strict=True))
        ml_of = ", ".join(f"{label} {ml:g} ml" for label, ml in sizes[str(target)].items())
        console.say(f"{target}: {ml_of}")
    _tell_hidden(hidden, console)
    summary = {"volumes_ml": sizes, **({"routing": told} if told else {})}
    console.result(summary, paths=[str(target) for target in targets])
    return 0


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


def _tell_hidden(hidden: Sequence[int], console: Console) -> None:
    """One warning for all label maps that show less than the model found."""
    if cases := sum(number > 0 for number in hidden):
        console.emit(
            "warning",
            message=f"In {cases} of {len(hidden)} cases structures cross each other, which a label map cannot show "
            f"(up to {max(hidden)} voxels).",
            fix="Write a .seg.nrrd, which holds each structure whole.",
        )


Images = list[tuple[str | None, Path]]


def find_cases(images: list[Path], channels: list[str]) -> list[Images]:
    """The cases that the arguments name, each a list of (modality or None, image).

    In a folder CASE_0000, CASE_0001, ... are one case, in this order; an image named by itself is a case.

    Raises:
        UsageError: none, or both ways of naming at once.
        DataError: an image that does not exist, a folder without images.
    """
    if images and channels:
        raise UsageError(
            "Images were given both with and without --image.", "Use --image for all of one case."
        )
    if channels:
        named = [text.partition("=") for text in channels]
        for modality, equals, path in named:
            if not equals or not modality or not path:
                raise UsageError("--image takes MODALITY=FILE.", "Write for example --image T1=scan.nii.gz.")
        return [[(modality, Path(path)) for modality, _, path in named]]
    if not images:
        raise UsageError("No image was given.", "Name an image, a DICOM folder, or a folder of images.")
    return [[(None, path) for path in case] for image in images for case in _expand(image)]


def _expand(path: Path) -> list[list[Path]]:
    if not path.exists():
        raise DataError(f"There is no image {path}.", "Check the path.")
    if not path.is_dir() or is_dicom_folder(path):
        return [[path]]
    found = find_images(path)
    if not found:
        raise DataError(
            f"{path} holds no image.", f"Known kinds: {', '.join(IMAGE_SUFFIXES)}, DICOM folders."
        )
    return _by_case(found)


def _by_case(images: Sequence[Path]) -> list[list[Path]]:
    """Files that differ in their channel number alone are one case, if they begin with channel 0.

    Without one the number may as well count patients: scan_0001, scan_0002, ...
    """
    groups: dict[tuple[str, bool], list[Path]] = {}
    for path in images:
        name, channel = channel_of(path)
        groups.setdefault((name, channel is None), []).append(path)
    cases: list[list[Path]] = []
    for group in groups.values():
        cases += [group] if channel_of(group[0])[1] == 0 else [[path] for path in group]
    return cases


def name_channels(cases: Sequence[Images], header: ModelHeader, console: Console) -> list[Images]:
    """A folder's cases of several channels with the modality of each: that of the model's inputs, in their order.

    Raises:
        UsageError: a case has another number of channels than the model has inputs, or one of them twice.
    """
    named = [_named(case, header) for case in cases]
    first = next((new for new, case in zip(named, cases, strict=True) if new is not case), None)
    if first is not None:
        order = ", ".join(f"_{channel_of(path)[1]:04d} {modality}" for modality, path in first)
        console.say(f"Channels taken in the order of the model's inputs: {order}")
    return named


def _named(case: Images, header: ModelHeader) -> Images:
    if len(case) == 1 or case[0][0] is not None:
        return case
    _refuse_other_channels([path for _, path in case], header)
    return [(choices[0], path) for choices, (_, path) in zip(header.inputs, case, strict=True)]


def _refuse_other_channels(paths: Sequence[Path], header: ModelHeader) -> None:
    name, names = channel_of(paths[0])[0], ", ".join(path.name for path in paths)
    if len({channel_of(path)[1] for path in paths}) < len(paths):
        raise UsageError(f"Two images are the same channel of {name}: {names}.", "Keep one of them.")
    expected = [" or ".join(choices) for choices in header.inputs]
    if len(expected) == 1 != len(paths):
        raise UsageError(
            f"The model takes one image a case ({expected[0]}), and {paths[0].parent} holds {len(paths)} channels of "
            f"{name}: {names}.",
            f"Give --image {header.modalities[0]}=FILE for one case, or a folder with that channel alone; where the "
            "numbers count patients, name each file.",
        )
    if len(expected) != len(paths):
        raise UsageError(
            f"The model takes {len(expected)} images a case ({', '.join(expected)}), and {paths[0].parent} holds "
            f"{len(paths)} of {name}: {names}.",
            "Give a folder with these channels of every case, or name one case's with --image MODALITY=FILE.",
        )


def _is_image_folder(images: list[Path]) -> bool:
    return any(path.is_dir() and not is_dicom_folder(path) for path in images)


def name_results(out: Path, cases: list[dict[str, Path]], *, one: bool) -> list[Path]:
    """Where each result goes: `out` itself for one image and a known suffix, else `out` as a folder.

    Raises:
        UsageError: two results of one name, or a file name given for several images.
    """
    suffix = image_suffix(out)
    if suffix and not out.is_dir():
        if not one:
            raise UsageError(f"The images' results cannot be one file, {out}.", "Give a folder with -o.")
        targets = [out]
    else:
        targets = [out / _result_name(case) for case in cases]
    for target in targets:
        if targets.count(target) > 1:
            raise UsageError(
                f"Two images would both be written to {target}.", "Segment them into different folders."
            )
    for target, case in zip(targets, cases, strict=True):
        if target.resolve() in {path.resolve() for path in case.values()}:
            raise UsageError(
                f"The result would overwrite the image {target}.", "Give another name or folder with -o."
            )
    return targets


def _result_name(case: Mapping[str, Path]) -> str:
    """The image's file name, of several channels without their number.

    NIfTI where the image is DICOM or of a kind that label maps are not written as.
    """
    image = next(iter(case.values()))
    suffix = image_suffix(image)
    writable = suffix if suffix in (".nii.gz", ".nii", ".nrrd", ".seg.nrrd") else ".nii.gz"
    names = {channel_of(path)[0] for path in case.values()}
    stem = names.pop() if len(names) == 1 < len(case) else image_stem(image) if suffix else image.name
    return f"{stem}{writable}"
