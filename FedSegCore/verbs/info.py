"""`fedseg info`: what a file is, answered without torch."""

from __future__ import annotations

import json
import tomllib
from argparse import Namespace
from pathlib import Path
from typing import Any

from FedSegCore.console import Console
from FedSegCore.data.imagefiles import image_suffix
from FedSegCore.errors import DataError, ModelFileError, StudyError
from FedSegCore.installation import describe_installation
from FedSegCore.tensors.header import read_header, tensor_shapes


def run(arguments: Namespace, console: Console) -> int:
    """Tell what a file says of itself; without one, what is installed."""
    facts = describe_installation() if arguments.file is None else describe(arguments.file)
    for key, value in facts.items():
        console.say(f"{key:12s} {_text(value)}")
    console.result(facts, **({} if arguments.file is None else {"path": arguments.file}))
    return 0


def describe(path: Path) -> dict[str, Any]:
    """The facts that a person looks for first.

    Raises:
        InputError: missing, or none of the kinds that FedSeg knows.
    """
    if path.is_dir() or path.name == "dataset.json":
        return _dataset(path if path.is_dir() else path.parent)
    if not path.exists():
        raise DataError(f"There is no file {path}.", "Check the path.")
    if image_suffix(path):
        return _image(path)
    if path.suffix == ".fedseg":
        return _invitation(path)
    if path.suffix == ".jsonl":
        return _ledger(path)
    return _study(path) if path.suffix == ".toml" else _tensors(path)


def _tensors(path: Path) -> dict[str, Any]:
    header = read_header(path)
    try:
        shapes = tensor_shapes(path)
    except (KeyError, TypeError):
        raise ModelFileError(f"{path} has a damaged list of tensors.", "Fetch the file again.") from None
    numbers = 0
    for shape in shapes.values():
        size = 1
        for side in shape:
            size *= side
        numbers += size
    kind = header.pop("kind", None) or ("checkpoint" if "digest" in header else "message")
    return {"kind": kind, **header, "tensors": len(shapes), "numbers": numbers, "bytes": path.stat().st_size}


def _ledger(path: Path) -> dict[str, Any]:
    """How many messages left, and that no line was touched since."""
    from FedSegCore.federation.ledger import verify_ledger

    lines = verify_ledger(path)
    return {"kind": "ledger", "lines": lines, "chain": f"{lines} lines, whole", "bytes": path.stat().st_size}


def _invitation(path: Path) -> dict[str, Any]:
    """What a hospital is asked for, as it will be asked to agree to it."""
    from FedSegCore.federation.invitation import read_invitation
    from FedSegCore.hospital.consent import what_to_know
    from FedSegCore.hospital.guest import study_of
    from FedSegCore.hospital.leaving import what_leaves, what_never_leaves

    invitation = read_invitation(path, now=0)
    study = study_of(invitation, Path(), publish_personal=False)
    publishing = study_of(invitation, Path(), publish_personal=True)
    site = next(site for site in study.sites if site.name == invitation.site)
    return {
        "kind": "invitation",
        "site": invitation.site,
        "study": study.name,
        "coordinator": invitation.address,
        "address": invitation.address,
        "expires": invitation.expires,
        "methods": list(study.methods),
        "rounds": study.rounds,
        "labels": list(site.labels or study.labels or ()),
        "modalities": list(site.modalities or ()),
        "publish_personal_asked": any(
            table.get("publish_personal") for table in invitation.study["site"] if table["name"] == site.name
        ),
        "leaves": what_leaves(study, site.name),
        "leaves_if_published": what_leaves(publishing, site.name),
        "never_leaves": what_never_leaves(),
        "to_know": what_to_know(),
    }


def _study(path: Path) -> dict[str, Any]:
    """The study's own words; `fedseg simulate --dry-run` checks them, which takes torch."""
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise StudyError(f"{path} is not valid TOML: {error}.", "Correct the file there.") from None
    sites = raw.pop("site", [])
    if not isinstance(sites, list) or not all(isinstance(site, dict) for site in sites):
        raise StudyError(f"{path} holds a `site` that is no table.", "Write each site as [[site]].")
    told = [f"{site.get('name')} ({site.get('role', 'member')})" for site in sites]
    return {"kind": "study", **raw, "sites": told}


def _dataset(folder: Path) -> dict[str, Any]:
    from FedSegCore.data.case import read_dataset

    dataset = read_dataset(folder)
    return {
        "kind": "dataset",
        "name": dataset.name,
        "channels": list(dataset.channel_names),
        "labels": {name: list(values) for name, values in dataset.labels.values.items()},
        "training": len(dataset.training),
        "validation": len(dataset.validation),
        "test": len(dataset.test),
        "licence": dataset.licence,
    }


def _image(path: Path) -> dict[str, Any]:
    """Of a segmentation that FedSeg wrote also which values make up each structure."""
    from FedSegCore.data.io import read_header as read_image_header
    from FedSegCore.data.legend import read_legend
    from FedSegCore.data.volume import orientation_of, spacing_of

    header, legend = read_image_header(path), read_legend(path)
    facts: dict[str, Any] = {
        "kind": "image" if legend is None else "segmentation",
        "shape": list(header.shape),
        "spacing_mm": [round(side, 4) for side in spacing_of(header.affine)],
        "orientation": orientation_of(header.affine),
        "voxels": str(header.dtype),
    }
    if legend is not None:
        facts["structures"] = {name: list(values) for name, values in legend.structures.items()}
        facts["slices"] = f"stacked along {legend.slices_along}" if legend.slices_along else "none, 3-D"
    return facts


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
