"""FlowGIN's augmentation: an image through the flow, changed in latent space, and back.

A variant of our own, NOT "FedGIN as published". Every image and coordinate gets a style θ = (a, b, q) of its own;
the voxels of an image share it, so the new image is an intensity map of the old one, given the local context:

    z = f(u, m | modality);   z' = z exp(a) + b + q tanh(z);   u' = first coordinate of f^-1(z')
    mixed = α x' + (1 - α) x,  α ~ U(0, 1);   result = mixed ||x|| / (||mixed|| + 1e-5)

with a, b normal and q uniform, their means and spreads learned with the flow. q >= -0.9 exp(a), so that z' rises
with z for every draw. As with GIN, one part draws and another applies.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, final

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from FedSegCore.learning.flow.context import context
from FedSegCore.learning.flow.couplings import Flow
from FedSegCore.learning.flow.settings import FlowSettings
from FedSegCore.tensors.transfer import to_device

_EPSILON: Final = 1e-5
_TINY: Final = 1e-6
_SORTED: Final = 1024
"""About so many values of a row stand for all of them when quantiles are taken."""

_LEAST_SLOPE: Final = 0.1
"""Of the style map, as a share of exp(a)."""


@final
class Style(nn.Module):
    """The distribution of θ = (a, b, q), one row a latent coordinate: 6 means and 6 log spreads."""

    applies: Tensor

    def __init__(self, settings: FlowSettings) -> None:
        super().__init__()
        spreads = torch.tensor([settings.log_scale_spread, settings.shift_spread, settings.bend_range])
        self.mean = nn.Parameter(torch.zeros(2, 3))
        self.log_spread = nn.Parameter(spreads.log().repeat(2, 1))
        coordinates = [1.0, 1.0] if settings.mode == "alternating" else [1.0, 0.0]
        self.register_buffer("applies", torch.tensor(coordinates)[:, None], persistent=False)

    def theta(self, noise: Float[Tensor, "r 2 3"]) -> tuple[Tensor, Tensor, Tensor]:
        """exp(a), b and q, each (R, 2); q bounded from below so that the map rises."""
        a, b, q = ((self.mean + noise * self.log_spread.exp()) * self.applies).unbind(-1)
        scale = torch.exp(a)
        return scale, b, torch.maximum(q, (_LEAST_SLOPE - 1.0) * scale)

    def forward(self, latent: Float[Tensor, "r n 2"], noise: Float[Tensor, "r 2 3"]) -> Tensor:
        """z' = z exp(a) + b + q tanh(z)."""
        scale, shift, bend = (part[:, None, :] for part in self.theta(noise))
        return latent * scale + shift + bend * torch.tanh(latent)


@final
class StyledFlow(nn.Module):
    """Standardization, flow and style of one site: everything that its augmentation needs.

    `center` and `scale`, one a modality, are the site's, set once: not an image's own, see `flow.couplings`.
    """

    center: Tensor
    scale: Tensor

    def __init__(self, settings: FlowSettings, *, modalities: int) -> None:
        super().__init__()
        self.settings = settings
        self.modalities = modalities
        self.register_buffer("center", torch.zeros(modalities))
        self.register_buffer("scale", torch.ones(modalities))
        self.flow = Flow(settings, modalities=modalities)
        self.style = Style(settings)

    def standardize(self, rows: Float[Tensor, "r *s"], modality: Int[Tensor, " r"]) -> Tensor:
        """Intensities in the site's standard deviations of that modality."""
        center, scale = (_beside(part[modality], rows) for part in (self.center, self.scale))
        return (rows - center) / scale

    def restore(self, rows: Float[Tensor, "r *s"], modality: Int[Tensor, " r"]) -> Tensor:
        """Undo `standardize`."""
        center, scale = (_beside(part[modality], rows) for part in (self.center, self.scale))
        return rows * scale + center

    def remap(
        self, pairs: Float[Tensor, "r n 2"], modality: Int[Tensor, " r"], noise: Float[Tensor, "r 2 3"]
    ) -> Float[Tensor, "r n"]:
        """u' of every pair, exactly."""
        latent, _ = self.flow(pairs, modality)
        new: Tensor = self.flow.inverse(self.style(latent, noise), modality)[..., 0]
        return new

    def interpolate(
        self,
        pairs: Float[Tensor, "r n 2"],
        modality: Int[Tensor, " r"],
        noise: Float[Tensor, "r 2 3"],
        *,
        nodes: tuple[int, int],
    ) -> Float[Tensor, "r n"]:
        """u' of every pair, bilinear between the nodes of a table.

        The map is one function of (u, m) for all voxels of a row, so some thousand nodes stand for any number
        of them. Where a map rises with u, its interpolation rises too. Differentiable in the map.
        """
        axes, places = [], []
        for coordinate, count in enumerate(nodes):
            values = pairs[..., coordinate].contiguous()
            axes.append(_nodes(values, count))
            places.append(_place(values, axes[-1]))
        u, m = axes[0][:, :, None].expand(-1, *nodes), axes[1][:, None, :].expand(-1, *nodes)
        table = self.remap(torch.stack([u, m], dim=-1).flatten(1, 2), modality, noise).view(-1, 1, *nodes)
        # grid_sample lists the last axis first: m, then u.
        where = torch.stack(places[::-1], dim=-1)[:, None]
        found = F.grid_sample(table, where, mode="bilinear", padding_mode="border", align_corners=True)
        return found[:, 0, 0]


