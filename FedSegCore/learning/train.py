"""The one training loop; its hooks are the objective and a penalty added to it.

Nothing in a step waits for the device: losses are summed where they are computed and read once an epoch, and
all randomness is drawn on the CPU before it is used. The same step therefore runs on CPU, CUDA and `meta`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from FedSegCore.data.batches import Batches
from FedSegCore.errors import StudyError
from FedSegCore.learning.augment import Gin, Looks, augment
from FedSegCore.learning.epochs import Epochs, Stage
from FedSegCore.learning.flow.settings import Mode
from FedSegCore.learning.flow.style import StyledFlow
from FedSegCore.learning.losses import LOSSES
from FedSegCore.learning.moments import moments, restore_moments
from FedSegCore.learning.precision import Precision, autocast
from FedSegCore.tensors import weights as algebra
from FedSegCore.tensors.weights import Weights

Penalty = Callable[[nn.Module], Tensor]
"""A scalar added to each step's loss, such as FedProx's distance from the global model."""

Objective = Callable[[nn.Module, Tensor, Tensor, Tensor], Tensor]
"""A step's loss from the model, image, target and `annotated`; runs the model itself, in the precision it wants."""


@dataclass(frozen=True)
class Training:
    """How a site trains: the study's `[train]` table.

    Args:
        batch_size: patches in a step; none given: 2 volumes or 8 slices.
        epochs: local epochs in a round.
        learning_rate: the peak of the schedule.
        schedule: after the warm-up half a `cosine` down to 1 %, or `constant`; none given: the method's own.
        weight_decay: AdamW's, of kernels; biases and norm layers do not decay.
        warm_up: the share of the whole study's steps in which the rate rises.
        clip_norm: the gradient's largest norm.
        loss: `dice_ce` or `dice_focal`.
        precision: of the forward and backward pass; weights and optimizer stay float32. `auto` is bfloat16 where
            the device computes in it.
        threads: CPU threads; 0 takes all cores. Part of what bit-identity is promised for.
        augment: intensity augmentation; none given: the method's own default.
        augment_probability: the share of the cases that intensity augmentation touches.
        gin_kernels: kernel sides that the random networks of `augment = "gin"` choose from.
        gin_balance: whether those networks' output is brought to the image's mean and spread before it is mixed in.
        flow_mode: the couplings of `augment = "flow"`: `alternating`, or `spline`, which keeps the order of
            intensities.
        spatial: whether rotation, scaling and translation are applied.
        flips: whether images are mirrored left to right too; wrong where structures have sides.
        validate_every: rounds from one validation to the next; the last round always validates.
    """

    batch_size: int | None = None
    epochs: int = 1
    learning_rate: float = 2e-3
    schedule: Literal["cosine", "constant"] | None = None
    weight_decay: float = 1e-2
    warm_up: float = 0.08
    clip_norm: float = 1.0
    loss: Literal["dice_ce", "dice_focal"] = "dice_ce"
    precision: Precision = "auto"
    threads: int = 0
    augment: Literal["gin", "flow", "gin+flow", "classic", "none"] | None = None
    augment_probability: float = 0.5
    gin_kernels: tuple[int, ...] = (1, 3)
    gin_balance: bool = False
    flow_mode: Mode = "alternating"
    spatial: bool = True
    flips: bool = False
    validate_every: int = 1

    def batch(self, dims: int) -> int:
        """Patches in a step: what is given, else 2 in 3-D and 8 in 2-D.

        Small sites learn more from an epoch in batches of 1, but torch's CPU convolutions of a single small patch
        leave their fast path: that epoch takes three times as long, and three epochs teach more.
        """
        return self.batch_size or (2 if dims == 3 else 8)

    def __post_init__(self) -> None:
        if not 0 <= self.augment_probability <= 1:
            raise StudyError(
                f"augment_probability is {self.augment_probability}, expected 0 to 1.", "Correct the value."
            )
        if not self.gin_kernels or any(side < 1 or side % 2 == 0 for side in self.gin_kernels):
            raise StudyError(
                f"gin_kernels is {list(self.gin_kernels)}, expected odd numbers.", "The paper has [1, 3]."
            )


@dataclass(frozen=True, eq=False)
class Trained:
    """What local training leaves behind besides the model itself: the mean loss and the optimizer's moments."""

    loss: float
    optimizer: dict[str, Tensor]


def learning_rate_at(progress: float, training: Training) -> float:
    """Linear warm-up, then half a cosine to 1 % of the peak, or the peak; `progress` in 0..1 over the whole study.

    A function of progress alone, so that every site and every engine has the same rate in the same round.
    """
    if progress < training.warm_up:
        return training.learning_rate * (0.01 + 0.99 * progress / training.warm_up)
    if training.schedule == "constant":
        return training.learning_rate
    rest = (progress - training.warm_up) / max(1.0 - training.warm_up, 1e-12)
    return training.learning_rate * (0.01 + 0.99 * 0.5 * (1.0 + math.cos(math.pi * min(rest, 1.0))))


