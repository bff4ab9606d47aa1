"""IOP-FL inside: each site's own model is a moving average of its local models along the global path.

Jiang et al., IOP-FL: Inside-Outside Personalization for Federated Medical Image Segmentation, IEEE TMI 2023.

    phi <- a · phi + (1 - a) · W_local          after each round, a = 0.1

The next round starts from the global model, never from phi, so personalization costs no traffic. The official
code keeps the live weights of a model that all sites share as the first phi; here phi is a copy of its own.
It also keeps the phi of the round that the site's validation cases like best; here that is `select_best`, and
by default the last round's phi counts, as the last round's model does for every other method.
"""

from __future__ import annotations

from typing import Final

from FedSegCore.methods.averaging import Averaging

METHOD = Averaging(personal=0.1, keep_optimizer=False)
"""A new optimizer each round, as in the official code."""

SCHEDULE: Final = "constant"
"""As in the official code. A rate that falls towards zero leaves the last local steps, which make phi personal,
without effect: on `hippo_shift` the personal models of twenty rounds of a cosine were the global one."""

OUTSIDE = ("global", "uniform", "tent", "batchnorm", "routed")
"""What a hospital outside the federation is scored with: routing over the published models, and its rivals."""
