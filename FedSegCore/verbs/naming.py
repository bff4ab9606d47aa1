"""Which cases `fedseg segment` is asked for, and where their results go."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from pathlib import Path

from FedSegCore.console import Console
from FedSegCore.data.imagefiles import (
    IMAGE_SUFFIXES,
    channel_of,
    find_images,
    image_stem,
    image_suffix,
    is_dicom_folder,
)
from FedSegCore.errors import DataError, UsageError
from FedSegCore.inference.modelfile import ModelHeader

Images = list[tuple[str | None, Path]]


def find_cases(images: list[Path], channels: list[str], *, modality: str | None) -> list[Images]:
    """The cases that the arguments name, each a list of (modality or None, image).

    In a folder CASE_0000, CASE_0001, ... are one case, in this order, and so is each DICOM folder; an image named by
    itself is a case.

    Args:
        modality: what the images of all cases are, none: what the model takes.

    Raises:
        UsageError: none, or two ways of naming at once.
        DataError: no image that exists, a folder without images.
    """
    if images and channels:
        raise UsageError(
            "Images were given both with and without --image.", "Use --image for all of one case."
        )
    if channels:
        if modality is not None:
            raise UsageError("--modality and --image both say what an image is.", "Use one of them.")
        named = [text.partition("=") for text in channels]
        for modality, equals, path in named:
            if not equals or not modality or not path:
                raise UsageError("--image takes MODALITY=FILE.", "Write for example --image T1=scan.nii.gz.")
        return [[(modality, Path(path)) for modality, _, path in named]]
    if not images:
        raise UsageError("No image was given.", "Name an image, a DICOM folder, or a folder of images.")
    if not any(image.exists() for image in images):
        raise DataError(f"There is no image {images[0]}.", "Check the path.")
    cases = [case for image in images for case in _expand(image)]
    several = next((case for case in cases if len(case) > 1), None)
    if modality is not None and several is not None:
        name, number = channel_of(several[0])[0], len(several)
        raise UsageError(
            f"--modality is for cases of one image, and {several[0].parent} holds {number} channels of {name}.",
            "Leave it out: channels are taken in the order of the model's inputs.",
        )
    return [[(modality, path) for path in case] for case in cases]


def _expand(path: Path) -> list[list[Path]]:
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

    Without one the number may as well count patients: scan_0001, scan_0002, ... Those of folders always do.
    """
    groups: dict[tuple[str, bool], list[Path]] = {}
    for path in images:
        name, channel = (str(path), None) if path.is_dir() else channel_of(path)
        groups.setdefault((name, channel is None), []).append(path)
    cases: list[list[Path]] = []
    for group in groups.values():
        cases += [group] if channel_of(group[0])[1] == 0 else [[path] for path in group]
    return cases


def name_channels(case: Images, header: ModelHeader) -> Images:
    """A folder's case of several channels with the modality of each: that of the model's inputs, in their order.

    Raises:
        UsageError: it has another number of channels than the model has inputs, or one of them twice.
    """
    if not _is_numbered(case):
        return case
    _refuse_other_channels([path for _, path in case], header)
    return [(choices[0], path) for choices, (_, path) in zip(header.inputs, case, strict=True)]


def tell_order(cases: Sequence[Images], header: ModelHeader, console: Console) -> None:
    """Say once which channel of a folder's cases is taken as what."""
    numbered = (case for case in cases if _is_numbered(case) and len(case) == len(header.inputs))
    for case in islice(numbered, 1):
        order = (f"_{channel_of(path)[1]:04d} {modality}" for modality, path in name_channels(case, header))
        console.say(f"Channels taken in the order of the model's inputs: {', '.join(order)}")


def _is_numbered(case: Images) -> bool:
    return len(case) > 1 and case[0][0] is None


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


def is_image_folder(images: list[Path]) -> bool:
    """Whether a folder of images is among what was named, even if it holds one."""
    return any(path.is_dir() and not is_dicom_folder(path) for path in images)


def name_results(out: Path, cases: Sequence[Images], *, one: bool, kind: str | None) -> list[Path]:
    """Where each result goes: `out` itself for one image and a known suffix, else `out` as a folder.

    Args:
        kind: the suffix of a folder's results without its dot; none: as `_result_name` says.

    Raises:
        UsageError: two results of one name, or a file name given for several images.
    """
    suffix = image_suffix(out)
    if suffix and not out.is_dir():
        if not one:
            raise UsageError(f"The images' results cannot be one file, {out}.", "Give a folder with -o.")
        if kind is not None:
            raise UsageError(f"--format is for folders of results, and {out} is a file.", "Leave it out.")
        targets = [out]
    else:
        targets = [out / _result_name([path for _, path in case], kind) for case in cases]
    for target in targets:
        if targets.count(target) > 1:
            raise UsageError(
                f"Two images would both be written to {target}.", "Segment them into different folders."
            )
    for target, case in zip(targets, cases, strict=True):
        if target.resolve() in {path.resolve() for _, path in case}:
            raise UsageError(
                f"The result would overwrite the image {target}.", "Give another name or folder with -o."
            )
    return targets


def _result_name(images: Sequence[Path], kind: str | None) -> str:
    """The image's file name, of several channels without their number, with the suffix of `kind` if it is given.

    NIfTI where the image is DICOM or of a kind that label maps are not written as.
    """
    suffix = image_suffix(images[0])
    writable = suffix if suffix in (".nii.gz", ".nii", ".nrrd", ".seg.nrrd") else ".nii.gz"
    names = {channel_of(path)[0] for path in images}
    stem = names.pop() if len(names) == 1 < len(images) else image_stem(images[0])
    return f"{stem}.{kind}" if kind is not None else f"{stem}{writable}"
