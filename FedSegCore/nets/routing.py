"""One network made of several: every convolution is a mixture of the experts' kernels, and routers mix them.

Jiang et al., IOP-FL: Inside-Outside Personalization for Federated Medical Image Segmentation, IEEE TMI 2023.

    y = conv(x; Σ_e ρ_e K_e, Σ_e ρ_e b_e),   ρ = gate(A₂ · dropout(A₁ · GAP(x) + c₁) + c₂)

Departures from the official code: layers are found by type, so that none keeps a random router (there the
bottleneck did), and every layer knows every expert (there ordinary convolutions ignored one). Gates are a softmax by
default: layers without a norm after them, the head among them, are then not scaled by the sum of the gates.
Routers begin at given shares (A₂ = 0), so that before the first step the network is a plain mean of the experts.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal, final

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from FedSegCore.nets.convolve import CONVOLUTIONS, Convolution, Shape, convolve, mixed
from FedSegCore.nets.norm import ScanNorm
from FedSegCore.nets.parts import is_norm
from FedSegCore.tensors.transfer import to_device
from FedSegCore.tensors.weights import Weights

Gate = Literal["softmax", "sigmoid"]
Granularity = Literal["sample", "batch", "static"]


@final
class Router(nn.Module):
    """The gates ρ of one layer.

    Args:
        channels: of the layer's input.
        shares: where each expert's gate begins, E numbers that sum to one.
        granularity: one set of gates a sample, a batch, or whatever the input is.
        dropout: of the hidden features, while `chance` draws which.
        generator: draws A₁.
    """

    def __init__(
        self, channels: int, shares: Tensor, *, gate: Gate, granularity: Granularity, dropout: float,
        generator: torch.Generator,
    ) -> None:  # fmt: skip
        super().__init__()
        self.gate, self.granularity = gate, granularity
        logits = shares.log() if gate == "softmax" else torch.logit(shares, eps=1e-4)
        self.logits = nn.Parameter(logits.clone())
        if granularity != "static":
            self.hidden = nn.Linear(channels, 2 * channels)
            self.dropout = dropout
            self.chance: torch.Generator | None = None
            """What draws the hidden features that are dropped; none: all stay."""
            self.gates = nn.Linear(2 * channels, len(shares), bias=False)
            bound = channels**-0.5
            with torch.no_grad():
                self.hidden.weight.uniform_(-bound, bound, generator=generator)
                self.hidden.bias.zero_()
                self.gates.weight.zero_()

    def forward(self, input: Float[Tensor, "b c *s"]) -> Float[Tensor, "*b e"]:
        """(E), or (B, E) with one set of gates a sample."""
        logits = self.logits
        if self.granularity != "static":
            features = input.float().flatten(2).mean(2)
            features = features if self.granularity == "sample" else features.mean(0)
            logits = logits + self.gates(self._drop(self.hidden(features)))
        return torch.sigmoid(logits) if self.gate == "sigmoid" else torch.softmax(logits, dim=-1)

    def _drop(self, hidden: Tensor) -> Tensor:
        if self.chance is None or not self.dropout:
            return hidden
        kept = torch.rand(hidden.shape, generator=self.chance) >= self.dropout
        return hidden * to_device(kept, hidden.device) / (1.0 - self.dropout)


@final
class Routed(nn.Module):
    """A convolution of E experts' kernels, mixed by its router.

    Args:
        knows: for a layer whose outputs are structures, which expert learnt which (E, out); the gates of the others
            go to those that did, and a structure that nobody learnt is mixed as the rest.
    """

    kernels: Tensor
    biases: Tensor | None
    knows: Tensor | None

    def __init__(
        self, layer: Convolution, router: Router, *, experts: int, knows: Tensor | None = None
    ) -> None:
        super().__init__()
        self.shape = Shape.of(layer)
        self.router = router
        # Kernels are not parameters: nothing can train them, and no state_dict carries the bank along.
        self.register_buffer(
            "kernels", layer.weight.new_empty(experts, *layer.weight.shape), persistent=False
        )
        bias = None if layer.bias is None else layer.bias.new_empty(experts, *layer.bias.shape)
        self.register_buffer("biases", bias, persistent=False)
        self.register_buffer("knows", knows, persistent=False)
        self.views = 1
        self.seen: list[Tensor] | None = None
        """While a list, the gates of every forward pass are added to it, detached: (E), or (B, E)."""
        self.held: Tensor | None = None
        """The gates of a whole scan, (E); none: the router's."""

    def forward(self, input: Float[Tensor, "b c *s"]) -> Float[Tensor, "b o *t"]:
        """As the layer that it stands for, with the mixed kernel."""
        rho = self.held if self.held is not None else self.router(input[: len(input) // self.views])
        if self.seen is not None:
            self.seen.append(rho.detach())
        rho = rho.repeat(self.views, 1) if rho.ndim == 2 else rho
        if self.knows is not None:
            return self._by_structure(input, rho)
        bias = None if self.biases is None else mixed(rho, self.biases)
        return convolve(self.shape, input, mixed(rho, self.kernels), bias)

    def hold(self) -> None:
        """From now on mix by the mean over the gates that were seen."""
        assert self.seen
        passes = [rho.view(-1, rho.shape[-1]).mean(0) for rho in self.seen]
        self.held, self.seen = torch.stack(passes).mean(0), None

    def _by_structure(self, input: Tensor, rho: Tensor) -> Tensor:
        """Every output channel has gates of its own, (..., E, out)."""
        assert self.knows is not None
        whole = rho.sum(-1, keepdim=True)
        masked = rho[..., None] * torch.where(self.knows.any(0), self.knows, True)
        gates = masked / masked.sum(-2, keepdim=True).clamp(min=1e-6) * whole[..., None]
        weight = torch.einsum("...eo,eok->...ok", gates, self.kernels.flatten(2))
        bias = None if self.biases is None else torch.einsum("...eo,eo->...o", gates, self.biases)
        return convolve(self.shape, input, weight.view(*weight.shape[:-1], *self.kernels.shape[2:]), bias)


def route(
    net: nn.Module, experts: Iterable[Weights], shares: Sequence[float], *, generator: torch.Generator,
    gate: Gate = "softmax", granularity: Granularity = "batch", dropout: float = 0.2,
    base: int | None = None, knows: Bool[Tensor, "e l"] | None = None,
) -> dict[str, Routed]:  # fmt: skip
    """Put a routed layer in place of every convolution of `net`; returns them by name.

    Each expert's weights are taken up as they come and held once. What is not a convolution's (norm layers) is that
    of the expert `base`, or the mean of all by `shares`.

    Args:
        net: a network of the experts' architecture; its own weights are lost.
        experts: whole `state_dict`s.
        shares: where the gates begin, one number an expert, summing to one.
        base: which expert the norm layers come from; none: all.
        knows: which expert learnt which structure; of the network's `head` alone.
    """
    wanted = torch.tensor(shares, dtype=torch.float32)
    if len(wanted) < 2 or not torch.isclose(wanted.sum(), torch.tensor(1.0), atol=1e-5):
        raise ValueError(f"expected two or more shares that sum to one, got {list(shares)}")
    heads = {id(module) for module in net.get_submodule("head").modules()}
    convolutions = {name: module for name, module in net.named_modules() if isinstance(module, CONVOLUTIONS)}
    kernels = {f"{name}.{key}" for name, layer in convolutions.items() for key in layer.state_dict()}
    others = {key: tensor for key, tensor in net.state_dict().items() if key not in kernels}
    layers: dict[str, Routed] = {}
    for name, layer in convolutions.items():
        router = Router(layer.in_channels, wanted, gate=gate, granularity=granularity, dropout=dropout,
                        generator=generator)  # fmt: skip
        known = knows if id(layer) in heads else None
        layers[name] = Routed(layer, router, experts=len(wanted), knows=known)
        parent, _, child = name.rpartition(".")
        setattr(net.get_submodule(parent), child, layers[name])
    _fill(layers, others, experts, wanted if base is None else _one_hot(base, len(wanted)))
    return layers


@torch.no_grad()
def _fill(
    layers: dict[str, Routed], others: dict[str, Tensor], experts: Iterable[Weights], shares: Tensor
) -> None:
    """One expert after the other into its place; the tensors without a router by their shares."""
    for tensor in others.values():
        tensor.zero_()
    for place, weights in zip(range(len(shares)), experts, strict=True):
        for name, layer in layers.items():
            layer.kernels[place] = weights[f"{name}.weight"]
            if layer.biases is not None:
                layer.biases[place] = weights[f"{name}.bias"]
        for name, tensor in others.items():
            if tensor.is_floating_point():
                tensor += shares[place] * weights[name].to(tensor.device)


def _one_hot(place: int, number: int) -> Tensor:
    return torch.nn.functional.one_hot(torch.tensor(place), number).float()


def use_batch_statistics(net: nn.Module) -> None:
    """Batch norms forget their running statistics and normalise by each batch's own, in evaluation too."""
    for module in list(net.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, _BatchNorm):
                setattr(module, name, ScanNorm(child))


def set_views(net: nn.Module, views: int) -> None:
    """Tell the layers that batches hold so many views of the same images, one after the other.

    Gates then follow from the first view alone, so that all are seen by one network, and each view has its own
    batch statistics: the result is that of one forward pass a view.
    """
    for module in net.modules():
        if isinstance(module, Routed | ScanNorm):
            module.views = views


@torch.no_grad()
def settle(net: nn.Module, batches: Iterable[Tensor]) -> None:
    """Let the net look at a scan once, and hold its gates and batch statistics for all that is asked of it then.

    What a window of the scan is answered does so not hang on which others share its batch, and the gates that are
    reported are those that were used. Gates of granularity `sample` are held too: a scan is the sample.
    """
    layers = [module for module in net.modules() if isinstance(module, Routed | ScanNorm)]
    for layer in layers:
        layer.held, layer.seen = None, []
    for batch in batches:
        net(batch)
    for layer in layers:
        layer.hold()


def release(net: nn.Module) -> None:
    """Undo `settle`."""
    for module in net.modules():
        if isinstance(module, Routed | ScanNorm):
            module.held = module.seen = None


def norm_parameters(net: nn.Module) -> list[nn.Parameter]:
    """Scale and shift of every norm layer."""
    return [parameter for module in net.modules() if is_norm(module) for parameter in module.parameters()]