def train(
    model: nn.Module,
    batches: Batches,
    *,
    training: Training,
    generator: torch.Generator,
    span: tuple[float, float] = (0.0, 1.0),
    epochs: int | None = None,
    optimizer: Weights | None = None,
    only: Collection[str] | None = None,
    penalty: Penalty | None = None,
    objective: Objective | None = None,
    flow: StyledFlow | None = None,
    kept: Epochs | None = None,
) -> Trained:
    """Train `model` in place.

    Args:
        span: which part of the study's schedule these epochs are, as progress from and to.
        epochs: their number; none given: `training.epochs`.
        optimizer: the moments to go on from; none: fresh ones.
        only: the names of the parameters to train; none: all. Statistics of the other layers stay, too.
        penalty: added to each step's loss.
        objective: each step's loss; none: `training.loss` of the model's logits.
        flow: the site's own, for `augment = "flow"`; on the model's device.
        kept: where each of several epochs leaves what it came to, and a training that was killed goes on from.
    """
    number = training.epochs if epochs is None else epochs
    named = {name: p for name, p in model.named_parameters() if only is None or name in only}
    device = next(model.parameters()).device
    adamw = make_optimizer(list(named.values()), training)
    if optimizer:
        restore_moments(adamw, named, optimizer)
    steps = batches.steps * number
    total = torch.zeros((), device=device)
    # One epoch is what a kill may cost; nothing is kept of it.
    stage = kept.stage() if kept is not None and number > 1 else None
    first = _went_on(stage, model, adamw, named, generator, total) if stage else 0
    _training_mode(model, named.values())
    looks = Looks(Gin(training.gin_kernels, training.gin_balance), flow)
    done = first * batches.steps
    for epoch in range(first, number):
        for batch in batches.epoch(generator):
            progress = span[0] + (span[1] - span[0]) * done / max(steps, 1)
            for group in adamw.param_groups:
                group["lr"] = learning_rate_at(progress, training)
            moved = augment(
                batch.to(device),
                training.augment or "none",
                generator=generator,
                probability=training.augment_probability,
                spatial=training.spatial,
                flips=training.flips,
                looks=looks,
            )
            total += step(model, adamw, moved.image, moved.target, moved.annotated,
                          training=training, penalty=penalty, objective=objective)  # fmt: skip
            done += 1
        if stage:
            parts = {"model": algebra.of(model), "moments": moments(adamw, named), "sum": {"loss": total}}
            stage.save(parts, generator, epoch + 1)
    mean = float(total) / max(done, 1) if device.type != "meta" else math.nan
    return Trained(mean, moments(adamw, named))


def _went_on(
    stage: Stage,
    model: nn.Module,
    adamw: torch.optim.Optimizer,
    named: dict[str, nn.Parameter],
    generator: torch.Generator,
    total: Tensor,
) -> int:
    """Put everything back as it was after the last epoch that was kept; how many epochs that were."""
    saved = stage.load(generator)
    if saved is None:
        return 0
    algebra.load(model, saved.part("model"))
    restore_moments(adamw, named, saved.part("moments"))
    total.copy_(saved.part("sum")["loss"])
    return saved.done


def _training_mode(model: nn.Module, trained: Collection[nn.Parameter]) -> None:
    """Training mode, but for layers whose parameters are all held: batch norm must not move its statistics."""
    model.train()
    moving = {id(parameter) for parameter in trained}
    for module in model.modules():
        held = [id(parameter) not in moving for parameter in module.parameters()]
        if held and all(held):
            module.eval()


def step(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    image: Tensor,
    target: Tensor,
    annotated: Tensor,
    *,
    training: Training,
    penalty: Penalty | None = None,
    objective: Objective | None = None,
) -> Tensor:
    """One optimizer step; returns the loss, detached and still on the device."""
    if objective is None:
        with autocast(image.device, training.precision):
            logits = model(image)
        loss = LOSSES[training.loss](logits.float(), target, annotated)
    else:
        loss = objective(model, image, target, annotated)
    if penalty is not None:
        loss = loss + penalty(model)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    torch.nn.utils.clip_grad_norm_(parameters, training.clip_norm)
    optimizer.step()
    return loss.detach()


def make_optimizer(parameters: list[nn.Parameter], training: Training) -> torch.optim.AdamW:
    """AdamW over the given parameters; fused where torch has it, since small networks are bound by launches."""
    kernels = [parameter for parameter in parameters if parameter.ndim > 1]
    others = [parameter for parameter in parameters if parameter.ndim <= 1]
    groups = [
        {"params": kernels, "weight_decay": training.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    fused = all(parameter.device.type in ("cpu", "cuda") for parameter in parameters)
    return torch.optim.AdamW(
        [group for group in groups if group["params"]],
        lr=training.learning_rate,
        betas=(0.9, 0.99),
        fused=fused,
    )
