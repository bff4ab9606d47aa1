"""`fedseg segment`."""

from __future__ import annotations

import math
from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path

from FedSegCore.console import Console
from FedSegCore.data.io import IMAGE_SUFFIXES, find_images, image_stem, image_suffix, is_dicom_folder
from FedSegCore.errors import DataError, UsageError


def run(arguments: Namespace, console: Console) -> int:
    """Segment one case, several images, or a folder of them; the model is loaded once."""
    from FedSegCore.device import choose_device
    from FedSegCore.inference.modelfile import load_model
    from FedSegCore.inference.segment import match_modalities, read_case, segment_volumes, write_segmentation

    cases = find_cases(arguments.images, arguments.channels)
    model = load_model(arguments.model, choose_device(arguments.device))
    # Every case is matched and named before the first is segmented: a wrong one costs nothing.
    matched = [match_modalities(model.header, case) for case in cases]
    targets = name_results(
        arguments.out, matched, one=len(cases) == 1 and not _is_image_folder(arguments.images)
    )
    sizes: dict[str, dict[str, float]] = {}
    for place, (case, target) in enumerate(zip(matched, targets, strict=True)):
        console.emit("progress", stage="segment", value=place / len(matched), message=str(target), eta_s=None)
        volumes = read_case(case)
        result = segment_volumes(model, volumes)
        first = next(iter(volumes.values()))
        write_segmentation(target, result, like=first, header=model.header)
        voxel_ml = math.prod(first.spacing_mm) / 1000.0
        volumes_ml = [round(float(region.sum()) * voxel_ml, 3) for region in result.regions]
        sizes[str(target)] = dict(zip(model.header.label_names, volumes_ml, strict=True))
        found = ", ".join(f"{label} {ml:g} ml" for label, ml in sizes[str(target)].items())
        console.say(f"{target}: {found}")
    console.result({"volumes_ml": sizes}, paths=[str(target) for target in targets])
    return 0


Images = list[tuple[str | None, Path]]


def find_cases(images: list[Path], channels: list[str]) -> list[Images]:
    """The cases that the arguments name, each a list of (modality or None, image).

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
    return [[(None, path)] for image in images for path in _expand(image)]


def _expand(path: Path) -> list[Path]:
    if not path.exists():
        raise DataError(f"There is no image {path}.", "Check the path.")
    if not path.is_dir() or is_dicom_folder(path):
        return [path]
    found = find_images(path)
    if not found:
        raise DataError(
            f"{path} holds no image.", f"Known kinds: {', '.join(IMAGE_SUFFIXES)}, DICOM folders."
        )
    return found


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
    """The image's file name; NIfTI where the image is DICOM or of a kind that label maps are not written as."""
    image = next(iter(case.values()))
    suffix = image_suffix(image)
    writable = suffix if suffix in (".nii.gz", ".nii", ".nrrd", ".seg.nrrd") else ".nii.gz"
    return f"{image_stem(image) if suffix else image.name}{writable}"
