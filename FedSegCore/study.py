"""study.toml <-> dataclasses: one federation, written down."""

from __future__ import annotations

import hashlib
import json
import math
import os
import sys
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from FedSegCore.errors import StudyError, nearest
from FedSegCore.idle import refuse_idle, refuse_unknown_baseline, refuse_unserved
from FedSegCore.inference.adapt import Adaptation
from FedSegCore.inference.outside import FITTED, WAYS
from FedSegCore.learning.train import Training
from FedSegCore.methods.registry import method_names, named
from FedSegCore.nets.unet import Network
from FedSegCore.tables import plain, table

OUTSIDE_MODELS = tuple(WAYS)
"""What outside sites can be scored with besides each owner's model."""
CHANGEABLE = ("min_sites", "round_timeout", "baseline", "stand_in")
"""What no model and no score depends on."""


@dataclass(frozen=True)
class IntensityTable:
    """One modality's intensity rule; see `data.plan.Intensity`."""

    rule: Literal["zscore", "window", "percentile"]
    lower: float
    upper: float


@dataclass(frozen=True)
class PlanTable:
    """The `[plan]` table: what is given here holds; with `auto` the sites' passports decide the rest."""

    auto: bool = True
    dims: Literal[2, 3] = 3
    orientation: str | None = None
    spacing_mm: tuple[float, ...] | None = None
    patch: tuple[int, ...] | None = None
    intensity: Mapping[str, IntensityTable] = field(default_factory=dict)


@dataclass(frozen=True)
class NetworkTable:
    """The `[network]` table; what is not given follows from the plan (channels) and the method (kind, norm)."""

    kind: Literal["unet", "multiencoder"] | None = None
    channels: tuple[int, ...] | None = None
    norm: Literal["instance", "batch"] | None = None


@dataclass(frozen=True)
class StudySite:
    """One `[[site]]`; see the study file's reference in the README."""

    name: str
    data: Path
    role: Literal["member", "server", "outside"] = "member"
    labels: tuple[str, ...] | None = None
    label_map: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    modalities: tuple[str, ...] | None = None
    limit: int | None = None
    cases: tuple[str, ...] | None = None
    test_cases: tuple[str, ...] | None = None
    publish_personal: bool = False


@dataclass(frozen=True)
class Study:
    """One federation.

    Args:
        methods: the methods to compare; each is run with each seed.
        min_sites: how many sites a round needs; none given: all members.
        outside_models: what outside sites are scored with besides each owner's model; none given: the method's own.
        labels: the study's structures; none given: the sites' names in the order they first appear.
        baseline: what the report compares with, a method or method/model; none given: the report chooses.
        stand_in: why the data stand in for others, in words for the report alone.
    """

    name: str
    methods: tuple[str, ...]
    sites: tuple[StudySite, ...]
    rounds: int = 20
    seeds: tuple[int, ...] = (0,)
    min_sites: int | None = None
    round_timeout: float = 3600.0
    outside_models: tuple[str, ...] | None = None
    labels: tuple[str, ...] | None = None
    baseline: str | None = None
    stand_in: str | None = None
    method_options: Mapping[str, Any] = field(default_factory=dict)
    network: NetworkTable = field(default_factory=NetworkTable)
    plan: PlanTable = field(default_factory=PlanTable)
    train: Training = field(default_factory=Training)
    routing: Adaptation = field(default_factory=Adaptation)

    @property
    def members(self) -> tuple[str, ...]:
        """The names of the sites that train."""
        return tuple(site.name for site in self.sites if site.role == "member")

    def needed(self, members: int) -> int:
        """How many of so many members a round needs."""
        return min(self.min_sites or members, members)

    def digest(self) -> str:
        """A hash of what the models and scores depend on; all else may change on resuming."""
        facts = {key: value for key, value in asdict(self).items() if key not in CHANGEABLE}
        for site in facts["sites"]:
            site["data"] = site["data"].resolve()  # the same folder, wherever the command is called from
        return hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()


