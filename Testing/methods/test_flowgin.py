"""FlowGIN in a federation: flows stay, one number a site goes up, and sites count by it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from FedSegCore.errors import UpdateError
from FedSegCore.federation import wire
from FedSegCore.federation.method import ClientInfo, Round
from FedSegCore.learning.flow.settings import FlowSettings
from FedSegCore.methods import ingredients
from FedSegCore.methods.averaging import EFFECTIVE, Averaging, AveragingServer, AveragingUpdate
from FedSegCore.tensors import tensorfile
from FedSegCore.tensors import weights as algebra
from Testing.phantoms import TRAINING, Federation, equal, kept, make_site, two_sites

pytestmark = pytest.mark.usefixtures("one_thread")

FLOW = replace(TRAINING, augment="flow", augment_probability=1.0)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A few steps of the flow a round."""
    real = FlowSettings
    monkeypatch.setattr(
        ingredients, "FlowSettings", lambda **keys: real(warm_up=2, steps=1, images=2, voxels=64, **keys)
    )


def flowgin(folder: Path, **keys: Any) -> Federation:
    return Federation(folder, Averaging(weighting="modality"), two_sites(training=FLOW), rounds=2, **keys)


def test_each_site_sends_one_number_besides_its_weights_and_nothing_of_its_flow(tmp_path: Path) -> None:
    run = flowgin(tmp_path)
    run.run()
    plain = Federation(tmp_path / "plain", Averaging(), two_sites(), rounds=2)
    plain.run()
    assert len(run.wire.up) == 4
    for site, number, data in run.wire.up:
        header, tensors = tensorfile.unpack(data)
        assert set(header["fields"]["scalars"]) == {EFFECTIVE}
        assert tensors.keys() == tensorfile.unpack(plain.wire.up[0][2])[1].keys()
        flow = kept(run, site, number).flow
        assert flow and not {t.numpy().tobytes() for t in flow.values() if t.numel() > 4} & {
            t.numpy().tobytes() for t in tensors.values()
        }


def test_a_message_without_the_weighting_holds_no_number(tmp_path: Path) -> None:
    run = Federation(tmp_path, Averaging(), two_sites(training=FLOW), rounds=1)
    run.run()
    for _, _, data in run.wire.up:
        assert wire.decode(AveragingUpdate, data).scalars == {}


def test_the_flow_goes_on_from_round_to_round(tmp_path: Path) -> None:
    run = flowgin(tmp_path)
    run.run()
    first, second = kept(run, "a", 1).flow, kept(run, "a", 2).flow
    assert first.keys() == second.keys() and not equal(first, second)
    assert torch.equal(first["model/center"], second["model/center"]), "standardization is set once"


def test_a_study_that_was_stopped_goes_on_bit_for_bit(tmp_path: Path) -> None:
    whole = flowgin(tmp_path / "whole").run()
    half = flowgin(tmp_path / "half")
    calls = iter(range(3))

    def cut(site: str, round: Round, reply: Any) -> Any:
        if next(calls) == 2:
            raise KeyboardInterrupt
        return reply

    half.wire.alter = cut
    with pytest.raises(KeyboardInterrupt):
        half.run()
    resumed = flowgin(tmp_path / "half").run()
    assert equal(whole.weights, resumed.weights)


def test_sites_count_by_their_effective_number_of_images() -> None:
    method = Averaging(weighting="modality")
    server = make_site("server")
    zero = {name: torch.zeros_like(t) for name, t in algebra.of(server.model).items()}
    one = {name: torch.ones_like(t) if t.is_floating_point() else t for name, t in zero.items()}
    infos = [ClientInfo(name, ("CT",), server.info.labels, 40) for name in ("a", "b")]
    sent = [AveragingUpdate(zero, 0.0, {}, {EFFECTIVE: 1.0}), AveragingUpdate(one, 0.0, {}, {EFFECTIVE: 3.0})]
    state = method.aggregate(AveragingServer(zero), zip(infos, sent, strict=True), server, Round(1, 1))
    assert all(torch.allclose(t, torch.tensor(0.75)) for t in state.weights.values() if t.is_floating_point())


@pytest.mark.parametrize("scalars", [{}, {EFFECTIVE: 0.5}, {EFFECTIVE: 41.0}, {EFFECTIVE: 2.0, "age": 3.0}])
def test_other_numbers_than_asked_for_are_refused(scalars: dict[str, float]) -> None:
    method, server = Averaging(weighting="modality"), make_site("server")
    weights = algebra.of(server.model)
    info = ClientInfo("a", ("CT",), server.info.labels, 40)
    with pytest.raises(UpdateError, match="scalars"):
        method.check(AveragingServer(weights), AveragingUpdate(weights, 0.1, {}, scalars), info, Round(1, 1))
