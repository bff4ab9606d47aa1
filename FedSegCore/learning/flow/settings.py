"""The numbers of the learned intensity augmentation, `augment = "flow"`.

FlowGIN is a variant of our own and NOT "FedGIN as published", whose generator is random and learns nothing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, Literal, final, get_args

from FedSegCore.errors import StudyError, nearest

Mode = Literal["alternating", "spline"]

COUPLINGS: Final = 8
"""Coupling layers of the flow; part of what the variant is, so no setting."""


@final
@dataclass(frozen=True)
class FlowSettings:
    """How the flow is built, how a site trains it, and how its images are told apart.

    Attributes:
        mode: "alternating" affine couplings, or "spline" couplings that keep the order of intensities.
        width: features of the two hidden layers of each coupling's network.
        most_log_scale: bound of an affine coupling's log scale s.
        bins, tail: bins of a spline, and where its identity tails begin, in standard deviations.
        log_scale_spread, shift_spread, bend_range: first spreads of the style's a and b, and half range of q.
        nodes: nodes along u and m of the table that the map is interpolated from.
        training_nodes: the same in training, where the table is differentiated.
        warm_up: steps on the likelihood alone, once, before the first round's others.
        steps: generator and discriminator steps a round, one of each in turn.
        learning_rate, discriminator_rate: Adam's.
        images: patches that one round's training draws from.
        voxels: random voxels kept of each of them, for the likelihood; with `rows` = 2 a step sees 4096.
        dequantization: noise on these, in standard deviations. Without it the density of a plateau of equal
            voxels (air, clipped bone) is infinite, and the flow would spend all its stretch on that one value.
        crop_voxels: voxels of the crop kept of each of them, for the discriminator; 20 a side in 3-D, 90 in 2-D.
        rows: single-channel images in a step.
        adversary, gradients, difference: weights of L_adv, L_ngf and L_div beside L_nll.
        most_difference: mean change in standard deviations beyond which L_div asks for no more.
        quantiles: quantiles of each coordinate in an image's descriptor.
        kernel_width: σ of the similarity of descriptors, in latent units. The same at every site: a σ that
            followed the site's own distances would normalise away the size that it measures.
        most_images: e is measured on at most this many images; larger sites saturate there.
        described_voxels: foreground voxels that a descriptor is computed from.
    """

    mode: Mode = "alternating"
    width: int = 32
    most_log_scale: float = 1.0
    bins: int = 8
    tail: float = 5.0
    log_scale_spread: float = 0.3
    shift_spread: float = 0.3
    bend_range: float = 0.5
    nodes: tuple[int, int] = (96, 96)
    training_nodes: tuple[int, int] = (24, 24)
    warm_up: int = 200
    steps: int = 20
    learning_rate: float = 1e-3
    discriminator_rate: float = 2e-4
    images: int = 16
    voxels: int = 2048
    dequantization: float = 0.05
    crop_voxels: int = 8192
    rows: int = 2
    adversary: float = 0.1
    gradients: float = 1.0
    difference: float = 0.05
    most_difference: float = 0.2
    quantiles: int = 16
    kernel_width: float = 0.25 * math.sqrt(32)
    most_images: int = 512
    described_voxels: int = 4096

    def __post_init__(self) -> None:
        known = get_args(Mode)
        if self.mode not in known:
            raise StudyError(
                f'Expected a flow mode among {known}, got "{self.mode}".', nearest(str(self.mode), known)
            )
        if min(*self.nodes, *self.training_nodes) < 2 or self.kernel_width <= 0:
            raise StudyError(
                f"Expected 2 or more nodes along u and m and a positive kernel width, got {self.nodes}, "
                f"{self.training_nodes} and {self.kernel_width}.",
                "Leave them out for the defaults.",
            )
