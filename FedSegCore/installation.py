"""What FedSeg runs on: the packages that it needs, and the device that it will compute on."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from importlib import metadata
from typing import Any, Final

REQUIRED: Final[Mapping[str, str]] = {
    "torch": "2.6",
    "monai": "1.5",
    "nibabel": "5.3",
    "numpy": "2.0",
    "SimpleITK": "2.4",
    "requests": "2.32",
    "safetensors": "0.5",
    "scipy": "1.13",
    "matplotlib": "3.9",
    "jaxtyping": "0.3",
}
"""The packages, each with the lowest version that serves; pyproject.toml says the same to pip."""


def describe_installation() -> dict[str, Any]:
    """Versions, what is missing or too old, and the device of `--device auto`; torch is imported if it is there.

    3D Slicer ships FedSegCore as a folder beside its module, so that no installer has seen to its packages.
    """
    versions = {name: _version(name) for name in REQUIRED}
    lacking = [f"{name}>={low}" for name, low in REQUIRED.items() if not _serves(versions[name], low)]
    return {
        "kind": "installation",
        "python": platform.python_version(),
        "packages": versions,
        "lacking": lacking,
        "device": None if versions["torch"] is None else _device(),
    }


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _serves(version: str | None, low: str) -> bool:
    return version is not None and _numbers(version) >= _numbers(low)


def _numbers(version: str) -> tuple[int, ...]:
    """The release's leading numbers: 2.13.0+cpu is (2, 13)."""
    numbers: list[int] = []
    for part in version.split(".")[:2]:
        digits = "".join(letter for letter in part if letter.isdigit())
        numbers.append(int(digits or 0))
    return tuple(numbers)


def _device() -> str:
    import torch

    if not torch.cuda.is_available():
        return f"cpu ({torch.get_num_threads()} threads)"
    return f"cuda ({torch.cuda.get_device_name(0)})"
