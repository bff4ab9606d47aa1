"""Fitting to one unlabelled scan, and the ways that it has to beat."""

from __future__ import annotations

import hashlib
import inspect
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from FedSegCore.errors import DataError, StudyError, UsageError
from FedSegCore.inference.adapt import Adaptation, _foreground_of, adapt, spread, unsupervised_loss
from FedSegCore.inference.bank import Bank, read_bank
from FedSegCore.inference.modelfile import ModelHeader
from FedSegCore.inference.outside import NEED_SEVERAL, WAYS, Answer, serve
from FedSegCore.inference.routed import mixture
from FedSegCore.learning.predict import predict
from FedSegCore.learning.unsupervised import entropy
from FedSegCore.nets.routing import Routed, norm_parameters
from FedSegCore.nets.unet import Network
from Testing.inference.conftest import MakeBank
from Testing.phantoms import seeded

pytestmark = pytest.mark.usefixtures("one_thread")

CPU = torch.device("cpu")
QUICK = Adaptation(steps=2, router_rate=0.05)


@pytest.fixture(params=["volume", "slices"])
def chosen(request: pytest.FixtureRequest, header: ModelHeader, two_d: ModelHeader) -> ModelHeader:
    return header if request.param == "volume" else two_d


@pytest.fixture
def bank(chosen: ModelHeader, bank_of: MakeBank) -> Bank:
    return read_bank(
        bank_of(replace(chosen, network=Network(channels=(4, 8), norm="batch")), "north", "south")
    )


def scan(shape: tuple[int, int, int] = (8, 8, 8), *, seed: int = 3) -> Tensor:
    return torch.randn(1, *shape, generator=seeded(seed))


def answered(way: str, bank: Bank, image: Tensor, *, settings: Adaptation = QUICK, seed: int = 0) -> Tensor:
    net = serve(way, bank, settings, device=CPU)(image, seeded(seed)).net
    return predict(net, image, patch=bank.header.plan.patch)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("shape", [(8, 8, 8), (5, 6, 3), (13, 9, 10)])
def test_every_way_answers_for_one_scan_smaller_or_larger_than_a_patch(
    way: str, shape: tuple[int, int, int], bank: Bank
) -> None:
    probabilities = answered(way, bank, scan(shape))
    assert probabilities.shape == (2, *shape)
    assert bool(torch.isfinite(probabilities).all()) and 0 <= probabilities.min() <= probabilities.max() <= 1


@pytest.mark.parametrize("way", WAYS)
def test_the_same_seed_gives_the_same_answer_and_the_order_of_scans_does_not_matter(
    way: str, bank: Bank
) -> None:
    asked = serve(way, bank, QUICK, device=CPU)
    first = predict(asked(scan(), seeded()).net, scan(), patch=bank.header.plan.patch)
    asked(scan(seed=8), seeded(5))
    again = predict(asked(scan(), seeded()).net, scan(), patch=bank.header.plan.patch)
    assert torch.equal(first, again)
    assert torch.equal(first, answered(way, bank, scan()))


@pytest.mark.parametrize("way", WAYS)
def test_the_bank_never_changes(way: str, bank: Bank) -> None:
    before = [hashlib.sha256(expert.path.read_bytes()).digest() for expert in bank.experts]
    answered(way, bank, scan())
    assert before == [hashlib.sha256(expert.path.read_bytes()).digest() for expert in bank.experts]


def test_global_is_the_global_model_and_uniform_the_mean_of_all(bank: Bank) -> None:
    patch, image = bank.header.plan.patch, scan()
    assert torch.equal(answered("global", bank, image), predict(bank.model(2).net, image, patch=patch))
    mean = bank.net()
    weights = list(bank.weights())
    mean.load_state_dict(
        {key: sum((w[key].double() for w in weights), torch.zeros(())) / 3 for key in weights[0]}  # type: ignore[arg-type]
    )
    found = answered("uniform", bank, image)
    torch.testing.assert_close(found, predict(mean, image, patch=patch), rtol=1e-4, atol=1e-4)


def test_an_ensemble_is_the_mean_of_the_models_probabilities(bank: Bank) -> None:
    patch, image = bank.header.plan.patch, scan()
    mean = torch.stack([predict(bank.model(place).net, image, patch=patch) for place in range(3)]).mean(0)
    torch.testing.assert_close(answered("ensemble", bank, image), mean, rtol=1e-4, atol=1e-4)


