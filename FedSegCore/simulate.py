"""A whole study on one machine: every method with every seed, then the scores, cards and report."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from FedSegCore.cards import write_cards
from FedSegCore.data.batches import Batches, CachedCase
from FedSegCore.errors import UsageError
from FedSegCore.federation import wire
from FedSegCore.federation.client import Client
from FedSegCore.federation.inprocess import InProcess
from FedSegCore.federation.ledger import Ledger, read_lines
from FedSegCore.federation.method import ClientInfo, Published, Site
from FedSegCore.federation.rounds import Emit, conclude, federate
from FedSegCore.federation.seeds import generator
from FedSegCore.federation.store import ClientStore, ServerStore
from FedSegCore.federation.transport import Transport
from FedSegCore.inference.modelfile import Member, Model, ModelHeader, load_model, save_model
from FedSegCore.learning.train import Training
from FedSegCore.methods.registry import Named, named
from FedSegCore.nets.unet import build
from FedSegCore.report.scores import Score, read_scores, write_scores
from FedSegCore.scoring import Row, TestCase, read_test_cases, score_model
from FedSegCore.setting import Setting, SiteData, read_setting
from FedSegCore.study import NetworkTable, Study
from FedSegCore.tensors import tensorfile
from FedSegCore.tensors import weights as algebra
from FedSegCore.tensors.tensorfile import write_atomic
from FedSegCore.tensors.weights import Weights


@dataclass(frozen=True)
class Joining:
    """What a site sends when it joins: who it is and the pooled numbers that the plan is made from."""

    name: str
    modalities: Sequence[str]
    labels: Sequence[str]
    num_cases: int
    passport: Mapping[str, Any]


@dataclass(frozen=True, eq=False)
class Cache:
    """What all runs of a study share: prepared cases in memory."""

    training: Mapping[str, tuple[CachedCase, ...]]
    validation: Mapping[str, tuple[CachedCase, ...]]
    test: Mapping[str, tuple[TestCase, ...]]


@dataclass(frozen=True, eq=False)
class Run:
    """One method with one seed.

    Args:
        start: the first weights; none: drawn from the seed.
    """

    setting: Setting
    cache: Cache
    entry: Named
    seed: int
    folder: Path
    device: torch.device
    start: Weights = field(default_factory=dict)

    @property
    def study(self) -> Study:
        """The study that the run is part of."""
        return self.setting.study


def simulate(
    study: Study, out: Path, *, device: torch.device, resume: bool, emit: Emit, init: Path | None = None
) -> dict[str, Any]:
    """Run a study and write its models, scores, logs and report into `out`; returns a summary.

    Args:
        init: a model to start from; its structures, inputs, plan and network hold.

    Raises:
        UsageError: `out` is not empty and `resume` is not given, or holds another study.
        FedSegError: whatever stops the study; what was computed is on disk and `resume` continues it.
    """
    header, start = read_start(init) if init else (None, {})
    if header is not None:
        network = NetworkTable(channels=header.network.channels, norm=header.network.norm)
        study = replace(study, network=network)
    prepare_folder(out, study, resume=resume)
    torch.set_num_threads(study.train.threads or _cores())
    emit("progress", stage="data", value=0.0, message="Reading and preparing the cases", eta_s=None)
    setting = read_setting(study, like=header)
    cache = read_cache(setting)
    started = time.monotonic()
    runs = [
        Run(
            setting,
            cache,
            named(method, study.method_options),
            seed,
            run_folder(out, study, method, seed),
            device,
            start,
        )
        for method in study.methods
        for seed in study.seeds
    ]
    for run in runs:
        if not (run.folder / "models" / "index.json").is_file():
            execute(run, emit)
    scores = [score for run in runs for score in read_scores(run.folder / "scores.csv")]
    write_scores(out / "scores.csv", scores)
    from FedSegCore.reporting import report

    page = report(setting, runs, out, scores=scores, seconds=time.monotonic() - started)
    return {
        "models": sorted(str(path) for run in runs for path in (run.folder / "models").glob("*.safetensors")),
        "scores": str(out / "scores.csv"),
        "report": str(page),
        "dice": mean_dice(scores),
    }


def read_start(path: Path) -> tuple[ModelHeader, Weights]:
    """The model that training starts from.

    Raises:
        ModelFileError: not a model file.
        UsageError: a merged model, which is several networks.
    """
    raw, weights = tensorfile.load(path)
    header = ModelHeader.from_dict(raw, str(path))
    if header.members:
        raise UsageError(
            f"{path} is put together from {len(header.members)} sites' models and cannot be trained further.",
            "Start from a model of one network, such as a personal or local one.",
        )
    return header, weights


def prepare_folder(out: Path, study: Study, *, resume: bool) -> None:
    """Make the folder, or see that it may be continued in."""
    mark = out / "study.json"
    if out.exists() and not out.is_dir():
        raise UsageError(f"{out} is a file.", "Give a folder with --out.")
    if out.is_dir() and any(path.name not in ("hospitals", mark.name) for path in out.iterdir()):
        if not resume:
            raise UsageError(
                f"{out} exists and is not empty.",
                "Add --resume to continue the study in it, or choose another --out.",
            )
        if not mark.is_file() or json.loads(mark.read_text(encoding="utf-8"))["digest"] != study.digest():
            raise UsageError(
                f"{out} holds another study, or this one with other settings.",
                "Restore the study file, or choose another --out.",
            )
        return
    write_atomic(mark, json.dumps({"name": study.name, "digest": study.digest()}).encode())


def run_folder(out: Path, study: Study, method: str, seed: int) -> Path:
    """Where one run's files stand: `out` itself for a single one."""
    if len(study.methods) * len(study.seeds) == 1:
        return out
    return out / "runs" / f"{method}-seed{seed}"


