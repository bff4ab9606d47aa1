"""What `fedseg segment --route` writes and says besides the segmentation."""

from __future__ import annotations

import json
from argparse import Namespace
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from FedSegCore.console import Console
from FedSegCore.data.imagefiles import image_stem, image_suffix
from FedSegCore.data.io import write_volume
from FedSegCore.data.volume import Volume
from FedSegCore.errors import UsageError
from FedSegCore.files import write_atomic
from FedSegCore.inference.routed import RoutedSegmentation


@final
@dataclass(frozen=True)
class Sides:
    """Where one case's weights and map of disagreement go; None where they are not wanted."""

    weights: Path | None
    disagreement: Path | None


def refuse_sides(arguments: Namespace) -> None:
    """One model has neither weights nor disagreement.

    Raises:
        UsageError: either was asked for.
    """
    asked = {"--weights-out": arguments.weights_out, "--disagreement": arguments.disagreement}
    for option, path in asked.items():
        if path is not None:
            raise UsageError(
                f"{option} tells of routing, and one model was given.", "Give --route DIR instead."
            )


def name_sides(
    arguments: Namespace, targets: Sequence[Path], cases: Sequence[Mapping[str, Path]], *, one: bool
) -> list[Sides]:
    """A file each for one image; for several a folder that receives them under the results' names.

    Raises:
        UsageError: a file name given for several images, an image format that is none, or a file that another
            result, an image or the bank already is.
    """
    stems = [image_stem(target) for target in targets]
    weights = _names(arguments.weights_out, stems, ".json", one=one, option="--weights-out")
    maps = _names(arguments.disagreement, stems, ".nii.gz", one=one, option="--disagreement")
    taken = {path.resolve(): "an image" for case in cases for path in case.values()}
    taken |= {path.resolve(): "a file of the bank" for path in (arguments.route or Path()).glob("*")}
    taken |= {path.resolve(): "a segmentation" for path in targets}
    for path in (path for path in (*weights, *maps) if path is not None):
        if (what := taken.get(path.resolve())) is not None:
            raise UsageError(f"{path} would be written over {what}.", "Give another name or folder.")
        taken[path.resolve()] = "another result"
    return [Sides(*pair) for pair in zip(weights, maps, strict=True)]


def _names(
    out: Path | None, stems: Sequence[str], suffix: str, *, one: bool, option: str
) -> list[Path | None]:
    if out is None:
        return [None] * len(stems)
    is_file = (
        out.suffix == ".json" if suffix == ".json" else image_suffix(out) in (".nii.gz", ".nii", ".nrrd")
    )
    if is_file and not out.is_dir():
        if not one:
            raise UsageError(f"{option} cannot be one file, {out}, for several images.", "Give a folder.")
        return [out]
    if out.suffix and not out.is_dir():
        raise UsageError(f"{option} cannot be written as {out.name}.", f"End its name with {suffix}.")
    return [out / f"{stem}{suffix}" for stem in stems]


def write_routing(found: RoutedSegmentation, target: Path, sides: Sides, *, like: Volume) -> None:
    """Write what was asked for besides the segmentation."""
    facts = found.facts()
    if sides.weights is not None:
        text = json.dumps({"image": target.name, **facts}, indent=1, ensure_ascii=False) + "\n"
        write_atomic(sides.weights, text.encode())
    if sides.disagreement is not None:
        write_volume(sides.disagreement, Volume(found.disagreement, like.affine, like.header))


def tell_routing(found: RoutedSegmentation, target: Path, console: Console) -> dict[str, Any]:
    """Say what the scan is like, and warn where the segmentation is to be kept back."""
    console.say(f"{target}: {found.mixture.sentence}")
    verdict = found.verdict
    if verdict.abstain is not False:
        fix = "Do not use it unseen: review every slice, or segment by hand."
        console.emit("warning", message=f"{target}: {verdict.reason}", fix=fix)
    return {key: value for key, value in found.facts().items() if key != "layers"}
