"""The number type of a forward pass; weights, losses and optimizer stay float32."""

from __future__ import annotations

from typing import Literal

import torch

Precision = Literal["auto", "float32", "bfloat16"]


def settled(precision: Precision, device: torch.device) -> Literal["float32", "bfloat16"]:
    """What `auto` means here: bfloat16 where the device computes in it, float32 where it would only emulate it."""
    if precision != "auto":
        return precision
    if device.type == "cuda":
        return "bfloat16" if torch.cuda.is_bf16_supported() else "float32"
    return "bfloat16" if torch.cpu.get_capabilities().get("avx512_bf16") else "float32"


def autocast(device: torch.device, precision: Precision) -> torch.autocast:
    """The context of a forward pass; bfloat16 halves traffic and runs on the matrix units of CPU and GPU.

    torch's `meta` device knows no autocast and computes nothing, so there it is left out.
    """
    where = "cpu" if device.type == "meta" else device.type
    lower = device.type != "meta" and settled(precision, device) == "bfloat16"
    return torch.autocast(where, dtype=torch.bfloat16, enabled=lower)
