"""A study whose members are apart: the coordinator has no member's folder, a hospital only its own."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch

from FedSegCore.agreement import Agreement, agree
from FedSegCore.federation import wire
from FedSegCore.federation.inprocess import InProcess
from FedSegCore.federation.joining import Joining
from FedSegCore.federation.rounds import conclude, federate
from FedSegCore.federation.store import ServerStore
from FedSegCore.methods.registry import named
from FedSegCore.report.scores import Score, write_scores
from FedSegCore.setting import read_sites, setting_of
from FedSegCore.simulation.participants import member_client, server_site
from FedSegCore.simulation.publishing import WrittenModel, write_models
from FedSegCore.simulation.reporting import facts
from FedSegCore.simulation.run import Run, read_cache
from FedSegCore.simulation.testing import score_run
from FedSegCore.sitedata import declare
from FedSegCore.study import Study, read_study
from Testing.command import FEW_STEPS, SmallSite, fedseg, write_study

ONE_ROUND = FEW_STEPS.replace("rounds = 2", "rounds = 1")
FEDMEPD = "\n[method_options]\nanchors = 2\nwarm_up = 0\npatience = 1\n"
BOTH = "t1+flair"
GIVES = {"publish_personal": True}
PARTIAL = (
    SmallSite("a", labels=["Liver"], keys=GIVES),
    SmallSite("b", "mr", labels=["Kidney"], keys=GIVES),
    SmallSite("far", "mr_inverted", cases=1, keys={"role": "outside"}),
)
MODAL = (
    SmallSite("center", BOTH, keys={"role": "server"}),
    SmallSite("full", BOTH, keys=GIVES),
    SmallSite("mono", BOTH, keys={"modalities": ["FLAIR"], **GIVES}),
)
STUDIES = {
    "segviz": (PARTIAL, ONE_ROUND),
    "fedmepd": (MODAL, ONE_ROUND.replace("[network]", '[network]\nkind = "multiencoder"') + FEDMEPD),
}


def walled(study: Study, here: set[str]) -> Study:
    """The study where only some sites' folders can be reached."""
    sites = (site if site.name in here else replace(site, data=Path("elsewhere")) for site in study.sites)
    return replace(study, sites=tuple(sites))


def joinings(study: Study) -> dict[str, Joining]:
    """What each site sends, made from its own folder alone."""
    made = {}
    for site in study.sites:
        (folder,) = read_sites([site])
        joining = declare(folder, within=study.labels, passport=site.role != "outside")
        made[site.name] = wire.decode(Joining, wire.encode(joining))
    return made


def run_at(study: Study, here: set[str], joined: Mapping[str, Joining], folder: Path) -> Run:
    """One end's run, from the agreement as JSON brings it."""
    agreed = Agreement.from_dict(json.loads(json.dumps(agree(study, joined).to_dict())))
    setting = setting_of(
        walled(study, here), agreed, joined, read_sites(s for s in study.sites if s.name in here)
    )
    trained = [data for data in setting.sites if data.site.role != "outside"]
    entry = named(study.methods[0], study.method_options)
    return Run(setting, read_cache(setting, trained, setting.sites), entry, 0, folder, torch.device("cpu"))


@dataclass(frozen=True)
class Apart:
    """One study, on one machine in `whole` and over the walls."""

    whole: Path
    coordinator: Run
    members: Mapping[str, Run]
    models: list[WrittenModel]

    def rows(self, scores: list[Score], site: str, folder: Path) -> list[dict[str, str]]:
        """Scores of one site as a file has them."""
        write_scores(folder / "own.csv", [score for score in scores if score.site == site])
        return read(folder / "own.csv")


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module", params=STUDIES)
def apart(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Apart:
    folder = tmp_path_factory.mktemp(request.param)
    sites, rest = STUDIES[request.param]
    path = write_study(folder, sites, head=f'method = "{request.param}"', rest=rest)
    outcome = fedseg("simulate", path, "--out", folder / "whole")
    assert outcome.code == 0, outcome
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    study = read_study(path)
    joined = joinings(study)
    names = [site.name for site in study.sites if site.role == "member"]
    members = {name: run_at(study, {name}, joined, folder / name) for name in names}
    coordinator = run_at(study, {s.name for s in study.sites} - set(names), joined, folder / "coordinator")
    clients = {name: member_client(run, run.setting.with_role("member")[0]) for name, run in members.items()}
    method, server, transport = coordinator.entry.method, server_site(coordinator), InProcess(clients)
    told = {"min_sites": len(names), "emit": lambda event, **fields: None}
    store = ServerStore(coordinator.folder, {})
    state = federate(method, server, transport, study.rounds, store=store, **told)
    models = write_models(coordinator, conclude(method, state, server, transport, study.rounds, **told))
    torch.set_num_threads(before)
    return Apart(folder / "whole", coordinator, members, models)


def test_its_models_are_those_of_one_machine_bit_for_bit(apart: Apart) -> None:
    names = sorted(path.name for path in (apart.whole / "models").glob("*.safetensors"))
    assert sorted(model.path.name for model in apart.models) == names and "global.safetensors" in names
    for model in apart.models:
        assert model.path.read_bytes() == (apart.whole / "models" / model.path.name).read_bytes()


def test_a_members_own_model_is_too(apart: Apart) -> None:
    for name, run in apart.members.items():
        own = Path("sites") / name / "personal.safetensors"
        assert (run.folder / own).read_bytes() == (apart.whole / own).read_bytes()


@pytest.mark.usefixtures("one_thread")
def test_each_end_scores_the_cases_that_it_has(apart: Apart, tmp_path: Path) -> None:
    models = [model for model in apart.models if model.kind == "global"]
    everywhere = [row for row in read(apart.whole / "scores.csv") if row["model"] == "global"]
    for run in (apart.coordinator, *apart.members.values()):
        (site,) = (data.site.name for data in run.setting.sites)
        expected = [row for row in everywhere if row["site"] == site]
        assert apart.rows(list(score_run(run, models)), site, tmp_path) == expected and expected


def test_every_end_knows_all_sites_whether_or_not_it_has_their_folders(apart: Apart) -> None:
    ends = [run.setting for run in (apart.coordinator, *apart.members.values())]
    for role in ("member", "server", "outside"):
        assert len({setting.infos(role) for setting in ends}) == 1
    names = [info.name for info in ends[0].infos("member")]
    assert names == sorted(apart.members) and not ends[0].with_role("member")


def test_the_report_counts_the_cases_that_the_coordinator_knows_of(apart: Apart) -> None:
    told = {
        site["name"]: site
        for site in facts(apart.coordinator.setting, [apart.coordinator], seconds=1.0)["sites"]
    }
    for name, run in apart.members.items():
        assert told[name]["training"] == run.setting.info(name).num_cases and "test" not in told[name]
    here = [data.site.name for data in apart.coordinator.setting.sites]
    assert [name for name, site in told.items() if site.get("test") == 1] == here
