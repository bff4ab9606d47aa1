"""Which tensor of a network belongs to which part, and which belong to norm layers.

Parts are found by name (a network's children), layers by type, weights by their key in `state_dict()`.
Nothing here looks for a substring in a key.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from torch import nn
from torch.nn.modules.batchnorm import _NormBase

from FedSegCore.errors import StudyError, nearest

PARTS: Final = ("encoder", "decoder", "head")
OPTIONAL_PARTS: Final = ("attention", "auxiliary")
"""What a network of several encoders has besides."""
PRIVATE_TOKENS: Final = ("norm", *PARTS, *OPTIONAL_PARTS)

# _NormBase is the base of torch's batch norms (synchronised too) and of its instance norms.
_NORM_TYPES: Final = (_NormBase, nn.GroupNorm, nn.LayerNorm)


def part_of(net: nn.Module) -> dict[str, str]:
    """The part ("encoder", "decoder", "head", ...) of every key of `net.state_dict()`, in its order.

    Raises:
        ValueError: the network holds tensors outside its named parts, or lacks one of the three.
    """
    parts = dict(net.named_children())
    missing = [part for part in PARTS if part not in parts]
    known = [part for part in (*PARTS, *OPTIONAL_PARTS) if part in parts]
    by_key = {key: part for part in known for key in parts[part].state_dict(prefix=f"{part}.")}
    strays = [key for key in net.state_dict() if key not in by_key]
    if missing or strays:
        raise ValueError(f"a network is made of {PARTS}: missing {missing}, tensors elsewhere {strays}")
    return {key: by_key[key] for key in net.state_dict()}


def is_norm(module: nn.Module) -> bool:
    """Whether a layer normalises."""
    return isinstance(module, _NORM_TYPES)


def norm_keys(net: nn.Module) -> frozenset[str]:
    """Keys of all parameters AND buffers of the norm layers: scale, shift, running statistics, counters."""
    keys: set[str] = set()
    for name, module in net.named_modules():
        if is_norm(module):
            keys.update(module.state_dict(prefix=f"{name}." if name else ""))
    return frozenset(keys)


def private_keys(net: nn.Module, private: Sequence[str]) -> frozenset[str]:
    """Keys of the tensors that stay at a site.

    Args:
        net: a network in named parts.
        private: "norm" and the names of parts; their union is meant, and a part that the net lacks is nothing.

    Raises:
        StudyError: an unknown token, with the nearest known one.
    """
    for token in private:
        if token not in PRIVATE_TOKENS:
            raise StudyError(
                f'Expected private parts among {PRIVATE_TOKENS}, got "{token}".',
                nearest(str(token), PRIVATE_TOKENS),
            )
    chosen = {key for key, part in part_of(net).items() if part in private}
    return frozenset(chosen | norm_keys(net)) if "norm" in private else frozenset(chosen)
