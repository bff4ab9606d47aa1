"""Whether a study's training fits into this machine's memory, said before the cases are read."""

from __future__ import annotations

from collections.abc import Iterable

import torch

from FedSegCore.data.casefiles import IN_MEMORY
from FedSegCore.federation.rounds import Emit
from FedSegCore.learning.memory import PROGRAM, Cost, cost_of, free_memory
from FedSegCore.learning.precision import settled
from FedSegCore.methods.registry import Named
from FedSegCore.nets.multiencoder import MultiEncoderNet
from FedSegCore.nets.network import Network
from FedSegCore.nets.unet import build
from FedSegCore.setting import Setting


def tell_of_memory(
    setting: Setting, entries: Iterable[Named], *, device: torch.device, workers: int, emit: Emit
) -> None:
    """Warn where training will hardly fit, with a patch that will.

    It is an estimate, so that nothing is refused for it.

    Args:
        workers: how many sites train at once.
    """
    free = free_memory(device)
    if free is None:
        return
    plan, batch = setting.plan, setting.study.train.batch(setting.plan.dims)
    kind = setting.study.network.kind
    networks = {entry.settle(setting.network(entry.norm), kind=kind) for entry in entries}
    costs = {network: _cost(setting, network, device) for network in networks}
    network = max(networks, key=lambda one: costs[one].of(plan.patch, batch))
    step, around = costs[network].of(plan.patch, batch), 0
    if device.type != "cuda":
        around = workers * PROGRAM + min(setting.prepared_bytes, IN_MEMORY)
    needed = around + workers * step
    if needed <= free:
        return
    within = (free - around) // workers
    patch = costs[network].largest_patch(plan.patch, batch, divisor=network.divisor, within=within)
    takes = f"Training with patch = {list(plan.patch)} takes about {_gib(needed)} of memory"
    less = ", or fewer workers" if workers > 1 else ""
    fix = f"Give [plan] patch = {list(patch)}, which fits{less}." if patch else f"Close other programs{less}."
    emit("warning", message=f"{takes}, and {_gib(free)} are free.", fix=fix)


def _cost(setting: Setting, network: Network, device: torch.device) -> Cost:
    plan, inputs, outputs = setting.plan, len(setting.inputs), len(setting.labels)
    net = build(network, dims=plan.dims, in_channels=inputs, out_channels=outputs,
                generator=torch.Generator(), modalities=setting.channel_modalities)  # fmt: skip
    if isinstance(net, MultiEncoderNet):
        net.calibrated = network.anchors > 0  # on `meta` it cannot see whether it has any
    precision = settled(setting.study.train.precision, device)
    return cost_of(net.to("meta"), inputs=inputs, outputs=outputs, patch=plan.patch, precision=precision)


def _gib(number: int) -> str:
    return f"{number / 2**30:.1f} GiB"
