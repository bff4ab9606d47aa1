from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from FedSegCore.data.batches import Batches
from FedSegCore.learning import train as module
from FedSegCore.learning.moments import moments, restore_moments
from FedSegCore.learning.train import Training, learning_rate_at, make_optimizer, step, train
from FedSegCore.tensors import tensorfile
from FedSegCore.tensors import weights as algebra
from Testing.phantoms import TRAINING, batches_of, cached_cases, equal, seeded, small_net

pytestmark = pytest.mark.usefixtures("one_thread")


def batches(number: int = 2, **options: Any) -> Batches:
    return batches_of(cached_cases(number, **options))


def trained(**options: Any) -> tuple[nn.Module, Any]:
    model = small_net(norm=options.pop("norm", "instance"))
    told = train(
        model, options.pop("batches", batches()), training=options.pop("training", TRAINING),
        generator=seeded(options.pop("seed", 3)), **options,
    )  # fmt: skip
    return model, told


def test_the_rate_rises_linearly_and_falls_with_half_a_cosine_to_a_hundredth() -> None:
    training = replace(TRAINING, learning_rate=1.0, warm_up=0.2)
    assert learning_rate_at(0.0, training) == pytest.approx(0.01)
    assert learning_rate_at(0.1, training) == pytest.approx(0.01 + 0.99 / 2)
    assert learning_rate_at(0.2, training) == pytest.approx(1.0)
    assert learning_rate_at(0.6, training) == pytest.approx(0.01 + 0.99 / 2)
    assert learning_rate_at(1.0, training) == pytest.approx(0.01)
    assert learning_rate_at(1.5, training) == pytest.approx(0.01)


def test_a_constant_rate_stays_at_its_peak_after_the_warm_up() -> None:
    training = replace(TRAINING, learning_rate=1.0, warm_up=0.2, schedule="constant")
    assert learning_rate_at(0.1, training) == pytest.approx(0.01 + 0.99 / 2)
    assert [learning_rate_at(progress, training) for progress in (0.2, 0.6, 1.0)] == [1.0] * 3


def test_a_step_sees_what_is_given_or_two_volumes_or_eight_slices() -> None:
    assert [Training().batch(dims) for dims in (2, 3)] == [8, 2]
    assert [Training(batch_size=4).batch(dims) for dims in (2, 3)] == [4, 4]


@pytest.mark.parametrize("warm_up", [0.0, 0.5, 1.0])
def test_the_rate_is_always_positive_and_never_above_its_peak(warm_up: float) -> None:
    training = replace(TRAINING, learning_rate=0.5, warm_up=warm_up)
    rates = [learning_rate_at(place / 50, training) for place in range(51)]
    assert all(0 < rate <= 0.5 for rate in rates)


def test_rounds_pass_through_one_schedule_as_a_whole_run_does(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[float] = []
    real = learning_rate_at

    def heard(progress: float, training: Training) -> float:
        seen.append(progress)
        return real(progress, training)

    monkeypatch.setattr(module, "learning_rate_at", heard)
    trained(training=replace(TRAINING, epochs=4))
    whole = sorted(set(seen))
    assert len(whole) == 4 * batches().steps
    seen.clear()
    for number in range(4):
        trained(span=(number / 4, (number + 1) / 4))
    assert sorted(set(seen)) == pytest.approx(whole)


def test_training_lowers_the_loss() -> None:
    _, first = trained()
    _, last = trained(training=replace(TRAINING, epochs=15))
    assert math.isfinite(first.loss)
    assert last.loss < first.loss


def test_the_same_generator_gives_the_same_bits_and_another_does_not() -> None:
    augmented = replace(TRAINING, augment="gin", spatial=True)
    models = [trained(training=augmented, seed=seed)[0] for seed in (1, 1, 2)]
    assert equal(models[0].state_dict(), models[1].state_dict())
    assert not equal(models[0].state_dict(), models[2].state_dict())


def test_the_global_generator_is_neither_used_nor_moved() -> None:
    before = torch.get_rng_state()
    augmented = replace(TRAINING, augment="gin", spatial=True)
    first, _ = trained(training=augmented)
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(5)
    second, _ = trained(training=augmented)
    assert equal(first.state_dict(), second.state_dict())


def test_an_epoch_counts_its_steps_and_the_loss_is_their_mean(monkeypatch: pytest.MonkeyPatch) -> None:
    losses = iter(range(1, 100))
    monkeypatch.setattr(module, "step", lambda *_, **__: torch.tensor(float(next(losses))))
    held = batches(3)
    _, told = trained(batches=held, training=replace(TRAINING, epochs=2))
    assert held.steps == 3
    assert told.loss == (1 + 2 + 3 + 4 + 5 + 6) / 6


@pytest.mark.parametrize("dims", [2, 3])
def test_moments_saved_and_put_back_continue_as_if_never_stopped(dims: int) -> None:
    """The fused step walks weights and moments as flat memory: the layout must be the parameter's again."""
    image, target = torch.randn(2, 1, *[8] * dims), torch.zeros(2, 2, *[8] * dims, dtype=torch.uint8)
    target[:, 0, :4] = 1
    known = torch.ones(2, 2, dtype=torch.bool)

    def run(*, stop: bool) -> dict[str, Tensor]:
        model = small_net(dims=dims)
        named = dict(model.named_parameters())
        optimizer = make_optimizer(list(named.values()), TRAINING)
        for place in range(6):
            if stop and place == 3:
                saved = tensorfile.unpack(tensorfile.pack(moments(optimizer, named), {}))[1]
                optimizer = make_optimizer(list(named.values()), TRAINING)
                restore_moments(optimizer, named, saved)
            step(model, optimizer, image, target, known, training=TRAINING)
        return algebra.of(model)

    assert equal(run(stop=False), run(stop=True))


def test_moments_belong_to_their_parameters_by_name() -> None:
    _, told = trained()
    names = [name for name, _ in small_net().named_parameters()]
    assert set(told.optimizer) == {
        f"{moment}/{name}" for name in names for moment in ("step", "exp_avg", "exp_avg_sq")
    }
    assert all(float(told.optimizer[f"step/{name}"]) == batches().steps for name in names)
    shapes = {name: parameter.shape for name, parameter in small_net().named_parameters()}
    assert all(told.optimizer[f"exp_avg/{name}"].shape == shapes[name] for name in names)


def test_moments_of_parameters_that_are_not_trained_now_are_left_aside() -> None:
    _, told = trained()
    _, again = trained(only=frozenset({"head.conv.bias"}), optimizer=told.optimizer)
    assert set(again.optimizer) == {f"{m}/head.conv.bias" for m in ("step", "exp_avg", "exp_avg_sq")}
    assert float(again.optimizer["step/head.conv.bias"]) == 2 * batches().steps


def test_only_the_named_parameters_move_and_statistics_elsewhere_stay() -> None:
    before = algebra.of(small_net(norm="batch"))
    model, _ = trained(norm="batch", only=frozenset({"head.conv.weight"}))
    after = algebra.of(model)
    assert [name for name in after if not torch.equal(after[name], before[name])] == ["head.conv.weight"]


def test_statistics_move_where_their_layer_is_trained() -> None:
    names = [name for name, _ in small_net(norm="batch").named_parameters() if name.startswith("decoder.")]
    before = algebra.of(small_net(norm="batch"))
    model, _ = trained(norm="batch", only=frozenset(names))
    moved = {name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])}
    assert {name.partition(".")[0] for name in moved} == {"decoder"}
    assert any(name.endswith("running_mean") for name in moved)


