"""FedGIN: CT and MR sites train one model; random intensity networks make each site's images look like any.

FedGIN, federated learning with dynamic global intensity non-linear augmentation for organ segmentation with
multi-modal images, arXiv:2508.05137. The augmentation is Ouyang et al., Causality-inspired single-source
domain generalization for medical image segmentation, IEEE TMI 2022; see `learning.gin`.

The method is federated averaging of everything; the augmentation is local, has no state and sends nothing.
Departures from the official code: fresh kernels for each image, not for each batch; applied to a share of the
images (`augment_probability`), so that the model also sees what it will be used on; Dice and cross-entropy as in
every other method, so that a comparison is one of augmentation alone (the paper's loss is `loss = "dice_focal"`).
"""

from __future__ import annotations

from FedSegCore.methods.averaging import Averaging

AUGMENT = "gin"
"""The intensity augmentation that a study gets unless its `[train]` says otherwise."""

METHOD = Averaging(weighting="cases", keep_optimizer=True)
"""Moments survive the download (section 1.5 of the official configuration)."""
