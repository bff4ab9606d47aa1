"""The model files of a finished run: what they say of themselves and where they stand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from FedSegCore.federation.method import ClientInfo, Published
from FedSegCore.files import write_atomic
from FedSegCore.inference.modelfile import Member, ModelHeader, save_model
from FedSegCore.simulation.run import Run


def model_header(
    run: Run, name: str, *, known: Sequence[str], owned: Sequence[str], sites: Sequence[ClientInfo],
    members: Sequence[ClientInfo] = (),
) -> ModelHeader:  # fmt: skip
    """What a model of this run says of itself."""
    setting = run.setting
    told = (setting.joined[info.name].licence for info in sites if info.name in setting.joined)
    return ModelHeader(
        study=run.study.name,
        method=run.entry.name,
        name=name,
        labels=tuple((label, setting.values[label]) for label in setting.labels),
        known=tuple(label for label in setting.labels if label in known),
        overlapping=setting.overlapping,
        inputs=setting.inputs,
        owned=tuple(owned),
        plan=setting.plan,
        network=run.network,
        sites=tuple((info.name, info.num_cases) for info in sites),
        licences=tuple(dict.fromkeys(filter(None, told))),
        members=tuple(Member(info.name, info.labels) for info in members),
    )


@dataclass(frozen=True)
class WrittenModel:
    """A model file of a finished run.

    Args:
        name: the model's name in the study, such as `personal-north`.
        kind: what the scores call it.
        owner: the site that a personal or local model belongs to; else empty.
        public: whether anyone may use it; what is not public never leaves the site's own folder.
    """

    path: Path
    name: str
    kind: Literal["global", "central", "personal", "local"]
    owner: str = ""
    public: bool = True


def write_models(run: Run, published: Mapping[str, Published]) -> list[WrittenModel]:
    """Model files: what was published, and each site's own where the method makes one."""
    # A local model is copied from its site's folder where that is here, whether or not the site offered it.
    written = [
        _published(run, name, model)
        for name, model in published.items()
        if model.owner is None or run.entry.own == "personal" or not _own(run, model.owner.name).is_file()
    ]
    for info in run.setting.infos("member") if not run.entry.pooled else ():
        if (own := _own(run, info.name)).is_file():
            written.append(_own_model(run, own, info.name))
    return written


def _published(run: Run, name: str, model: Published) -> WrittenModel:
    owner = model.owner
    if owner:
        name = f"{run.entry.own}-{owner.name}"
    elif run.entry.pooled:
        name = "central"
    everyone = run.trained_at
    # Only those whose private parts a merged model holds have taught it their structures.
    teachers = [owner] if owner else model.members or everyone
    header = model_header(
        run,
        name,
        known=tuple({label for info in teachers for label in info.labels}),
        owned=owner.modalities if owner else run.setting.modalities_of(everyone),
        sites=(owner,) if owner else everyone,
        members=model.members,
    )
    path = run.folder / "models" / f"{name}.safetensors"
    save_model(path, model.weights, header)
    if owner:
        return WrittenModel(path, name, "local" if run.entry.own == "local" else "personal", owner.name)
    return WrittenModel(path, name, "central" if run.entry.pooled else "global")


def _own(run: Run, site: str) -> Path:
    return run.folder / "sites" / site / "personal.safetensors"


def _own_model(run: Run, own: Path, site: str) -> WrittenModel:
    """A local model stands among the published ones, for nothing federated is in it; a personal one stays."""
    name = f"{run.entry.own}-{site}"
    if run.entry.own == "personal":
        return WrittenModel(own, name, "personal", site, public=False)
    target = run.folder / "models" / f"{name}.safetensors"
    write_atomic(target, own.read_bytes())
    return WrittenModel(target, name, "local", site)
