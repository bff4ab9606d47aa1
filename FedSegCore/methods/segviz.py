"""SegViz: sites that annotate different structures train one trunk; heads and norm layers stay private.

Kanhere et al., SegViz: A federated-learning based framework for multi-organ segmentation on heterogeneous
data sets with partial annotations, arXiv:2301.07074; CVPR Workshops 2024.

`form = "heads"`: head and norm layers stay at the site until the study ends; then each site gives them away
once and the published model is the trunk with one set a site, whose outputs are averaged for each structure
over the sites that annotate it. `form = "masked"`: one head whose rows are averaged over the sites that
annotate the row's structure; only norm layers stay private.

Departures from the official code: weights are averaged by name, so every tensor lands under its own (the
published notebooks zip lists of different lengths, and one never writes the mean back); the study's epochs a round
instead of ten.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from FedSegCore.methods.averaging import Averaging, Private

METHOD = Averaging(private=("norm", "head"), weighting="uniform", publish_private=True)


def with_form(method: Averaging, form: Literal["heads", "masked"]) -> Averaging:
    """The same method with private heads, or with one masked head."""
    private: tuple[Private, ...] = tuple(part for part in method.private if part != "head")
    return replace(method, private=(*private, "head") if form == "heads" else private)
