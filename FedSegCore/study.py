"""study.toml <-> dataclasses: one federation, written down."""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from FedSegCore.errors import StudyError
from FedSegCore.learning.train import Training
from FedSegCore.methods.registry import method_names, named
from FedSegCore.tables import coerce, table

OUTSIDE_MODELS = ("global", "routed", "uniform", "ensemble", "tent", "batchnorm")


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
    """The `[network]` table; what is not given follows from the plan (channels) and the method (norm)."""

    kind: Literal["unet"] = "unet"
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
        outside_models: what outside sites are scored with; none given: the method's own choice.
        labels: the study's structures; none given: the sites' names in the order they first appear.
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
    method_options: Mapping[str, Any] = field(default_factory=dict)
    network: NetworkTable = field(default_factory=NetworkTable)
    plan: PlanTable = field(default_factory=PlanTable)
    train: Training = field(default_factory=Training)

    def digest(self) -> str:
        """A hash of what the results depend on; `min_sites` and `round_timeout` may change on resuming."""
        facts = {k: v for k, v in asdict(self).items() if k not in ("min_sites", "round_timeout")}
        return hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()


def read_study(path: Path) -> Study:
    """Read a study file; site folders become relative to it.

    Raises:
        StudyError: unreadable, broken TOML, or anything that `parse_study` refuses.
    """
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise StudyError(f"{path} cannot be read: {error.strerror}.", "Check the path.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise StudyError(f"{path} is not valid TOML: {error}.", "Correct the file there.") from None
    return parse_study(raw, path.parent)


def parse_study(raw: Mapping[str, Any], folder: Path) -> Study:
    """Check a study's tables and make a Study of them.

    Raises:
        StudyError: an unknown key, method or value, no site, two sites of one name.
    """
    values = dict(raw)
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


def _site(raw: object, folder: Path, place: int) -> StudySite:
    name = raw.get("name", place) if isinstance(raw, Mapping) else place
    site = table(StudySite, raw, f"[[site]] {name}")
    return StudySite(**{**_shallow(site), "data": folder / site.data})


def _check(study: Study) -> None:
    names = [site.name for site in study.sites]
    for name in names:
        if names.count(name) > 1:
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
    if not any(site.role == "member" for site in study.sites):
        raise StudyError("The study has no member site.", 'Give at least one site role = "member".')
    for name in study.methods:
        named(name, study.method_options)
    for what, value in (("rounds", study.rounds), ("epochs", study.train.epochs)):
        if value < 1:
            raise StudyError(f"{what} must be at least 1, got {value}.", f"Give {what} = 1 or more.")
    if len(set(study.methods)) < len(study.methods) or len(set(study.seeds)) < len(study.seeds):
        raise StudyError("A method or seed is named twice.", "Name each once.")
    if not study.methods or not study.seeds:
        raise StudyError("The study has an empty list of methods or seeds.", "Name at least one.")
    for site in study.sites:
        if site.limit is not None and site.limit < 1:
            raise StudyError(f"limit of site {site.name} must be at least 1.", "Give limit = 1 or more.")
    for model in study.outside_models or ():
        coerce(
            model, Literal["global", "routed", "uniform", "ensemble", "tent", "batchnorm"], '"outside_models"'
        )


def _shallow(value: Any) -> dict[str, Any]:
    return {name: getattr(value, name) for name in value.__dataclass_fields__}
