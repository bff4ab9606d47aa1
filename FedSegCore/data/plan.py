"""What every site does to an image before the network sees it, and how a prediction finds its way back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, asdict, dataclass, field, fields
from typing import TYPE_CHECKING, Any, final

import numpy as np

from FedSegCore.data.geometry import Geometry, orient, plan_geometry, resample, resample_image, unorient
from FedSegCore.data.intensity import CT_WINDOW, DEFAULT_INTENSITY, finite_number
from FedSegCore.data.intensity import Intensity as Intensity
from FedSegCore.data.volume import Volume, same_grid
from FedSegCore.errors import DataError, StudyError, nearest

if TYPE_CHECKING:
    from jaxtyping import Bool, Float32, UInt8


@final
@dataclass(frozen=True, eq=False)
class Prepared:
    """One case on the network's grid.

    Args:
        image: float32 (C, X', Y', Z').
        geometry: the way back.
    """

    image: np.ndarray
    geometry: Geometry


@final
@dataclass(frozen=True)
class Plan:
    """The preparation that all sites of a study share.

    Args:
        dims: 2 (a volume is a stack of slices along its third prepared axis, which is left alone) or 3.
        orientation: where the prepared axes point.
        spacing_mm: one per dimension; None keeps each image's own.
        patch: the network's training patch in voxels, one number per dimension.
        intensity: modality -> rule, where the default does not serve.

    Raises:
        StudyError: a value of the wrong kind or number.
    """

    dims: int
    _: KW_ONLY
    orientation: str = "RAS"
    spacing_mm: tuple[float, ...] | None = None
    patch: tuple[int, ...]
    intensity: Mapping[str, Intensity] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        if self.dims not in (2, 3) or isinstance(self.dims, bool):
            raise StudyError(f"The plan's `dims` must be 2 or 3; it is {self.dims!r}.")
        _check_orientation(self.orientation)
        if self.spacing_mm is not None:
            spacing = tuple(finite_number(s, "The plan's `spacing_mm`") for s in self._per_axis("spacing_mm"))
            if min(spacing) <= 0.0:
                raise StudyError(f"The plan's `spacing_mm` must be positive; it is {list(spacing)}.")
            object.__setattr__(self, "spacing_mm", spacing)
        patch = self._per_axis("patch")
        if any(not isinstance(n, int) or isinstance(n, bool) or n < 1 for n in patch):
            raise StudyError(f"The plan's `patch` must be whole numbers of voxels; it is {list(patch)}.")
        object.__setattr__(self, "patch", tuple(patch))
        if not isinstance(self.intensity, Mapping):
            raise StudyError("The plan's `intensity` must map modalities to rules.", _INTENSITY_FIX)
        object.__setattr__(self, "intensity", dict(self.intensity))

    def _per_axis(self, name: str) -> Sequence[Any]:
        values = getattr(self, name)
        if not isinstance(values, list | tuple) or len(values) != self.dims:
            raise StudyError(f"The plan's `{name}` must list {self.dims} numbers (`dims`); it is {values!r}.")
        return values

    def rule(self, modality: str) -> Intensity:
        """The intensity rule of a modality: its own, else a soft-tissue window for CT, else a z-score."""
        own = self.intensity.get(modality)
        if own is not None:
            return own
        return CT_WINDOW if modality.upper() == "CT" else DEFAULT_INTENSITY

    def to_dict(self) -> dict[str, Any]:
        """JSON-able; `Plan.from_dict` gives back an equal plan."""
        return {
            "dims": self.dims,
            "orientation": self.orientation,
            "spacing_mm": None if self.spacing_mm is None else list(self.spacing_mm),
            "patch": list(self.patch),
            "intensity": {modality: asdict(rule) for modality, rule in self.intensity.items()},
        }

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> Plan:
        """Reads a plan from JSON or TOML.

        Raises:
            StudyError: an unknown or missing key, or a value of the wrong kind.
        """
        _check_keys(raw, cls, required=("dims", "patch"), what="plan")
        intensity = raw.get("intensity", {})
        if not isinstance(intensity, Mapping):
            raise StudyError("The plan's `intensity` must map modalities to rules.", _INTENSITY_FIX)
        return cls(**{**raw, "intensity": {name: _intensity(name, rule) for name, rule in intensity.items()}})

    def geometry(self, shape: tuple[int, int, int], affine: np.ndarray) -> Geometry:
        """How an image on this grid is turned and resampled; needs no voxels."""
        spacing: list[float | None] = [*(self.spacing_mm or [None] * self.dims)]
        spacing += [None] * (3 - self.dims)
        return plan_geometry(shape, affine, orientation=self.orientation, spacing_mm=spacing)

    def prepare(self, volumes: Sequence[Volume], modalities: Sequence[str]) -> Prepared:
        """Brings a case's channels onto the network's grid: intensity, orientation, spacing, in this order.

        Args:
            volumes: C images on one grid.
            modalities: how each was acquired.

        Raises:
            DataError: the channels' grids differ, or an image holds NaN or infinite values.
        """
        first = volumes[0]
        for volume, modality in zip(volumes, modalities, strict=True):
            _check_channel(volume, first, modality=modality)
        geometry = self.geometry(first.shape, first.affine)
        image = np.empty((len(volumes), *geometry.prepared_shape), dtype=np.float32)
        for channel, volume, modality in zip(image, volumes, modalities, strict=True):
            turned = orient(self.rule(modality).apply(volume.array), geometry)
            channel[...] = resample_image(turned, geometry.prepared_shape)
        return Prepared(image, geometry)

    def prepare_target(
        self, label: Bool[np.ndarray, "l x y z"], geometry: Geometry
    ) -> UInt8[np.ndarray, "l u v w"]:
        """Brings L masks onto the prepared grid: each resampled linearly, then > 0.5.

        Without resampling the masks stay exact.

        Raises:
            DataError: the masks are not on the grid that the geometry was made for.
        """
        if label.shape[1:] != geometry.shape:
            raise DataError(
                f"The label map has {label.shape[1:]} voxels, its image {geometry.shape}.", _GRID_FIX
            )
        target = np.empty((label.shape[0], *geometry.prepared_shape), dtype=np.uint8)
        for channel, mask in zip(target, label, strict=True):
            resampled = resample(orient(mask.astype(np.float32), geometry), geometry.prepared_shape)
            channel[...] = resampled > 0.5
        return target


_INTENSITY_FIX = 'Write `intensity = {CT = {rule = "window", lower = -160, upper = 240}}`.'
_GRID_FIX = "Resample them onto one grid; `fedseg check` lists all such files."


def undo(probabilities: Float32[np.ndarray, "l u v w"], geometry: Geometry) -> Float32[np.ndarray, "l x y z"]:
    """Brings L maps from the prepared grid back to the file's: resampled linearly, turned back exactly.

    Raises:
        DataError: the maps are not on the prepared grid.
    """
    if probabilities.shape[1:] != geometry.prepared_shape:
        raise DataError(f"Maps of {geometry.prepared_shape} voxels expected, {probabilities.shape[1:]} came.")
    back = resample(np.asarray(probabilities, dtype=np.float32), geometry.oriented_shape)
    return np.ascontiguousarray(unorient(back, geometry))


def _check_channel(volume: Volume, first: Volume, *, modality: str) -> None:
    if not same_grid(volume.shape, volume.affine, other_shape=first.shape, other_affine=first.affine):
        raise DataError(
            f"The {modality} image's grid ({volume.shape}) is not that of the case's first ({first.shape}).",
            _GRID_FIX,
        )
    with np.errstate(over="ignore"):
        planes = (plane.astype(np.float32, copy=False) for plane in volume.array)
        finite = volume.array.dtype.kind in "biu" or all(np.isfinite(plane).all() for plane in planes)
    if not finite:
        raise DataError(
            f"The {modality} image contains NaN or infinite values.", "Replace them, or leave the case out."
        )


def _check_orientation(orientation: object) -> None:
    pairs = ("LR", "PA", "IS")
    letters = orientation if isinstance(orientation, str) else ""
    if len(letters) != 3 or any(sum(letter in pair for letter in letters) != 1 for pair in pairs):
        raise StudyError(
            f"The plan's `orientation` must be a letter each of L/R, P/A and I/S; it is {orientation!r}.",
            'Leave it out, or write "RAS".',
        )


def _check_keys(raw: Mapping[str, Any], kind: type, *, required: Sequence[str], what: str) -> None:
    if not isinstance(raw, Mapping):
        raise StudyError(f"The {what} must be a table of keys and values; it is {raw!r}.")
    known = [one.name for one in fields(kind)]
    for key in raw:
        if key not in known:
            raise StudyError(f'The {what} has an unknown key "{key}".', nearest(key, known))
    for key in required:
        if key not in raw:
            raise StudyError(f"The {what} needs `{key}`.")


def _intensity(modality: str, raw: object) -> Intensity:
    if isinstance(raw, Intensity):
        return raw
    if not isinstance(raw, Mapping):
        raise StudyError(
            f"The plan's intensity for {modality} must be a table; it is {raw!r}.", _INTENSITY_FIX
        )
    _check_keys(raw, Intensity, required=("rule", "lower", "upper"), what=f"intensity rule for {modality}")
    return Intensity(**raw)