def test_a_penalty_is_added_to_every_step() -> None:
    plain, without = trained()
    pulled, with_penalty = trained(penalty=lambda model: sum(p.sum() for p in model.parameters()) * 0 + 5.0)
    assert with_penalty.loss == pytest.approx(without.loss + 5.0, abs=1e-4)
    assert equal(plain.state_dict(), pulled.state_dict())


def test_the_gradient_of_an_unannotated_structure_is_exactly_zero() -> None:
    held = batches(2, annotated=(True, False))
    model, _ = trained(batches=held, training=replace(TRAINING, weight_decay=0.0))
    start = algebra.of(small_net())
    for name in ("head.conv.weight", "head.conv.bias"):
        assert torch.equal(model.state_dict()[name][1], start[name][1])
        assert not torch.equal(model.state_dict()[name][0], start[name][0])


def test_an_objective_takes_the_place_of_the_loss_of_the_logits() -> None:
    _, told = trained(
        objective=lambda model, image, target, annotated: 0.0 * model(image).sum() + annotated.sum()
    )
    assert told.loss == pytest.approx(4.0)  # two structures of two patches


def test_gradients_are_clipped_to_their_norm() -> None:
    model = small_net()
    optimizer = make_optimizer(list(model.parameters()), TRAINING)
    image = torch.randn(2, 1, 8, 8)
    target = torch.ones(2, 2, 8, 8, dtype=torch.uint8)
    step(
        model, optimizer, image, target, torch.ones(2, 2, dtype=torch.bool),
        training=replace(TRAINING, clip_norm=1e-3),
    )  # fmt: skip
    norms = [parameter.grad.norm() for parameter in model.parameters() if parameter.grad is not None]
    assert torch.stack(norms).norm().item() == pytest.approx(1e-3, rel=1e-3)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_weights_moments_and_loss_are_float32_in_every_precision(precision: Any) -> None:
    model, told = trained(training=replace(TRAINING, precision=precision))
    assert {tensor.dtype for tensor in model.state_dict().values()} == {torch.float32}
    assert {tensor.dtype for tensor in told.optimizer.values()} == {torch.float32}
    assert math.isfinite(told.loss)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("loss", ["dice_ce", "dice_focal"])
@pytest.mark.parametrize("dims", [2, 3])
def test_a_step_runs_on_the_meta_device(dims: int, loss: Any, precision: Any) -> None:
    model = small_net(dims=dims).to("meta")
    training = replace(TRAINING, loss=loss, precision=precision)
    optimizer = make_optimizer(list(model.parameters()), training)
    told = step(
        model,
        optimizer,
        torch.zeros(2, 1, *[8] * dims, device="meta"),
        torch.zeros(2, 2, *[8] * dims, dtype=torch.uint8, device="meta"),
        torch.ones(2, 2, dtype=torch.bool, device="meta"),
        training=training,
    )
    assert (told.device.type, told.shape, told.requires_grad) == ("meta", (), False)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_training_on_cuda_gives_nearly_what_the_cpu_gives() -> None:
    on_cpu, _ = trained()
    on_gpu = small_net().to("cuda")
    told = train(on_gpu, batches(), training=TRAINING, generator=seeded(3))
    assert math.isfinite(told.loss)
    for name, tensor in algebra.of(on_gpu).items():
        torch.testing.assert_close(tensor, on_cpu.state_dict()[name], rtol=0.05, atol=0.05)
    again = train(on_gpu, batches(), training=TRAINING, generator=seeded(3), optimizer=told.optimizer)
    assert math.isfinite(again.loss)
