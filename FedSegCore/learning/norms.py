"""Batch-norm statistics measured anew on clean images."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from FedSegCore.data.batches import Batches


def recalibrate_norms(model: nn.Module, batches: Batches, *, generator: torch.Generator) -> None:
    """Replace running means and variances by those of one epoch without augmentation.

    Augmented images shift batch norm's statistics away from those of the images that the model is used on.
    A cumulative average over the epoch replaces the exponential one; layers without statistics are untouched.
    """
    norms = [
        module for module in model.modules() if isinstance(module, _BatchNorm) and module.track_running_stats
    ]
    if not norms:
        return
    momenta = [norm.momentum for norm in norms]
    device = next(model.parameters()).device
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
    model.train()
    with torch.no_grad():
        for batch in batches.epoch(generator):
            model(batch.to(device).image)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    model.eval()
