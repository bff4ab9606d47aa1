"""Who takes part in a run on this machine: each site's data, model and client end, made from the study."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from FedSegCore.data.batches import Batches
from FedSegCore.data.prepared import PreparedCase
from FedSegCore.federation import wire
from FedSegCore.federation.client import Client
from FedSegCore.federation.inprocess import InProcess
from FedSegCore.federation.ledger import Ledger, read_lines
from FedSegCore.federation.method import ClientInfo, Site
from FedSegCore.federation.seeds import generator
from FedSegCore.federation.store import ClientStore
from FedSegCore.federation.transport import Transport
from FedSegCore.federation.workers import Workers
from FedSegCore.files import write_atomic
from FedSegCore.learning.epochs import Epochs
from FedSegCore.learning.train import Training
from FedSegCore.nets.multiencoder import MultiEncoderNet, see
from FedSegCore.nets.unet import SegmentationNet, build
from FedSegCore.setting import SiteData
from FedSegCore.simulation.calibrating import survey_of
from FedSegCore.simulation.publishing import model_header
from FedSegCore.simulation.run import Run, training_of
from FedSegCore.study import study_tables
from FedSegCore.tensors import weights as algebra


def server_site(run: Run) -> Site:
    """The server's end: the study's first weights, and cases where the method trains at the server."""
    if run.entry.at_server and not run.entry.pooled:
        (data,) = run.setting.with_role("server")
        return replace(_member(run, data), epochs=Epochs(run.folder / "epochs"))
    modalities = tuple(name for choices in run.setting.inputs for name in choices)
    info = ClientInfo("server", modalities, run.setting.labels, 0)
    return _site(run, info, training=training_of(run))


def network_bytes(run: Run) -> int:
    """The bytes of all the weights of the run's network."""
    return sum(tensor.numel() * tensor.element_size() for tensor in _network(run).state_dict().values())


def make_transport(run: Run) -> Transport:
    """The members, in this process or in workers; for `central` one client that holds all their cases."""
    if run.entry.pooled:
        # Nothing leaves a pooled site, for nothing was apart; its ledger of messages stays with its state.
        write_atomic(run.folder / "ledger.jsonl", b"")
        pooled = _client(run, _pooled(run), run.folder / "sites" / "central" / "ledger.jsonl")
        return InProcess({"central": pooled})
    members = run.setting.infos("member")
    ledger = Ledger(run.folder / "ledger.jsonl")
    joined = {line["site"] for line in read_lines(ledger.path) if line["kind"] == "join"}
    for info in members:
        if info.name not in joined:
            joining = wire.encode(run.setting.joined[info.name])
            ledger.record(joining, site=info.name, round_number=0, kind="join")
    if run.workers > 1:
        return Workers(members, number=run.workers, job=_job(run), timeout=run.study.round_timeout)
    return InProcess({data.site.name: member_client(run, data) for data in run.setting.with_role("member")})


def member_client(run: Run, data: SiteData, *, ledger: Path | None = None, calibrates: bool = True) -> Client:
    """One member's end of the federation.

    Args:
        ledger: where everything that leaves is written down; none: the run's own.
        calibrates: whether it tells how its validation cases fare with the published models when asked.
    """
    return _client(run, _member(run, data), ledger or run.folder / "ledger.jsonl", calibrates=calibrates)


def _job(run: Run) -> dict[str, Any]:
    """What a worker process makes the same clients from."""
    return {
        "study": study_tables(run.setting.settled_study(run.entry.norm)),
        "method": run.entry.name,
        "seed": run.seed,
        "folder": str(run.folder.resolve()),
        "device": run.device.type,
        "threads": threads_of(run),
        "init": str(run.init.resolve()) if run.init else "",
        "files": str(run.cache.files.folder.resolve()) if run.cache.files else "",
    }


def threads_of(run: Run) -> int:
    """The threads that a site trains with: the study's, else this machine's cores, shared between workers."""
    workers = 1 if run.entry.pooled else run.workers
    return run.study.train.threads or max(cores() // workers, 1)


def cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _member(run: Run, data: SiteData) -> Site:
    name = data.site.name
    return _site(run, run.setting.info(name), training=training_of(run), cases=run.cache.training[name],
                 validation=run.cache.validation[name], publish=data.site.publish_personal)  # fmt: skip


def _pooled(run: Run) -> Site:
    """All members' cases at one place; unannotated structures are masked, or background if the study says so."""
    cache, members = run.cache, run.trained_at
    cases = [case for info in members for case in cache.training[info.name]]
    if not run.entry.masked:
        cases = [replace(case, annotated=torch.ones_like(case.annotated)) for case in cases]
    validation = tuple(case for info in members for case in cache.validation[info.name])
    info = ClientInfo("central", run.setting.modalities_of(members), run.setting.labels, len(cases))
    return _site(run, info, training=training_of(run), cases=cases, validation=validation)


def _site(
    run: Run,
    info: ClientInfo,
    *,
    training: Training,
    cases: Sequence[PreparedCase] = (),
    validation: tuple[PreparedCase, ...] = (),
    publish: bool = False,
) -> Site:
    plan, model = run.setting.plan, _network(run)
    see(model, info.modalities)
    algebra.load(model, run.start)
    batches = None
    if cases:
        batches = Batches(cases, patch=plan.patch, batch_size=training.batch(plan.dims), dims=plan.dims)
    return Site(info, run.setting.labels, plan.patch, model.to(run.device), training,
                generator(run.seed, "site", info.name), batches, validation, publish)  # fmt: skip


def _network(run: Run) -> SegmentationNet | MultiEncoderNet:
    """The run's network with its first weights."""
    return build(
        run.network,
        dims=run.setting.plan.dims,
        in_channels=len(run.setting.inputs),
        out_channels=len(run.setting.labels),
        generator=generator(run.seed, "weights"),
        modalities=run.setting.channel_modalities,
    )


def _client(run: Run, site: Site, ledger: Path, *, calibrates: bool = True) -> Client:
    name = site.info.name
    own = site.info.labels
    header = model_header(
        run, f"{run.entry.own}-{name}", known=own, owned=site.info.modalities, sites=(site.info,)
    )
    store = ClientStore(run.folder / "sites" / name)
    survey = survey_of(run.study.routing, header.to_dict(), run.device) if calibrates else None
    return Client(run.entry.method, site, seed=run.seed, store=store, ledger=Ledger(ledger),
                  header=header.to_dict(), survey=survey, rounds=run.study.rounds)  # fmt: skip