def test_single_is_the_expert_with_the_lowest_unsupervised_loss(bank: Bank) -> None:
    patch, image = bank.header.plan.patch, scan()
    losses = [
        unsupervised_loss(bank.model(place).net, image, patch=patch, settings=QUICK, generator=seeded())
        for place in range(3)
    ]
    best = bank.model(losses.index(min(losses))).net
    assert torch.equal(answered("single", bank, image), predict(best, image, patch=patch))


def test_batchnorm_is_the_global_model_with_the_scans_statistics(
    header: ModelHeader, bank_of: MakeBank
) -> None:
    batch = replace(header, network=Network(channels=(4, 8), norm="batch"))
    bank, image = read_bank(bank_of(batch, "north")), 5.0 + scan()
    net = bank.model(1).net.train()
    expected = torch.sigmoid(net(image[None]))[0]
    torch.testing.assert_close(answered("batchnorm", bank, image), expected)
    assert not torch.allclose(answered("batchnorm", bank, image), answered("global", bank, image))


def test_tent_moves_the_norm_layers_alone(bank: Bank) -> None:
    net = serve("tent", bank, QUICK, device=CPU)(scan(), seeded()).net
    norms = {id(parameter) for parameter in norm_parameters(net)}
    first = dict(bank.model(2).net.named_parameters())
    moved = {name: not torch.equal(p, first[name]) for name, p in net.named_parameters()}
    assert any(moved.values())
    assert all(id(p) in norms for name, p in net.named_parameters() if moved[name])


def routed(bank: Bank, settings: Adaptation = QUICK, image: Tensor | None = None) -> Answer:
    return serve("routed", bank, settings, device=CPU)(scan() if image is None else image, seeded())


@pytest.mark.parametrize("norms", [True, False])
def test_routing_moves_routers_and_norm_layers_alone(norms: bool, bank: Bank) -> None:
    answer = routed(bank, replace(QUICK, norms=norms))
    base = dict(bank.model(2).net.named_parameters())
    routers = {id(p) for layer in answer.layers.values() for p in layer.router.parameters()}
    others = {name: p for name, p in answer.net.named_parameters() if id(p) not in routers}
    assert set(others) == {name for name in base if name in others}
    changed = [name for name, p in others.items() if not torch.equal(p, base[name])]
    assert bool(changed) == norms
    for name, layer in answer.layers.items():
        for place, expert in enumerate(bank.weights()):
            assert torch.equal(layer.kernels[place], expert[f"{name}.weight"])


def test_the_bottlenecks_router_moves_too(bank: Bank) -> None:
    answer = routed(bank)
    start = torch.tensor(bank.shares).log()
    for name, layer in answer.layers.items():
        assert not torch.equal(layer.router.logits.detach(), start), name


@pytest.mark.parametrize("granularity", ["sample", "batch", "static"])
@pytest.mark.parametrize("gate", ["softmax", "sigmoid"])
def test_the_kept_parameters_are_those_of_the_lowest_loss(granularity: str, gate: str, bank: Bank) -> None:
    settings = replace(QUICK, granularity=granularity, gate=gate, steps=6, dropout=0.0, consistency=0.0)  # type: ignore[arg-type]
    image = scan() if len(bank.header.plan.patch) == 3 else scan((8, 8, 1))
    start = replace(settings, router_rate=0.0, learning_rate=0.0)
    patch = bank.header.plan.patch

    def loss(way: Adaptation) -> float:
        net = serve("routed", bank, way, device=CPU)(image, seeded()).net
        return unsupervised_loss(net, image, patch=patch, settings=settings, generator=seeded())

    assert loss(settings) < loss(start)


def test_adapting_lowers_the_entropy_of_the_scan(bank: Bank) -> None:
    settings = Adaptation(steps=8, router_rate=0.1, consistency=0.0, shape=0.0, dropout=0.0)
    image = scan()

    def bits(probabilities: Tensor) -> float:
        return float(entropy(torch.logit(probabilities, eps=1e-6)[None]))

    before = answered("routed", bank, image, settings=replace(settings, router_rate=0.0, learning_rate=0.0))
    assert bits(answered("routed", bank, image, settings=settings)) < bits(before)


def test_steps_are_judged_alike_so_that_standing_still_keeps_the_start(bank: Bank) -> None:
    still = Adaptation(steps=6, patience=6, router_rate=0.0, learning_rate=0.0)
    net = bank.model(2).net
    for seed in range(3):
        found = adapt(net, [(norm_parameters(net), 0.0)], scan((20, 20, 20)), patch=bank.header.plan.patch,
                      settings=still, generator=seeded(seed))  # fmt: skip
        assert found.kept == 0 and len(set(found.losses)) == 1


