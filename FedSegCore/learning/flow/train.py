"""One round of training of a site's own flow, style and discriminator; nothing of them ever leaves the site.

A variant of our own, NOT "FedGIN as published". Before the first round's other steps the flow learns the density
alone; then generator and discriminator take turns:

    L_G = L_nll + 0.1 L_adv + 1.0 L_ngf + 0.05 L_div        (the terms: `couplings` and `adversary`)

What a round leaves behind is all that the next one needs, so a site that was stopped goes on bit for bit on a
CPU. (On CUDA torch sums the gradient of an interpolation in any order.)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Final, final

import torch
from torch import Tensor

from FedSegCore.data.batches import Batches
from FedSegCore.learning.flow import state
from FedSegCore.learning.flow.adversary import (
    apply_remap,
    difference_loss,
    discriminator_loss,
    draw_remap,
    gradient_field,
    gradient_loss,
    structure_map,
)
from FedSegCore.learning.flow.pool import Pool, draw_pool
from FedSegCore.learning.flow.settings import FlowSettings
from FedSegCore.learning.flow.state import Players
from FedSegCore.learning.flow.style import StyledFlow, draw_noise
from FedSegCore.tensors.transfer import to_device
from FedSegCore.tensors.weights import Weights

_NOTHING: Final[Weights] = MappingProxyType({})


@final
@dataclass(frozen=True, eq=False)
class TrainedFlow:
    """What a round leaves behind, all of it private.

    Attributes:
        model: for augmentation, on the device.
        weights: everything that the next round goes on from, on the CPU.
        losses: mean of each term over the steps that had it; `nll` in nats a voxel of standardized intensities.
    """

    model: StyledFlow
    weights: dict[str, Tensor]
    losses: Mapping[str, float]


def train_flow(
    batches: Batches,
    *,
    settings: FlowSettings,
    generator: torch.Generator,
    saved: Weights = _NOTHING,
    device: torch.device | None = None,
) -> TrainedFlow:
    """Train for one round.

    Args:
        batches: the site's training images; targets are not looked at.
        settings: the numbers.
        generator: a CPU generator.
        saved: the `weights` of the round before; empty: begin, with the warm-up.
        device: where to train; none given: the CPU.
    """
    device = device or torch.device("cpu")
    pool = draw_pool(batches, settings, generator=generator)
    if saved:
        players = state.restore(settings, saved, dims=batches.dims, device=device)
    else:
        players = state.fresh(settings, pool, generator=generator, device=device)
    game = _Game(settings, players, _standard(pool.to(device), players.model, settings, generator), generator)
    terms = [game.likelihood_step() for _ in range(0 if saved else settings.warm_up)]
    for _ in range(settings.steps):
        terms.append({**game.discriminator_step(), **game.generator_step()})
    return TrainedFlow(players.model, state.save(players), _means(terms))


@final
@dataclass(frozen=True, eq=False)
class _Game:
    """Who plays, and with what; every step returns its terms, still on the device."""

    settings: FlowSettings
    players: Players
    pool: Pool
    generator: torch.Generator

    def likelihood_step(self) -> dict[str, Tensor]:
        """One step on L_nll alone."""
        return self._generator_moves({"nll": self._nll(self._rows())})

    def generator_step(self) -> dict[str, Tensor]:
        """One step on L_G."""
        rows = self._rows()
        old, new = self._generate(rows)
        # The judge only judges here; gradients of its own weights would be computed for nothing.
        self.players.discriminator.requires_grad_(False)
        before, after = gradient_field(old), gradient_field(new)
        fake = self.players.discriminator(structure_map(before), structure_map(after))
        terms = {
            "nll": self._nll(rows),
            "adversary": -fake.mean(),
            "gradients": gradient_loss(before, after),
            "difference": difference_loss(old, new, most=self.settings.most_difference),
        }
        return self._generator_moves(terms)

    def discriminator_step(self) -> dict[str, Tensor]:
        """One step on L_D."""
        rows = self._rows()
        with torch.no_grad():
            old, new = self._generate(rows)
        self.players.discriminator.requires_grad_(True)
        anatomy = structure_map(gradient_field(old))
        remapped = apply_remap(old, draw_remap(self.generator, len(old)))
        both = torch.cat([structure_map(gradient_field(one)) for one in (remapped, new)])
        real, fake = self.players.discriminator(anatomy.repeat(2, *[1] * (old.ndim - 1)), both).chunk(2)
        loss = discriminator_loss(real, fake)
        self.players.adversary.zero_grad(set_to_none=True)
        loss.backward()
        self.players.adversary.step()
        return {"discriminator": loss.detach()}

    def _rows(self) -> Pool:
        """A few random rows of the pool."""
        wanted = (self.settings.rows,)
        return self.pool.select(torch.randint(len(self.pool.modality), wanted, generator=self.generator))

    def _nll(self, rows: Pool) -> Tensor:
        return self.players.model.flow.nll(rows.pairs, rows.modality)

    def _generate(self, rows: Pool) -> tuple[Tensor, Tensor]:
        """The crops' u (R, *S), and u' in a random style a row."""
        noise = to_device(draw_noise(self.generator, len(rows.modality)), rows.modality.device)
        old, pairs = rows.crops[:, 0], rows.crops.flatten(2).movedim(1, 2)
        nodes = self.settings.training_nodes
        new = self.players.model.interpolate(pairs, rows.modality, noise, nodes=nodes)
        return old, new.view_as(old)

    def _generator_moves(self, terms: dict[str, Tensor]) -> dict[str, Tensor]:
        weight = {"nll": 1.0} | {name: getattr(self.settings, name) for name in terms if name != "nll"}
        loss = torch.stack([weight[name] * term for name, term in terms.items()]).sum()
        self.players.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.players.optimizer.step()
        return {name: term.detach() for name, term in terms.items()}


def _standard(pool: Pool, model: StyledFlow, settings: FlowSettings, generator: torch.Generator) -> Pool:
    """The pool in standardized intensities, its pairs with a little noise."""
    noise = settings.dequantization * torch.randn(pool.pairs.shape, generator=generator)
    pairs = model.standardize(pool.pairs, pool.modality) + to_device(noise, pool.pairs.device)
    return replace(pool, pairs=pairs, crops=model.standardize(pool.crops, pool.modality))


def _means(terms: list[dict[str, Tensor]]) -> dict[str, float]:
    """The mean of each term; the only place where the host waits for the device."""
    names = dict.fromkeys(name for step in terms for name in step)
    means = {name: torch.stack([step[name] for step in terms if name in step]).mean() for name in names}
    return {name: float(mean) for name, mean in means.items()}