def read_study(path: Path) -> Study:
    """Read a study file; site folders become relative to it.

    Raises:
        StudyError: unreadable, broken TOML, anything that `parse_study` refuses, a key without effect.
    """
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise StudyError(f"{path} cannot be read: {error.strerror}.", "Check the path.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise StudyError(f"{path} is not valid TOML: {error}.", "Correct the file there.") from None
    study = parse_study(raw, path.parent)
    refuse_idle(study.methods, study.method_options, norm=study.network.norm, training=study.train)
    _refuse_idle_routing(study)
    return study


def _refuse_idle_routing(study: Study) -> None:
    """A `[routing]` table is of use where scans are routed, or served by what routing is compared with."""
    entries = [named(name, study.method_options) for name in study.methods]
    ways = {way for entry in entries for way in study.outside_models or entry.outside}
    if study.routing != Adaptation() and not ways & FITTED:
        raise StudyError(
            "[routing] changes nothing: no outside site is routed, served by TENT or by a single model.",
            'Add outside_models = ["global", "routed"], or take the table out.',
        )


def parse_study(raw: Mapping[str, Any], folder: Path) -> Study:
    """Check a study's tables and make a Study of them.

    Raises:
        StudyError: an unknown key, method or value, no site, two sites of one name.
    """
    values = dict(raw)
    known = ({field.name for field in fields(Study)} - {"sites"}) | {"method", "seed", "site"}
    for key in values:
        if key not in known:
            raise StudyError(f'Unknown key "{key}" in the study.', nearest(key, sorted(known)))
    for one, many in (("method", "methods"), ("seed", "seeds")):
        if one in values and many in values:
            raise StudyError(f"The study gives both {one} and {many}.", "Keep one of the two.")
        if one in values:
            values[many] = [values.pop(one)]
    sites = values.pop("site", [])
    if not isinstance(sites, list) or not sites:
        raise StudyError("The study has no site.", 'Add [[site]] with name = "..." and data = "...".')
    values["sites"] = []
    if "methods" not in values:
        raise StudyError('The study lacks "method".', f"Add method = ... ({', '.join(method_names())}).")
    study = table(Study, values, "the study")
    members = tuple(_site(site, folder, place) for place, site in enumerate(sites, 1))
    study = Study(**{**_shallow(study), "sites": members})
    _check(study)
    return study


def study_tables(study: Study) -> dict[str, Any]:
    """The study as tables that `parse_study` reads back, with absolute folders; JSON-able."""
    tables: dict[str, Any] = plain(asdict(study))
    tables["site"] = tables.pop("sites")
    return tables


def _site(raw: object, folder: Path, place: int) -> StudySite:
    name = raw.get("name", place) if isinstance(raw, Mapping) else place
    site = table(StudySite, raw, f"[[site]] {name}")
    path = os.path.expandvars(site.data)
    if "$" in path:
        raise StudyError(
            f"The data folder of site {site.name}, {site.data}, names an environment variable that is not set.",
            f"Set it, for example: export {path[path.index('$') + 1 :].split('/')[0]}=/path/to/images",
        )
    return StudySite(**{**_shallow(site), "data": folder / path})


def _check(study: Study) -> None:
    _check_sites(study)
    _check_ranges(study)
    for name in study.methods:
        named(name, study.method_options)
    if study.baseline is not None:
        refuse_unknown_baseline(study.baseline, study.methods, study.method_options)
    # Folders are named after methods, and some disks fold case.
    if len({name.casefold() for name in study.methods}) < len(study.methods) or len(set(study.seeds)) < len(
        study.seeds
    ):
        raise StudyError("A method or seed is named twice.", "Name each once.")
    if not study.methods or not study.seeds:
        raise StudyError("The study has an empty list of methods or seeds.", "Name at least one.")
    if study.labels is not None and (not study.labels or len(set(study.labels)) < len(study.labels)):
        raise StudyError("The study's labels are none, or one is named twice.", "Name each structure once.")
    if study.network.channels is not None:
        Network(channels=study.network.channels)
    for model in study.outside_models or ():
        if model not in OUTSIDE_MODELS:
            raise StudyError(
                f'Outside sites cannot be scored with "{model}".',
                nearest(model, OUTSIDE_MODELS),
            )
    refuse_unserved(
        [named(name, study.method_options) for name in study.methods],
        kind=study.network.kind,
        servers=[site.name for site in study.sites if site.role == "server"],
    )


def _check_sites(study: Study) -> None:
    names = [site.name for site in study.sites]
    folded = [name.casefold() for name in names]  # folders are named after sites, and some disks fold case
    for name in names:
        if folded.count(name.casefold()) > 1:
            raise StudyError(f'Two sites are called "{name}".', "Give each site a name of its own.")
        if (
            not name
            or not all(letter.isalnum() or letter in "-_. " for letter in name)
            or name.startswith(".")
        ):
            raise StudyError(
                f'A site cannot be called "{name}".',
                "Use letters, digits, spaces, dots, hyphens and underscores.",
            )
    members = len(study.members)
    if not members:
        raise StudyError("The study has no member site.", 'Give at least one site role = "member".')
    if study.min_sites is not None and study.min_sites > members:
        raise StudyError(
            f"min_sites = {study.min_sites}, but the study has {members} members.", "Give no more than that."
        )


def _check_ranges(study: Study) -> None:
    train = study.train
    limits = {f"limit of site {site.name}": site.limit for site in study.sites if site.limit is not None}
    least_one = {
        "rounds": study.rounds,
        "min_sites": 1 if study.min_sites is None else study.min_sites,
        "epochs": train.epochs,
        "batch_size": 1 if train.batch_size is None else train.batch_size,
        "validate_every": train.validate_every,
        **limits,
    }
    positive = {
        "round_timeout": study.round_timeout,
        "learning_rate": train.learning_rate,
        "clip_norm": train.clip_norm,
    }
    shares = {"warm_up": train.warm_up}
    held = {"threads": train.threads, "weight_decay": train.weight_decay}
    for values, least, most, wanted in (
        (least_one, 1, math.inf, "1 or more"),
        (positive, sys.float_info.min, math.inf, "more than 0"),
        (shares, 0, 1, "0 to 1"),
        (held, 0, math.inf, "0 or more"),
    ):
        for name, value in values.items():
            if not least <= value <= most:
                raise StudyError(f"{name} is {value}, expected {wanted}.", "Correct the value.")


def _shallow(value: Any) -> dict[str, Any]:
    return {name: getattr(value, name) for name in value.__dataclass_fields__}