def test_windows_cover_a_scan_evenly(bank: Bank) -> None:
    image, patch = scan((20, 9, 8)), bank.header.plan.patch
    every = spread(image, patch, most=1000)
    assert len(every) == (3 * 2 if len(patch) == 3 else 3 * 2 * 8)
    seen = torch.cat([part.flatten() for part in every])
    assert torch.isin(image.flatten(), seen).all()
    assert len(spread(image, patch, most=4)) == 4


def test_windows_without_foreground_are_seldom_looked_at(header: ModelHeader, bank_of: MakeBank) -> None:
    bank = read_bank(bank_of(header, "a", "b"))
    image = torch.full((1, 24, 24, 24), -9.0)
    image[:, 9:15, 9:15, 9:15] = scan((6, 6, 6))
    windows = spread(image, bank.header.plan.patch, most=64)
    weights = _foreground_of(bank.model(2).net, windows)
    assert len(windows) == 27 and (weights > 0).all()


@pytest.mark.parametrize("way", ["batchnorm", "tent", "routed"])
def test_a_window_is_answered_whatever_others_share_its_batch(way: str, bank: Bank) -> None:
    image = scan((20, 20, 20))
    net = serve(way, bank, QUICK, device=CPU)(image, seeded()).net
    windows = spread(image, bank.header.plan.patch, most=8)
    with torch.no_grad():
        alone = torch.cat([net(window[None]) for window in windows])
        torch.testing.assert_close(net(windows), alone, rtol=1e-4, atol=1e-4)


def test_the_reported_mixture_is_the_one_that_is_used(bank: Bank) -> None:
    image = scan((20, 20, 20))
    answer = serve("routed", bank, QUICK, device=CPU)(image, seeded())
    before = mixture(bank, answer)
    for layer in answer.layers.values():
        layer.seen = []
    predict(answer.net, image, patch=bank.header.plan.patch)
    assert mixture(bank, answer) == before
    for layer in answer.layers.values():
        assert layer.seen and all(torch.equal(gates, layer.held) for gates in layer.seen)  # type: ignore[arg-type]


def test_it_stops_when_the_loss_falls_no_further(bank: Bank) -> None:
    settings = Adaptation(steps=50, patience=3, router_rate=0.0, learning_rate=0.0, consistency=0.0)
    net, image = bank.model(2).net, torch.zeros(1, 8, 8, 8)
    found = adapt(net, [(norm_parameters(net), 0.0)], image, patch=bank.header.plan.patch,
                  settings=settings, generator=seeded())  # fmt: skip
    assert len(found.losses) <= 5 and found.losses[found.kept] == min(found.losses)


def test_no_label_can_be_given() -> None:
    for function in (adapt, serve, unsupervised_loss):
        names = set(inspect.signature(function).parameters)
        assert not names & {"label", "labels", "target", "reference", "annotated"}


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_scan_with_nan_is_refused(value: float, bank: Bank) -> None:
    image = scan()
    image[0, 2, 2, 2] = value
    with pytest.raises(DataError, match="NaN"):
        routed(bank, image=image)


def test_ways_that_need_a_global_model_say_so(header: ModelHeader, bank_of: MakeBank) -> None:
    bank = read_bank(bank_of(header, "a", "b", whole=False))
    for way in WAYS:
        if way in NEED_SEVERAL:
            answered(way, bank, scan())
        else:
            with pytest.raises(UsageError, match="needs the global model"):
                answered(way, bank, scan())


@pytest.mark.parametrize(
    "wrong", [{"steps": 0}, {"learning_rate": -1.0}, {"dropout": 1.0}, {"entropy": float("nan")}]
)
def test_settings_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(StudyError):
        Adaptation(**wrong)  # type: ignore[arg-type]


def test_experts_are_held_once(bank: Bank) -> None:
    answer = routed(bank)
    held = sum(layer.kernels.numel() for layer in answer.layers.values())
    one = sum(p.numel() for p in bank.model(0).net.parameters() if p.ndim > 2)
    assert held == 3 * one
    assert not [
        m for m in answer.net.modules() if not isinstance(m, Routed) and getattr(m, "kernel_size", None)
    ]


def test_a_folder_is_left_as_it_was(bank: Bank) -> None:
    folder = Path(bank.experts[0].path).parent
    before = sorted(path.name for path in folder.iterdir())
    routed(bank)
    assert sorted(path.name for path in folder.iterdir()) == before