@final
@dataclass(frozen=True, eq=False)
class FlowDraw:
    """Everything random about one application; rows R are N samples x C channels.

    Attributes:
        samples: which N samples of the batch are augmented; the others pass unchanged.
        noise: for each row and latent coordinate, normal, normal and U(-1, 1): the styles before mean and spread.
        alpha: share of the new image in the mix.
    """

    samples: Int[Tensor, " n"]
    noise: Float[Tensor, "r 2 3"]
    alpha: Float[Tensor, " r"]

    def to(self, device: torch.device) -> FlowDraw:
        """The draw on a device, without waiting for the copy."""
        return FlowDraw(*(to_device(part, device) for part in (self.samples, self.noise, self.alpha)))


def draw_noise(generator: torch.Generator, rows: int) -> Float[Tensor, "r 2 3"]:
    """The noise of as many styles, on the CPU."""
    normal = torch.randn(rows, 2, 2, generator=generator)
    uniform = 2.0 * torch.rand(rows, 2, 1, generator=generator) - 1.0
    return torch.cat([normal, uniform], dim=-1)


def draw_flow(generator: torch.Generator, shape: Sequence[int], *, probability: float = 0.5) -> FlowDraw:
    """Draw the styles of one batch of shape (B, C, *S), on the CPU.

    Args:
        generator: a CPU generator.
        shape: the batch's shape.
        probability: chance of each sample to be augmented.
    """
    samples = torch.nonzero(torch.rand(shape[0], generator=generator) < probability).flatten()
    rows = len(samples) * shape[1]
    return FlowDraw(samples, draw_noise(generator, rows), torch.rand(rows, generator=generator))


@torch.no_grad()
def apply_flow(image: Float[Tensor, "b c *s"], draw: FlowDraw, model: StyledFlow) -> Float[Tensor, "b c *s"]:
    """Images in new contrasts: same shape, type and device, same Frobenius norm of every channel, no gradient.

    Channel i is mapped as modality i of the model, which must be on the image's device. A channel that is zero
    throughout (a modality the site lacks) stays zero. Runs in float32 without waiting for the device; call it
    outside autocast, in training only.
    """
    if len(draw.samples) == 0:
        return image.clone()
    draw = draw.to(image.device)
    chosen = image.index_select(0, draw.samples).float()
    rows = chosen.flatten(0, 1)
    modality = torch.arange(image.shape[1], device=image.device).repeat(len(chosen))
    u = model.standardize(rows, modality)
    pairs = torch.stack([u.flatten(1), context(u).flatten(1)], dim=-1)
    new = model.interpolate(pairs, modality, draw.noise, nodes=model.settings.nodes).view_as(rows)
    alpha = _beside(draw.alpha, rows)
    mixed = alpha * model.restore(new, modality) + (1.0 - alpha) * rows
    mixed = mixed * _beside((rows != 0).flatten(1).any(1), rows)
    renewed = mixed * _beside(_norm(rows) / (_norm(mixed) + _EPSILON), rows)
    return image.index_copy(0, draw.samples, renewed.view_as(chosen).to(image.dtype))


def _nodes(values: Float[Tensor, "r n"], count: int) -> Float[Tensor, "r k"]:
    """Rising nodes from a row's least to its largest value: half at its quantiles, half equally far apart.

    Between two tissues the map is steep; quantiles put nodes where the voxels are, and equal steps bound the rest.
    """
    low, high = values.amin(1, keepdim=True), values.amax(1, keepdim=True)
    some = values[:, :: max(1, values.shape[1] // _SORTED)].sort(dim=1).values
    ranks = torch.linspace(0.0, some.shape[1] - 1.0, count // 2, device=values.device).round().long()
    even = low + torch.linspace(0.0, 1.0, count - count // 2, device=values.device) * (high - low)
    return torch.cat([some[:, ranks], even], dim=1).sort(dim=1).values


def _place(values: Float[Tensor, "r n"], nodes: Float[Tensor, "r k"]) -> Float[Tensor, "r n"]:
    """Where each value is among the nodes, from -1 at the first to 1 at the last."""
    last = nodes.shape[1] - 1
    above = torch.searchsorted(nodes, values, right=True).clamp(1, last)
    left, right = nodes.gather(1, above - 1), nodes.gather(1, above)
    share = ((values - left) / (right - left).clamp(min=_TINY)).clamp(0.0, 1.0)
    return 2.0 * (above - 1 + share) / last - 1.0


def _beside(numbers: Tensor, rows: Tensor) -> Tensor:
    """One number a row (R,), shaped to broadcast against the rows."""
    return numbers.view(-1, *[1] * (rows.ndim - 1))


def _norm(rows: Tensor) -> Tensor:
    """Frobenius norm of every row, (R,)."""
    norm: Tensor = torch.linalg.vector_norm(rows.flatten(1), dim=1)
    return norm
