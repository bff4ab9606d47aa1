"""What a hospital outside the federation may do with a bank: routing, and what it has to beat.

Each way is one function from a bank to a `Serve` of scans: given a prepared, unlabelled scan it answers with the
network for it. Whether a network was fitted to the scan or only chosen is the way's affair.

    global      the federation's own model
    single      the one expert whose unsupervised loss on the scan is lowest
    uniform     one network of the experts' mean weights
    ensemble    all experts, their probabilities averaged
    batchnorm   the global model with the scan's own batch statistics (nothing where there are no batch norms)
    tent        the global model, scale and shift of its norm layers fitted to lower the entropy (Wang et al. 2021)
    routed      IOP-FL's test-time routing over all experts
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Final, final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from FedSegCore.errors import UsageError
from FedSegCore.inference.adapt import TOGETHER, Adaptation, adapt, spread, unsupervised_loss
from FedSegCore.inference.bank import Bank
from FedSegCore.nets.merged import MergedNet
from FedSegCore.nets.routing import Routed, norm_parameters, release, route, settle, use_batch_statistics

_LOOKED_AT: Final = 32
"""Windows that a scan's gates and statistics are taken from."""


@final
@dataclass(frozen=True, eq=False)
class Answer:
    """The network for one scan, in evaluation mode; it holds until the next scan is asked about.

    Args:
        layers: of a routed network its routed layers by name; they hold the gates of the scan.
    """

    net: nn.Module
    layers: Mapping[str, Routed] = field(default_factory=dict)


Serve = Callable[[Float[Tensor, "c x y z"], torch.Generator], Answer]
"""For a prepared, unlabelled scan and a CPU generator, the network for it."""


def serve(way: str, bank: Bank, settings: Adaptation, *, device: torch.device) -> Serve:
    """One of the ways, ready to be asked about scans; the bank itself never changes.

    Raises:
        UsageError: a way that needs a global model where the bank has none.
    """
    return WAYS[way](bank, settings, device)


def _global(bank: Bank, settings: Adaptation, device: torch.device) -> Serve:
    answer = Answer(bank.model(_base(bank), device).net)
    return lambda image, generator: answer


def _single(bank: Bank, settings: Adaptation, device: torch.device) -> Serve:
    nets = [bank.model(place, device).net for place in range(len(bank.experts))]
    patch = bank.header.plan.patch

    def answer(image: Tensor, generator: torch.Generator) -> Answer:
        state = generator.get_state()
        losses = []
        for net in nets:
            generator.set_state(state)  # every expert is asked about the same draws
            losses.append(unsupervised_loss(net, image, patch=patch, settings=settings, generator=generator))
        return Answer(nets[losses.index(min(losses))])

    return answer


def _uniform(bank: Bank, settings: Adaptation, device: torch.device) -> Serve:
    number = len(bank.experts)
    net = bank.net()
    route(net, bank.weights(), [1.0 / number] * number, generator=torch.Generator(), granularity="static",
          knows=bank.knows)  # fmt: skip
    answer = Answer(net.to(device).eval())
    return lambda image, generator: answer


def _ensemble(bank: Bank, settings: Adaptation, device: torch.device) -> Serve:
    nets = [bank.model(place).net for place in range(len(bank.experts))]
    answer = Answer(MergedNet(nets, bank.knows.tolist()).to(device).eval())
    return lambda image, generator: answer


def _batchnorm(bank: Bank, settings: Adaptation, device: torch.device) -> Serve:
    net = bank.model(_base(bank), device).net
    use_batch_statistics(net)

    def answer(image: Tensor, generator: torch.Generator) -> Answer:
        _settle(net, bank, image)
        return Answer(net)

    return answer


def _tent(bank: Bank, settings: Adaptation, device: torch.device) -> Serve:
    net = bank.model(_base(bank), device).net
    use_batch_statistics(net)
    norms = norm_parameters(net)
    first = [parameter.detach().clone() for parameter in norms]
    entropy = replace(settings, entropy=1.0, consistency=0.0, shape=0.0)

    def answer(image: Tensor, generator: torch.Generator) -> Answer:
        release(net)
        _restore(norms, first)
        groups = [(norms, settings.learning_rate)]
        adapt(net, groups, image, patch=bank.header.plan.patch, settings=entropy, generator=generator)
        _settle(net, bank, image)
        return Answer(net)

    return answer


def _routed(bank: Bank, settings: Adaptation, device: torch.device) -> Serve:
    net = bank.net()
    layers = route(
        net, bank.weights(), bank.shares, generator=torch.Generator().manual_seed(0), gate=settings.gate,
        granularity=settings.granularity, dropout=settings.dropout, base=bank.base, knows=bank.knows,
    )  # fmt: skip
    net.to(device).eval()
    use_batch_statistics(net)
    routers = [parameter for layer in layers.values() for parameter in layer.router.parameters()]
    norms = norm_parameters(net) if settings.norms else []
    first = [parameter.detach().clone() for parameter in (*routers, *norms)]

    def answer(image: Tensor, generator: torch.Generator) -> Answer:
        release(net)
        _restore((*routers, *norms), first)
        groups = [(routers, settings.router_rate), (norms, settings.learning_rate)]
        adapt(net, groups, image, patch=bank.header.plan.patch, settings=settings, generator=generator)
        _settle(net, bank, image)
        return Answer(net, layers)

    return answer


Way = Callable[[Bank, Adaptation, torch.device], Serve]
WAYS: Final[Mapping[str, Way]] = MappingProxyType(
    {
        "global": _global,
        "single": _single,
        "uniform": _uniform,
        "ensemble": _ensemble,
        "batchnorm": _batchnorm,
        "tent": _tent,
        "routed": _routed,
    }
)

FITTED: Final = frozenset({"single", "tent", "routed"})
"""The ways that heed the settings of adaptation."""
NEED_GLOBAL: Final = frozenset({"global", "batchnorm", "tent"})
"""The ways that need the global model."""
NEED_SEVERAL: Final = frozenset({"single", "uniform", "ensemble", "routed"})
"""The ways that need two or more models."""


def _settle(net: nn.Module, bank: Bank, image: Tensor) -> None:
    """Gates and batch statistics of the scan, from at most `_LOOKED_AT` windows spread over it."""
    windows = spread(image, bank.header.plan.patch, most=_LOOKED_AT)
    device = next(net.parameters()).device
    settle(net, (part.to(device) for part in windows.split(TOGETHER)))


def _base(bank: Bank) -> int:
    if bank.base is None:
        sources = ", ".join(expert.source for expert in bank.experts)
        raise UsageError(
            f"This way needs the global model, and the bank holds those of {sources} alone.",
            "Use routed, single, uniform or ensemble, or a study whose method publishes a global model.",
        )
    return bank.base


@torch.no_grad()
def _restore(parameters: "tuple[nn.Parameter, ...] | list[nn.Parameter]", values: list[Tensor]) -> None:
    for parameter, value in zip(parameters, values, strict=True):
        parameter.copy_(value)