def read_cache(setting: Setting) -> Cache:
    """Read and prepare every case once."""
    trained = [data for data in setting.sites if data.site.role != "outside"]
    return Cache(
        training={data.site.name: setting.cache(data, data.training) for data in trained},
        validation={data.site.name: setting.cache(data, _labelled(data)) for data in trained},
        test={data.site.name: read_test_cases(setting, data) for data in setting.sites},
    )


def _labelled(data: SiteData) -> list[Any]:
    return [case for case in data.validation if case.label is not None]


def execute(run: Run, emit: Emit) -> None:
    """Rounds, final exchange, models, scores, cards; continues where an interrupted run stopped."""
    emit("progress", stage="train", value=0.0, message=f"{run.entry.name}, seed {run.seed}", eta_s=None)
    study, method = run.study, run.entry.method
    server, transport = server_site(run), make_transport(run)
    members = len(transport.clients())
    store = ServerStore(run.folder, _facts(run))
    min_sites = min(study.min_sites or members, members)
    state = federate(method, server, transport, study.rounds, store=store, min_sites=min_sites, emit=emit)
    published = conclude(method, state, server, transport, study.rounds, emit=emit)
    paths = write_models(run, published)
    scores = list(score_run(run, paths))
    write_scores(run.folder / "scores.csv", scores)
    write_cards(
        run.folder, [path for path in paths if path.parent.name == "models"], scores, read_lines(store.log)
    )
    for path in paths:
        if path.parent.name == "models":
            emit("model", path=str(path), name=path.stem, card={})


def _facts(run: Run) -> dict[str, Any]:
    """What a checkpoint says of its run, and what its bits depend on."""
    return {
        "study": run.study.name,
        "digest": run.study.digest(),
        "method": run.entry.name,
        "seed": run.seed,
        "environment": {
            "device": run.device.type,
            "instruction_set": torch.backends.cpu.get_cpu_capability(),
            "torch": torch.__version__,
            "threads": torch.get_num_threads(),
            "precision": run.study.train.precision,
        },
    }


def server_site(run: Run) -> Site:
    """The server's end: the study's first weights and no data."""
    modalities = tuple(name for choices in run.setting.inputs for name in choices)
    info = ClientInfo("server", modalities, run.setting.labels, 0)
    return _site(run, info, training=training_of(run))


def training_of(run: Run) -> Training:
    """The study's training with the method's own augmentation where the study gives none."""
    train = run.study.train
    return replace(train, augment=train.augment or run.entry.augment)  # type: ignore[arg-type]


def make_transport(run: Run) -> Transport:
    """The members in this process; for `central` one client that holds all their cases."""
    if run.entry.pooled:
        return InProcess(
            {"central": _client(run, _pooled(run), run.folder / "sites" / "central" / "ledger.jsonl")}
        )
    ledger = run.folder / "ledger.jsonl"
    members = run.setting.with_role("member")
    clients = {data.site.name: _client(run, _member(run, data), ledger) for data in members}
    if not ledger.exists() or not ledger.stat().st_size:
        for data in members:
            _join(run, data, Ledger(ledger))
    return InProcess(clients)


