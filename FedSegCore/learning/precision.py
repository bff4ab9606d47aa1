"""The number type of a forward pass; weights, losses and optimizer stay float32."""

from __future__ import annotations

from typing import Literal

import torch

Precision = Literal["float32", "bfloat16"]


def autocast(device: torch.device, precision: Precision) -> torch.autocast:
    """The context of a forward pass; bfloat16 halves traffic and runs on the matrix units of CPU and GPU.

    torch's `meta` device knows no autocast and computes nothing, so there it is left out.
    """
    where = "cpu" if device.type == "meta" else device.type
    lower = precision == "bfloat16" and device.type != "meta"
    return torch.autocast(where, dtype=torch.bfloat16, enabled=lower)
