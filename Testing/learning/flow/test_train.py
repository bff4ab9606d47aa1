"""Training of FlowGIN at a site: methods 1.8, items 11 and 12, and going on bit for bit."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor

from FedSegCore.data.batches import Batches, CachedCase
from FedSegCore.errors import DataError, ModelFileError, StudyError
from FedSegCore.federation import wire
from FedSegCore.learning.flow.couplings import Flow
from FedSegCore.learning.flow.effective import effective_images
from FedSegCore.learning.flow.pool import draw_pool
from FedSegCore.learning.flow.settings import FlowSettings, Mode
from FedSegCore.learning.flow.train import TrainedFlow, train_flow
from FedSegCore.tensors import tensorfile
from FedSegCore.tensors import weights as algebra
from Testing.phantoms import equal, seeded, small_net

pytestmark = pytest.mark.usefixtures("one_thread")

SMALL = FlowSettings(warm_up=3, steps=3, images=4, voxels=128, crop_voxels=512, training_nodes=(8, 6))
MODES: tuple[Mode, ...] = ("alternating", "spline")
BOTH = pytest.mark.parametrize("mode", MODES)


def case(name: str, *, seed: int = 0, channels: int = 1, absent: int | None = None) -> CachedCase:
    """A dark and a bright tissue with noise, 10 voxels a side."""
    target = torch.zeros(1, 10, 10, 10, dtype=torch.uint8)
    target[0, 2 : 5 + seed % 4, 3:8, 2:9] = 1
    noise = torch.randn(channels, 10, 10, 10, generator=seeded(seed))
    image = 100.0 * (2.0 * target - 1.0) + 15.0 * noise
    if absent is not None:
        image[absent] = 0.0
    return CachedCase(name, image, target, torch.tensor([True]))


def batches(cases: int = 4, *, dims: int = 3, **options: Any) -> Batches:
    made = [case(str(seed), seed=seed, **options) for seed in range(cases)]
    return Batches(made, patch=(10,) * dims, batch_size=2, dims=dims)


def trained(rounds: int = 1, *, dims: int = 3, settings: FlowSettings = SMALL, **options: Any) -> TrainedFlow:
    done = train_flow(batches(dims=dims, **options), settings=settings, generator=seeded(1))
    for number in range(2, rounds + 1):
        done = train_flow(
            batches(dims=dims, **options), settings=settings, generator=seeded(number), saved=done.weights
        )
    return done


@BOTH
def test_two_hundred_steps_fit_a_bimodal_histogram_better_than_the_first_flow(mode: Mode) -> None:
    settings = FlowSettings(mode=mode, steps=0, images=4, voxels=256)
    site = batches()
    pool = draw_pool(site, settings, generator=seeded(9))

    def nll(model: Any) -> float:
        with torch.no_grad():
            return float(model.flow.nll(model.standardize(pool.pairs, pool.modality), pool.modality))

    before = train_flow(site, settings=dataclasses.replace(settings, warm_up=0), generator=seeded())
    after = train_flow(site, settings=settings, generator=seeded())
    assert nll(after.model) < nll(before.model) - 0.1


@BOTH
@pytest.mark.parametrize("dims", [2, 3])
def test_every_term_of_a_round_is_finite_and_both_players_move(mode: Mode, dims: int) -> None:
    settings = dataclasses.replace(SMALL, mode=mode)
    first, second = trained(1, dims=dims, settings=settings), trained(2, dims=dims, settings=settings)
    assert set(second.losses) == {"nll", "adversary", "gradients", "difference", "discriminator"}
    assert all(abs(value) < 1e3 for value in second.losses.values())
    for name in ("model/flow.couplings.0.last.weight", "model/style.mean", "discriminator/layers.0.bias"):
        assert not torch.equal(first.weights[name], second.weights[name])


def test_only_the_first_round_warms_up() -> None:
    first = trained(1)
    second = trained(2)
    steps = [int(done.weights["model_moments/step/style.mean"]) for done in (first, second)]
    warmed = int(first.weights["model_moments/step/flow.couplings.0.last.bias"])
    assert (steps, warmed) == ([3, 6], 6)


def test_a_round_from_a_file_goes_on_bit_for_bit() -> None:
    straight = trained(2)
    _, kept = tensorfile.unpack(tensorfile.pack(trained(1).weights, {}))
    resumed = train_flow(batches(), settings=SMALL, generator=seeded(2), saved=kept)
    assert equal(resumed.weights, straight.weights)
    assert resumed.losses == straight.losses


def test_equal_generators_train_equal_flows_and_disturb_no_other_randomness() -> None:
    before = torch.random.get_rng_state()
    assert equal(trained(2).weights, trained(2).weights)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_what_is_kept_are_cpu_tensors_with_storage_of_their_own() -> None:
    done = trained()
    live = {tensor.data_ptr() for tensor in done.model.state_dict().values()}
    assert all(tensor.device.type == "cpu" for tensor in done.weights.values())
    assert not live & {tensor.data_ptr() for tensor in done.weights.values()}


def test_a_foreign_mapping_is_refused() -> None:
    with pytest.raises(ModelFileError, match="a site's flow"):
        train_flow(batches(), settings=SMALL, generator=seeded(), saved={"encoder.weight": torch.zeros(1)})


def test_intensities_are_standardized_by_the_sites_own_modality() -> None:
    model = trained(channels=2).model
    pool = draw_pool(batches(channels=2), SMALL, generator=seeded(3))
    u = model.standardize(pool.pairs, pool.modality)[..., 0]
    for place in range(2):
        assert float(u[pool.modality == place].mean()) == pytest.approx(0.0, abs=0.2)
        assert float(u[pool.modality == place].std()) == pytest.approx(1.0, abs=0.2)


def test_an_absent_channel_teaches_nothing() -> None:
    done = trained(channels=2, absent=1)
    pool = draw_pool(batches(channels=2, absent=1), SMALL, generator=seeded())
    assert pool.modality.unique().tolist() == [0]
    assert (float(done.model.center[1]), float(done.model.scale[1])) == (0.0, 1.0)
    assert all(torch.isfinite(tensor).all() for tensor in done.weights.values())


def test_a_site_with_zeros_only_is_an_error_that_says_what_to_do() -> None:
    with pytest.raises(DataError, match="zeros only"):
        draw_pool(batches(absent=0), SMALL, generator=seeded())


def test_constant_images_train_to_finite_weights() -> None:
    flat = CachedCase("flat", torch.full((1, 10, 10, 10), 5.0), case("0").target, torch.tensor([True]))
    site = Batches([flat], patch=(10, 10, 10), batch_size=1, dims=3)
    done = train_flow(site, settings=SMALL, generator=seeded())
    assert all(torch.isfinite(tensor).all() for tensor in done.weights.values())


def test_an_unknown_mode_names_the_nearest() -> None:
    with pytest.raises(StudyError, match='"spline"'):
        FlowSettings(mode="splines")  # type: ignore[arg-type]


@dataclass(frozen=True, eq=False)
class Upload:
    """An update as a method that weights sites by their effective images sends it."""

    weights: Mapping[str, Tensor]
    effective: float


def test_of_flow_discriminator_style_and_descriptors_one_number_is_sent() -> None:
    done = trained()
    cases = [case(str(seed), seed=seed) for seed in range(3)]
    segmenter = small_net()
    effective = effective_images(done.model, cases, dims=3, generator=seeded())
    tensors, fields = wire.split(Upload(algebra.of(segmenter), effective))
    assert set(tensors) == {f"weights/{name}" for name in segmenter.state_dict()}
    assert fields == {"effective": effective}
    assert type(effective) is float
    private = [*done.weights.values(), *done.model.state_dict().values()]
    assert not {t.data_ptr() for t in tensors.values()} & {t.data_ptr() for t in private}


def test_the_flow_has_about_ten_thousand_parameters() -> None:
    count = sum(parameter.numel() for parameter in Flow(FlowSettings(), modalities=1).parameters())
    assert 8_000 < count < 12_000