def _join(run: Run, data: SiteData, ledger: Ledger) -> None:
    info, passport = data.info, run.setting.passports[data.site.name]
    joining = Joining(info.name, info.modalities, info.labels, info.num_cases, passport.to_dict())
    ledger.record(wire.encode(joining), site=info.name, round_number=0, kind="join")


def _member(run: Run, data: SiteData) -> Site:
    name = data.site.name
    return _site(run, data.info, training=training_of(run), cases=run.cache.training[name],
                 validation=run.cache.validation[name], publish=data.site.publish_personal)  # fmt: skip


def _pooled(run: Run) -> Site:
    """All members' cases at one place; unannotated structures are masked, or background if the study says so."""
    cache, members = run.cache, run.setting.with_role("member")
    cases = [case for data in members for case in cache.training[data.site.name]]
    if not run.entry.masked:
        cases = [replace(case, annotated=torch.ones_like(case.annotated)) for case in cases]
    validation = tuple(case for data in members for case in cache.validation[data.site.name])
    modalities = tuple(name for choices in run.setting.inputs for name in choices)
    info = ClientInfo("central", modalities, run.setting.labels, len(cases))
    return _site(run, info, training=training_of(run), cases=cases, validation=validation)


def _site(
    run: Run,
    info: ClientInfo,
    *,
    training: Training,
    cases: Sequence[CachedCase] = (),
    validation: tuple[CachedCase, ...] = (),
    publish: bool = False,
) -> Site:
    plan = run.setting.plan
    model = build(
        run.setting.network(run.entry.norm),
        dims=plan.dims,
        in_channels=len(run.setting.inputs),
        out_channels=len(run.setting.labels),
        generator=generator(run.seed, "weights"),
    )
    algebra.load(model, run.start)
    batches = None
    if cases:
        batches = Batches(cases, patch=plan.patch, batch_size=training.batch_size, dims=plan.dims)
    return Site(info, run.setting.labels, plan.patch, model.to(run.device), training,
                generator(run.seed, "site", info.name), batches, validation, publish)  # fmt: skip


def _client(run: Run, site: Site, ledger: Path) -> Client:
    name = site.info.name
    own = site.info.labels
    header = model_header(
        run, f"{run.entry.own}-{name}", known=own, owned=site.info.modalities, sites=(site.info,)
    )
    store = ClientStore(run.folder / "sites" / name)
    return Client(
        run.entry.method, site, seed=run.seed, store=store, ledger=Ledger(ledger), header=header.to_dict()
    )


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


def score_run(run: Run, paths: Sequence[Path]) -> Iterator[Score]:
    """Every final model on every test set that it answers for."""
    for path in paths:
        model = load_model(path, run.device)
        owner = _owner(path, model)
        if owner and path.stem.startswith("personal-"):
            continue  # the same model as the one in the site's own folder, which is scored
        for data in _answers_for(run, owner):
            row = Row(run.study.name, run.entry.name, run.seed, run.study.rounds, _kind(run, owner), owner)
            for scores, _, _ in score_model(
                model, run.setting, data, run.cache.test[data.site.name], row=row
            ):
                yield from scores


def _owner(path: Path, model: Model) -> str:
    alone = path.stem in ("personal",) or path.stem.startswith(("personal-", "local-"))
    return model.header.sites[0][0] if alone else ""


def _kind(run: Run, owner: str) -> str:
    if owner:
        return run.entry.own
    return "central" if run.entry.pooled else "global"


def _answers_for(run: Run, owner: str) -> list[SiteData]:
    """A model of all sites answers for every member and outside site; a site's own for it and the outside."""
    chosen = [data for data in run.setting.sites if data.site.role == "outside" or not owner]
    chosen += [data for data in run.setting.with_role("member") if data.site.name == owner]
    return sorted(chosen, key=lambda data: data.site.name)


def mean_dice(scores: Sequence[Score]) -> dict[str, float]:
    """The mean Dice of each method and model over all defined scores: a first look, not a result."""
    groups: dict[str, list[float]] = {}
    for score in scores:
        if score.dice == score.dice:
            groups.setdefault(f"{score.method}/{score.model}", []).append(score.dice)
    return {name: round(sum(values) / len(values), 4) for name, values in sorted(groups.items())}


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
