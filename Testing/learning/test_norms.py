from __future__ import annotations

import pytest
import torch
from torch import nn

from FedSegCore.learning.norms import recalibrate_norms
from FedSegCore.tensors import weights as algebra
from Testing.phantoms import batches_of, cached_cases, equal, seeded, small_net

pytestmark = pytest.mark.usefixtures("one_thread")


class Normed(nn.Module):
    """One batch norm on the image itself, so that its statistics are the images'."""

    def __init__(self, momentum: float | None = 0.1) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(1, momentum=momentum)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.norm(image)
        return result


def test_the_running_mean_becomes_the_mean_over_the_epochs_batches() -> None:
    model, held = Normed(), batches_of(cached_cases(3))
    nn.init.constant_(model.norm.running_mean, 50.0)  # type: ignore[arg-type]
    recalibrate_norms(model, held, generator=seeded(1))
    images = [batch.image for batch in held.epoch(seeded(1))]
    mean = torch.stack([image.mean() for image in images]).mean()
    variance = torch.stack([image.var() for image in images]).mean()
    assert float(model.norm.running_mean) == pytest.approx(mean.item(), rel=1e-5)  # type: ignore[arg-type]
    assert float(model.norm.running_var) == pytest.approx(variance.item(), rel=1e-5)  # type: ignore[arg-type]
    assert int(model.norm.num_batches_tracked) == held.steps  # type: ignore[arg-type]


def test_statistics_before_do_not_matter_and_parameters_do_not_move() -> None:
    models = [small_net(norm="batch") for _ in range(2)]
    for name, buffer in models[1].named_buffers():
        buffer.fill_(7 if name.endswith("var") else 3)
    before = {name: parameter.clone() for name, parameter in models[0].named_parameters()}
    for model in models:
        recalibrate_norms(model, batches_of(cached_cases(2)), generator=seeded())
    assert equal(algebra.of(models[0]), algebra.of(models[1]))
    assert equal(dict(models[0].named_parameters()), before)


def test_momentum_is_put_back_and_the_model_is_left_in_evaluation_mode() -> None:
    for momentum in (0.1, 0.3, None):
        model = Normed(momentum)
        recalibrate_norms(model, batches_of(cached_cases(1)), generator=seeded())
        assert model.norm.momentum == momentum
        assert not model.training


def test_networks_without_statistics_are_left_as_they_are() -> None:
    model = small_net(norm="instance")
    before = algebra.of(model)
    recalibrate_norms(model, batches_of(cached_cases(1)), generator=seeded())
    assert equal(algebra.of(model), before)


def test_no_gradient_is_kept() -> None:
    model = small_net(norm="batch")
    recalibrate_norms(model, batches_of(cached_cases(1)), generator=seeded())
    assert all(parameter.grad is None for parameter in model.parameters())
