"""The methods by name, and a study's `[method_options]` laid over the paper's defaults."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Final, Literal, get_type_hints

from FedSegCore.errors import StudyError, nearest
from FedSegCore.methods import fedgin, iopfl, segviz
from FedSegCore.methods.averaging import EVERYTHING, Averaging
from FedSegCore.tables import coerce

Norm = Literal["instance", "batch"]


@dataclass(frozen=True)
class Named:
    """A method under the name that a study gives it.

    Args:
        method: its two halves.
        augment: the intensity augmentation it asks for.
        norm: the norm layers that it is built for.
        pooled: whether it trains on all members' cases at once (`central`), which no hospital could.
        own: what a site's own model is called in the scores: `personal`, or `local` where nothing is shared.
        masked: whether structures that a case's site did not annotate are left out of the loss; only
            `central` may count them as background instead.
    """

    name: str
    method: Averaging
    augment: str = "none"
    norm: Norm = "instance"
    pooled: bool = False
    own: Literal["personal", "local"] = "personal"
    masked: bool = True


METHODS: Final[Mapping[str, Named]] = {
    entry.name: entry
    for entry in (
        Named("fedavg", Averaging()),
        Named("fedprox", Averaging(proximal=0.01)),
        Named("fedbn", Averaging(private=("norm",)), norm="batch"),
        Named("fedper", Averaging(private=("head",))),
        Named("ditto", Averaging(ditto=0.1)),
        Named("local", Averaging(private=EVERYTHING), own="local"),
        Named("central", Averaging(), pooled=True),
        Named("fedgin", fedgin.METHOD, augment=fedgin.AUGMENT),
        Named("iopfl", iopfl.METHOD),
        Named("segviz", segviz.METHOD, norm="batch"),
    )
}

_ALIASES: Final = {"mu": "proximal", "lambda": "ditto"}


def method_names() -> tuple[str, ...]:
    """Every name that a study may give."""
    return tuple(METHODS)


def named(name: str, options: Mapping[str, Any]) -> Named:
    """The method called `name` with a study's options.

    Options hold for every federated method of the study; those in a table of a method's own name
    (`[method_options.ditto]`) for that one alone. `masked` concerns `central` and `form` concerns `segviz`;
    the other options are the averaging family's ingredients.

    Raises:
        StudyError: an unknown method or option (names the nearest), or an option of the wrong type.
    """
    if name not in METHODS:
        raise StudyError(f'Unknown method "{name}".', nearest(name, METHODS))
    entry = METHODS[name]
    hints = {key: hint for key, hint in get_type_hints(Averaging).items() if key in _ingredients()}
    method, masked = entry.method, entry.masked
    for key, value in _options_of(name, options).items():
        where = f'"{key}" in [method_options]'
        field = _ALIASES.get(key, key)
        if key == "masked":
            masked = coerce(value, bool, where) or not entry.pooled
        elif key == "form":
            form = coerce(value, Literal["heads", "masked"], where)
            method = segviz.with_form(method, form) if heeds(name, key) else method
        elif field in hints:
            ingredient = {field: coerce(value, hints[field], where)}
            method = replace(method, **ingredient) if heeds(name, key) else method
        else:
            raise StudyError(
                f'Unknown key "{key}" in [method_options].',
                nearest(key, [*hints, *_ALIASES, "masked", "form", *METHODS]),
            )
    return replace(entry, method=method, masked=masked)


def heeds(name: str, key: str) -> bool:
    """Whether an option changes anything for a method; the baselines have no ingredients of federation."""
    entry = METHODS[name]
    if key in ("masked", "form"):
        return entry.pooled if key == "masked" else name == "segviz"
    return not entry.pooled and entry.own != "local"


def _options_of(name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """The common options with the method's own laid over them."""
    common = {key: value for key, value in options.items() if key not in METHODS}
    own = options.get(name, {})
    if not isinstance(own, Mapping):
        raise StudyError(
            f'"{name}" in [method_options] must be a table, got {own!r}.', f"Write [method_options.{name}]."
        )
    return {**common, **own}


def _ingredients() -> frozenset[str]:
    return frozenset(field.name for field in fields(Averaging))
