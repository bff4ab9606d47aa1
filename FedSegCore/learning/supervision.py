"""FedMEPD's objective: the segmentation, every level's map and every modality alone are to be right.

    L = L_seg(fused) + Σ_l L_seg(map_l, enlarged) + Σ_m L_seg(modality m alone)

For the paper see `FedSegCore.methods.fedmepd`. L_seg is the study's loss over one sigmoid a structure, where the
paper has a weighted cross-entropy and a Dice loss over a softmax with background.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from FedSegCore.learning.losses import LOSSES
from FedSegCore.learning.precision import autocast
from FedSegCore.learning.train import Objective, Training
from FedSegCore.nets.multiencoder import MultiEncoderNet


def deep_supervision(training: Training) -> Objective:
    """The objective of a network of several encoders, over the modalities that it owns."""
    loss = LOSSES[training.loss]

    def objective(model: nn.Module, image: Tensor, target: Tensor, annotated: Tensor) -> Tensor:
        assert isinstance(model, MultiEncoderNet)
        with autocast(image.device, training.precision):
            outputs = model.outputs(image)
        sides = image.shape[2:]
        maps = [_enlarged(level.float(), sides) for level in outputs.maps]
        all_logits = [outputs.logits.float(), *maps, *(one.float() for one in outputs.separate.values())]
        return torch.stack([loss(logits, target, annotated) for logits in all_logits]).sum()

    return objective


def _enlarged(logits: Tensor, sides: torch.Size) -> Tensor:
    if logits.shape[2:] == sides:
        return logits
    return F.interpolate(logits, size=sides, mode="trilinear" if logits.ndim == 5 else "bilinear")
