"""A site's flow, discriminator and their optimizers, and the one mapping of tensors that they live in between rounds.

A variant of our own, NOT "FedGIN as published". The mapping is the site's private state: no entry of it is ever sent.

    model/NAME  discriminator/NAME  model_moments/MOMENT/NAME  discriminator_moments/MOMENT/NAME
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, final

import torch
from torch import Tensor, nn

from FedSegCore.errors import ModelFileError
from FedSegCore.learning.flow.adversary import Discriminator
from FedSegCore.learning.flow.pool import Pool
from FedSegCore.learning.flow.settings import FlowSettings
from FedSegCore.learning.flow.style import StyledFlow
from FedSegCore.learning.moments import moments, restore_moments
from FedSegCore.tensors import weights as algebra
from FedSegCore.tensors.weights import Weights

_LEAST_SCALE: Final = 1e-6
"""A modality that does not vary is not stretched."""


@final
@dataclass(frozen=True, eq=False)
class Players:
    """The generator (flow and style), the discriminator and their optimizers, on one device."""

    model: StyledFlow
    discriminator: Discriminator
    optimizer: torch.optim.Adam
    adversary: torch.optim.Adam


def fresh(settings: FlowSettings, pool: Pool, *, generator: torch.Generator, device: torch.device) -> Players:
    """First weights, and standardization and ActNorm from the pool's intensities.

    Args:
        settings: the numbers.
        pool: of the images' own intensities, on the CPU.
        generator: a CPU generator; advances by one draw.
        device: where the players are to be.
    """
    seed = int(torch.randint(2**62, (), generator=generator))
    model, discriminator = _built(settings, channels=pool.channels, dims=pool.crops.ndim - 2, seed=seed)
    for place in range(pool.channels):
        values = pool.pairs[pool.modality == place][..., 0].double()
        if values.numel():
            model.center[place] = values.mean()
            model.scale[place] = values.std(unbiased=False).clamp(min=_LEAST_SCALE)
    model.flow.fit_norms(model.standardize(pool.pairs, pool.modality), pool.modality)
    return _players(settings, model.to(device), discriminator.to(device))


def save(players: Players) -> dict[str, Tensor]:
    """Everything that the next round goes on from, as CPU tensors."""
    return {
        **_named("model", algebra.of(players.model)),
        **_named("discriminator", algebra.of(players.discriminator)),
        **_named("model_moments", moments(players.optimizer, dict(players.model.named_parameters()))),
        **_named(
            "discriminator_moments",
            moments(players.adversary, dict(players.discriminator.named_parameters())),
        ),
    }


def restore(settings: FlowSettings, saved: Weights, *, dims: int, device: torch.device) -> Players:
    """The players that `save` took, on a device.

    Raises:
        FedSegError: a mapping of another kind, or of other settings.
    """
    model, discriminator = _built(settings, channels=_channels(saved), dims=dims, seed=0)
    algebra.load(model, _part(saved, "model"))
    algebra.load(discriminator, _part(saved, "discriminator"))
    players = _players(settings, model.to(device), discriminator.to(device))
    restore_moments(players.optimizer, dict(model.named_parameters()), _part(saved, "model_moments"))
    restore_moments(
        players.adversary, dict(discriminator.named_parameters()), _part(saved, "discriminator_moments")
    )
    return players


def _built(
    settings: FlowSettings, *, channels: int, dims: int, seed: int
) -> tuple[StyledFlow, Discriminator]:
    """Both networks; torch's layers draw from the global generator, so its state is put back (as in `nets.unet`)."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return StyledFlow(settings, modalities=channels), Discriminator(dims=dims)


def _players(settings: FlowSettings, model: StyledFlow, discriminator: Discriminator) -> Players:
    return Players(
        model,
        discriminator,
        _adam(model, settings.learning_rate),
        _adam(discriminator, settings.discriminator_rate),
    )


def _adam(module: nn.Module, learning_rate: float) -> torch.optim.Adam:
    """Fused where torch has it: a flow is many small tensors."""
    parameters = list(module.parameters())
    fused = all(parameter.device.type in ("cpu", "cuda") for parameter in parameters)
    return torch.optim.Adam(parameters, lr=learning_rate, fused=fused)


def _channels(saved: Weights) -> int:
    if "model/center" not in saved:
        raise ModelFileError(
            f"Expected a site's flow, got {sorted(saved)[:3]} and so on.",
            "Delete the site's state to begin anew.",
        )
    return len(saved["model/center"])


def _named(part: str, weights: Weights) -> dict[str, Tensor]:
    return {f"{part}/{name}": tensor for name, tensor in weights.items()}


def _part(saved: Weights, part: str) -> dict[str, Tensor]:
    head = f"{part}/"
    return {name.removeprefix(head): tensor for name, tensor in saved.items() if name.startswith(head)}
