"""The model files of a finished run: what they say of themselves and where they stand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from FedSegCore.federation.method import ClientInfo, Published
from FedSegCore.inference.modelfile import Member, ModelHeader, save_model
from FedSegCore.run import Run
from FedSegCore.tensors.tensorfile import write_atomic


def model_header(
    run: Run, name: str, *, known: Sequence[str], owned: Sequence[str], sites: Sequence[ClientInfo],
    members: Sequence[ClientInfo] = (),
) -> ModelHeader:  # fmt: skip
    """What a model of this run says of itself."""
    setting = run.setting
    licences = {data.site.name: data.dataset.licence for data in setting.sites}
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
        network=setting.network(run.entry.norm),
        sites=tuple((info.name, info.num_cases) for info in sites),
        licences=tuple(dict.fromkeys(licences[i.name] for i in sites if licences.get(i.name))),
        members=tuple(Member(info.name, info.labels) for info in members),
    )


def write_models(run: Run, published: Mapping[str, Published]) -> list[Path]:
    """Model files: what was published, and each site's own where the method makes one."""
    infos = {data.site.name: data.info for data in run.setting.with_role("member")}
    everyone = list(infos.values())
    known = {label for info in everyone for label in info.labels}
    modalities = tuple(name for choices in run.setting.inputs for name in choices)
    paths = []
    for name, model in published.items():
        owner = infos.get(name.removeprefix("personal-")) if name.startswith("personal-") else None
        title = "central" if run.entry.pooled else name
        header = model_header(
            run,
            title,
            known=owner.labels if owner else tuple(known),
            owned=owner.modalities if owner else modalities,
            sites=(owner,) if owner else everyone,
            members=model.members,
        )
        paths.append(run.folder / "models" / f"{title}.safetensors")
        save_model(paths[-1], model.weights, header)
    for name in infos if not run.entry.pooled else ():
        own = run.folder / "sites" / name / "personal.safetensors"
        if own.is_file():
            paths.append(_own_model(run, own, name))
    return paths


def _own_model(run: Run, own: Path, site: str) -> Path:
    """A local model stands among the published ones, for nothing federated is in it; a personal one stays."""
    if run.entry.own != "local":
        return own
    target = run.folder / "models" / f"local-{site}.safetensors"
    write_atomic(target, own.read_bytes())
    return target
