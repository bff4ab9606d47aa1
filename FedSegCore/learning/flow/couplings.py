"""The conditional normalizing flow of FlowGIN: from intensities to a latent space that all sites share.

A variant of our own, NOT "FedGIN as published". The flow acts on every voxel alone, on the pair v = (u, m) of its
standardized intensity u and local context m (u blurred), with the same weights everywhere: it cannot move anatomy.
Its latent space is the standard normal at every site, so nothing must be exchanged for sites to agree on it. It
is conditioned on the modality and never on statistics of one image, which would make every image alike in
latent space. Eight coupling layers (Dinh et al., "Density estimation using Real NVP", ICLR 2017), two kinds:

    alternating   v_j <- v_j exp(s) + t,  (s, t) = MLP(v_other, modality),  |s| <= 1;   u and m take turns
    spline        u <- RQS(u),  its knots = MLP(m, modality);   m stays, and so does the order of u at equal m

ActNorm (Kingma and Dhariwal, "Glow", NeurIPS 2018) stands at both ends, set from the first data and then fixed.
"""

from __future__ import annotations

import math
from typing import Final, final

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from FedSegCore.learning.flow import splines
from FedSegCore.learning.flow.settings import COUPLINGS, FlowSettings

_LEAST_SPREAD: Final = 1e-2
"""A coordinate that hardly varies is not stretched further, in the units of its input."""


@final
class ActNorm(nn.Module):
    """v -> (v - mean) / spread for each coordinate; mean and spread are data's, no parameters."""

    mean: Tensor
    spread: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(2))
        self.register_buffer("spread", torch.ones(2))

    @torch.no_grad()
    def fit(self, pairs: Float[Tensor, "r n 2"]) -> None:
        """Take mean and standard deviation over all pairs."""
        flat = pairs.flatten(0, 1).double()
        self.mean.copy_(flat.mean(0))
        self.spread.copy_(flat.std(0, unbiased=False).clamp(min=_LEAST_SPREAD))

    def forward(self, pairs: Tensor) -> Tensor:
        """Pairs of mean 0 and spread 1 in each coordinate, as far as they are like those of `fit`."""
        return (pairs - self.mean) / self.spread

    def inverse(self, pairs: Tensor) -> Tensor:
        """Undo `forward`."""
        return pairs * self.spread + self.mean


@final
class Coupling(nn.Module):
    """One layer: coordinate `moved` is mapped, given the other one and the modality.

    The condition enters the first layer as a learned vector a modality, which is what a one-hot input amounts to.
    The last layer is zero at first, so that the layer begins as the identity.
    """

    def __init__(self, settings: FlowSettings, *, moved: int, modalities: int) -> None:
        super().__init__()
        self.moved = moved
        self.settings = settings
        outputs = 2 if settings.mode == "alternating" else 3 * settings.bins - 1
        self.given = nn.Linear(1, settings.width)
        self.modality = nn.Embedding(modalities, settings.width)
        self.hidden = nn.Linear(settings.width, settings.width)
        self.last = nn.Linear(settings.width, outputs)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    def forward(self, pairs: Tensor, modality: Tensor) -> tuple[Tensor, Tensor]:
        """Pairs (R, N, 2), modality (R,) -> mapped pairs and log |dv_moved'/dv_moved| (R, N)."""
        raw, value = self._raw(pairs, modality), pairs[..., self.moved]
        if self.settings.mode == "alternating":
            log_scale, shift = self._affine(raw)
            return self._with(pairs, value * log_scale.exp() + shift), log_scale
        value, log_slope = splines.forward(splines.spline(raw, tail=self.settings.tail), value)
        return self._with(pairs, value), log_slope

    def inverse(self, pairs: Tensor, modality: Tensor) -> Tensor:
        """Undo `forward`, in closed form."""
        raw, value = self._raw(pairs, modality), pairs[..., self.moved]
        if self.settings.mode == "alternating":
            log_scale, shift = self._affine(raw)
            return self._with(pairs, (value - shift) * torch.exp(-log_scale))
        return self._with(pairs, splines.inverse(splines.spline(raw, tail=self.settings.tail), value))

    def _raw(self, pairs: Tensor, modality: Tensor) -> Tensor:
        given = pairs[..., 1 - self.moved, None]
        features = nn.functional.silu(self.given(given) + self.modality(modality)[:, None, :])
        raw: Tensor = self.last(nn.functional.silu(self.hidden(features)))
        return raw

    def _affine(self, raw: Tensor) -> tuple[Tensor, Tensor]:
        return self.settings.most_log_scale * torch.tanh(raw[..., 0]), raw[..., 1]

    def _with(self, pairs: Tensor, value: Tensor) -> Tensor:
        other = pairs[..., 1 - self.moved]
        return torch.stack((value, other) if self.moved == 0 else (other, value), dim=-1)


@final
class Flow(nn.Module):
    """f: pairs v = (u, m) of a modality <-> latent pairs z.

    Args:
        settings: the kind of couplings and their size.
        modalities: how many conditions there are; channel i of a site's images has condition i.
    """

    def __init__(self, settings: FlowSettings, *, modalities: int) -> None:
        super().__init__()
        self.mode = settings.mode
        turns = settings.mode == "alternating"
        self.first = ActNorm()
        self.couplings = nn.ModuleList(
            Coupling(settings, moved=layer % 2 if turns else 0, modalities=modalities)
            for layer in range(COUPLINGS)
        )
        self.last = ActNorm()

    @torch.no_grad()
    def fit_norms(self, pairs: Float[Tensor, "r n 2"], modality: Int[Tensor, " r"]) -> None:
        """Set both ActNorms from data; to be called once, before training."""
        self.first.fit(pairs)
        self.last.mean.zero_()
        self.last.spread.fill_(1.0)
        self.last.fit(self(pairs, modality)[0])

    def forward(
        self, pairs: Float[Tensor, "r n 2"], modality: Int[Tensor, " r"]
    ) -> tuple[Float[Tensor, "r n 2"], Float[Tensor, "r n"]]:
        """Latent pairs and log |det dz/dv|; in mode "spline" dz_u/du alone counts, since m is only given."""
        z = self.first(pairs)
        log_det = torch.zeros_like(pairs[..., 0])
        for coupling in self.couplings:
            z, part = coupling(z, modality)
            log_det = log_det + part
        counted = slice(0, 2 if self.mode == "alternating" else 1)
        stretch = torch.log(self.first.spread[counted]) + torch.log(self.last.spread[counted])
        return self.last(z), log_det - stretch.sum()

    def inverse(self, latent: Float[Tensor, "r n 2"], modality: Int[Tensor, " r"]) -> Float[Tensor, "r n 2"]:
        """The pairs that `forward` maps to `latent`."""
        pairs = self.last.inverse(latent)
        for coupling in reversed(list(self.couplings)):
            pairs = coupling.inverse(pairs, modality)  # type: ignore[operator]
        restored: Tensor = self.first.inverse(pairs)
        return restored

    def nll(self, pairs: Float[Tensor, "r n 2"], modality: Int[Tensor, " r"]) -> Float[Tensor, ""]:
        """-mean[log N(z; 0, I) + log |det dz/dv|] in nats a voxel; of u given m in mode "spline"."""
        z, log_det = self(pairs, modality)
        counted = z if self.mode == "alternating" else z[..., :1]
        log_normal = -0.5 * (counted.square() + math.log(2.0 * math.pi)).sum(-1)
        mean: Tensor = -(log_normal + log_det).mean()
        return mean
