"""GIN: random shallow convolutions as intensity augmentation; the shapes stay, the contrast becomes any.

FedGIN trains sites with CT and sites with MR in one federation by giving every training image an
arbitrary contrast. There is no learned state, so nothing of it is ever sent.

    t = x;  for l = 1..L:  t = conv(t, W_l) + s_l;  t = leaky_relu(t, 0.01) but after the last layer
    m = a t + (1 - a) x;   GIN(x) = m ||x|| / (||m|| + 1e-5);   W_l, s_l ~ N(0, 1),  a ~ U(0, 1)

Ouyang et al., "Causality-inspired single-source domain generalization for medical image segmentation", IEEE
TMI 2023 (the operator); FedGIN (its use in a federation). Departures from FedGIN's code: it shares one set of
kernels in a batch (the operator's own code draws them per sample, as the default does here), augments every
image (here `probability`, so that the network also sees clean images), and channels are not mixed unless
asked, so that every modality is augmented alone and one that a site lacks stays absent.

`balance` is ours. As published, t comes out weaker or stronger than x by orders of magnitude, so that `a` does not
say how much of it is in the mix: an image stays as it was or is lost, and one of 3-D images in two hundred has its
contrast inverted cleanly. Balanced, t gets x's mean and standard deviation before they are mixed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, final

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from FedSegCore.tensors.transfer import to_device

_EPSILON: Final = 1e-5


@final
@dataclass(frozen=True, eq=False)
class GinDraw:
    """Everything random about one application; rows R are N samples, or N x C single channels.

    Attributes:
        samples: which N samples of the batch are augmented; the others pass unchanged.
        weights: for each layer (R * out, in, *k).
        shifts: for each layer (R * out,).
        alpha: share of the random network's output in the mix, one a row.
        mix_channels: whether a row holds all channels of a sample or one.
        balance: whether the random network's output gets the row's mean and standard deviation.
    """

    samples: Int[Tensor, " n"]
    weights: tuple[Tensor, ...]
    shifts: tuple[Tensor, ...]
    alpha: Float[Tensor, " r"]
    mix_channels: bool
    balance: bool = False

    def to(self, device: torch.device) -> GinDraw:
        """The draw on a device, without waiting for the copy."""
        return GinDraw(
            to_device(self.samples, device),
            tuple(to_device(weight, device) for weight in self.weights),
            tuple(to_device(shift, device) for shift in self.shifts),
            to_device(self.alpha, device),
            self.mix_channels,
            self.balance,
        )


def draw_gin(
    generator: torch.Generator,
    shape: Sequence[int],
    *,
    probability: float = 0.5,
    layers: int = 4,
    hidden: int = 2,
    kernels: Sequence[int] = (1, 3),
    per_sample: bool = True,
    mix_channels: bool = False,
    balance: bool = False,
) -> GinDraw:
    """Draw the random networks for one batch, on the CPU.

    Args:
        generator: a CPU generator.
        shape: the batch's shape (B, C, *S), two or three sides.
        probability: chance of each sample to be augmented; FedGIN's own is 1.
        layers, hidden: convolutions in a row and channels between them.
        kernels: odd sides to choose from, once a layer and call; 1 alone makes GIN a pointwise intensity map.
        per_sample: own kernels for every sample; if not, one set for the batch as in FedGIN's code. The
            mixing share is each sample's own either way.
        mix_channels: let the channels of a sample flow into one another; if not, each is augmented alone.
        balance: give the random network's output the image's mean and standard deviation before the mix.
    """
    batch, channels, dims = shape[0], shape[1], len(shape) - 2
    samples = torch.nonzero(torch.rand(batch, generator=generator) < probability).flatten()
    groups, width = (1, channels) if mix_channels else (channels, 1)
    sets = groups * (len(samples) if per_sample else 1)
    copies = 1 if per_sample else len(samples)
    weights, shifts = [], []
    for layer in range(layers):
        inside = width if layer == 0 else hidden
        outside = width if layer == layers - 1 else hidden
        side = kernels[int(torch.randint(len(kernels), (), generator=generator))]
        weight = torch.randn(sets * outside, inside, *[side] * dims, generator=generator)
        weights.append(weight.repeat(copies, *[1] * (dims + 1)))
        shifts.append(torch.randn(sets * outside, generator=generator).repeat(copies))
    alpha = torch.rand(len(samples) * groups, generator=generator)
    return GinDraw(samples, tuple(weights), tuple(shifts), alpha, mix_channels, balance)


@torch.no_grad()
def apply_gin(image: Float[Tensor, "b c *s"], draw: GinDraw) -> Float[Tensor, "b c *s"]:
    """Images in new contrasts: same shape, type and device, same Frobenius norm of every row, no gradient.

    A channel that is zero throughout (a modality the site lacks) stays zero. Runs in float32 without waiting
    for the device; call it outside autocast, in training only.
    """
    if len(draw.samples) == 0:
        return image.clone()
    draw = draw.to(image.device)
    chosen = image.index_select(0, draw.samples).float()
    rows = chosen if draw.mix_channels else chosen.flatten(0, 1).unsqueeze(1)
    scale = (-1, *[1] * (rows.ndim - 1))
    alpha = draw.alpha.view(scale)
    new = _random_network(rows, draw)
    new = _spread_like(new, rows) if draw.balance else new
    mixed = alpha * new + (1.0 - alpha) * rows
    mixed = mixed * (rows != 0).flatten(2).any(dim=2).view(*rows.shape[:2], *scale[2:])
    renewed = mixed * (_norm(rows) / (_norm(mixed) + _EPSILON)).view(scale)
    return image.index_copy(0, draw.samples, renewed.view_as(chosen).to(image.dtype))


def _random_network(rows: Tensor, draw: GinDraw) -> Tensor:
    """Every row (R, C, *S) through its own network."""
    features = rows
    for layer, (weight, shift) in enumerate(zip(draw.weights, draw.shifts, strict=True)):
        if layer > 0:
            features = F.leaky_relu(features, 0.01)
        features = _convolve(features, weight, shift)
    return features


def _convolve(rows: Tensor, weight: Tensor, shift: Tensor) -> Tensor:
    """Every row (R, in, *S) with its own kernels: a grouped convolution, or a matrix product if pointwise.

    Both are the same sum; torch's grouped 1x1x1 convolution can be a hundred times slower on CPUs.
    """
    count, sides, side = len(rows), rows.shape[2:], weight.shape[-1]
    if side == 1:
        matrices = weight.view(count, -1, rows.shape[1])
        pointwise = torch.baddbmm(shift.view(count, -1, 1), matrices, rows.flatten(2))
        return pointwise.view(count, -1, *sides)
    convolution = F.conv2d if len(sides) == 2 else F.conv3d
    together = rows.reshape(1, -1, *sides)
    return convolution(together, weight, shift, padding=side // 2, groups=count).view(count, -1, *sides)


def _spread_like(new: Tensor, rows: Tensor) -> Tensor:
    """Each row of `new` with the mean and standard deviation that the same row of `rows` has."""
    axes = tuple(range(1, rows.ndim))
    centred = (new - new.mean(axes, keepdim=True)) / (new.std(axes, keepdim=True) + _EPSILON)
    return centred * rows.std(axes, keepdim=True) + rows.mean(axes, keepdim=True)


def _norm(rows: Tensor) -> Tensor:
    """Frobenius norm over channels and space, (R,)."""
    norm: Tensor = torch.linalg.vector_norm(rows.flatten(1), dim=1)
    return norm
