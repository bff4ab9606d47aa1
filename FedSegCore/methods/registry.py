"""The methods by name, and a study's `[method_options]` laid over the paper's defaults.

A study may run a method more than once, each time in another way: a table of `[method_options]` under a name of
its own says which method it is `like`, and what differs.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Final, Literal, get_type_hints

from FedSegCore.errors import StudyError, nearest
from FedSegCore.learning.train import Training
from FedSegCore.methods import fedgin, iopfl, segviz
from FedSegCore.methods.averaging import EVERYTHING, Averaging
from FedSegCore.methods.fedmepd import FedMEPD
from FedSegCore.nets.network import Network
from FedSegCore.tables import coerce

Norm = Literal["instance", "batch"]


@dataclass(frozen=True)
class Named:
    """A method under the name that a study gives it.

    Args:
        method: its two halves.
        augment: the intensity augmentation it asks for.
        norm: the norm layers that it is built for.
        schedule: how its learning rate goes on after the warm-up.
        pooled: whether it trains on all members' cases at once (`central`), which no hospital could.
        own: what a site's own model is called in the scores: `personal`, or `local` where nothing is shared.
        masked: whether structures that a case's site did not annotate are left out of the loss; only
            `central` may count them as background instead.
        training: keys of the study's `[train]` that are its own: those of intensity augmentation.
        outside: what outside sites are scored with unless the study says otherwise.
        at_server: whether it trains on the cases of the site that is the server; pooled, on no others.
    """

    name: str
    method: Averaging | FedMEPD
    augment: str = "none"
    norm: Norm = "instance"
    schedule: Literal["cosine", "constant"] = "cosine"
    pooled: bool = False
    own: Literal["personal", "local"] = "personal"
    masked: bool = True
    training: Mapping[str, Any] = field(default_factory=dict)
    outside: tuple[str, ...] = ("global",)
    at_server: bool = False

    def settle(self, network: Network, *, kind: str | None) -> Network:
        """The network that it trains, from the study's.

        `kind = "multiencoder"` in a study holds for FedMEPD and for what is trained at one place, so that they can
        be compared; averaging an encoder over sites that do not own its modality makes no sense.
        """
        if isinstance(self.method, FedMEPD):
            return self.method.network(network)
        alone = self.pooled or self.own == "local"
        return replace(network, kind="multiencoder") if kind == "multiencoder" and alone else network


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
        Named("server", Averaging(), pooled=True, at_server=True),
        Named("fedgin", fedgin.METHOD, augment=fedgin.AUGMENT),
        Named("iopfl", iopfl.METHOD, schedule=iopfl.SCHEDULE, outside=iopfl.OUTSIDE),
        Named("segviz", segviz.METHOD, norm="batch"),
        Named("fedmepd", FedMEPD(), at_server=True),
    )
}

_ALIASES: Final = {"mu": "proximal", "lambda": "ditto"}
_AUGMENTATION: Final = ("augment", "augment_probability", "gin_kernels", "gin_balance", "flow_mode")
LIKE: Final = "like"
"""The key that makes a table of `[method_options]` a method of the study's own naming."""


def method_names() -> tuple[str, ...]:
    """Every name that a study may give."""
    return tuple(METHODS)


def named(name: str, options: Mapping[str, Any]) -> Named:
    """The method called `name` with a study's options.

    Options hold for every federated method of the study; those in a table of a method's own name
    (`[method_options.ditto]`) for that one alone. `masked` concerns `central` and `form` concerns `segviz`;
    a table may also have its own intensity augmentation; the other options are the averaging family's ingredients.

    Raises:
        StudyError: an unknown method or option (names the nearest), or an option of the wrong type.
    """
    base = base_of(name, options)
    entry = METHODS[base]
    hints = _ingredients(type(entry.method))
    method, masked, training = entry.method, entry.masked, {}
    for key, value in _options_of(name, options).items():
        where = f'"{key}" in [method_options]'
        ingredient = _ALIASES.get(key, key)
        if key == "masked":
            masked = coerce(value, bool, where) or not entry.pooled
        elif key == "form":
            form = coerce(value, Literal["heads", "masked"], where)
            if heeds(base, key) and isinstance(method, Averaging):
                method = segviz.with_form(method, form)
        elif key in _AUGMENTATION:
            training[key] = coerce(value, get_type_hints(Training)[key], where)
        elif ingredient in hints:
            changed = {ingredient: coerce(value, hints[ingredient], where)}
            method = replace(method, **changed) if heeds(base, key) else method
        elif ingredient not in {**_ingredients(Averaging), **_ingredients(FedMEPD)}:
            known = [
                *_ingredients(Averaging),
                *_ingredients(FedMEPD),
                *_ALIASES,
                "masked",
                "form",
                *_AUGMENTATION,
                *METHODS,
            ]
            raise StudyError(f'Unknown key "{key}" in [method_options].', nearest(key, known))
    Training(**training)  # refuses values that do not fit
    return replace(entry, name=name, method=method, masked=masked, training=training)


def base_of(name: str, options: Mapping[str, Any]) -> str:
    """The method that a study's name for one stands for: itself, or the one that its table is `like`.

    Raises:
        StudyError: there is no such method, or the name does not do for a folder.
    """
    own = options.get(name)
    base = own.get(LIKE, name) if isinstance(own, Mapping) else name
    if not isinstance(base, str) or base not in METHODS:
        raise StudyError(f'Unknown method "{base}".', nearest(str(base), METHODS))
    if name in METHODS and base != name:
        raise StudyError(
            f"[method_options.{name}] is like {base}, but {name} is a method of its own.",
            f'Give the table another name, such as "{base}+gin".',
        )
    if not re.fullmatch(r"\w[\w+.-]*", name):
        raise StudyError(
            f'A method cannot be called "{name}".', "Use letters, digits, dots, plus signs, hyphens and _."
        )
    return base


def heeds(base: str, key: str) -> bool:
    """Whether an option changes anything for a method; the baselines have no ingredients of federation."""
    entry = METHODS[base]
    if key in _AUGMENTATION:
        return True
    if key in ("masked", "form"):
        return entry.pooled if key == "masked" else base == "segviz"
    if _ALIASES.get(key, key) not in _ingredients(type(entry.method)):
        return False
    return not entry.pooled and entry.own != "local"


def _options_of(name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """The common options with the method's own laid over them."""
    for key, value in options.items():
        if isinstance(value, Mapping):
            base_of(key, options)  # refuses a table of nobody
    common = {
        key: value for key, value in options.items() if key not in METHODS and not isinstance(value, Mapping)
    }
    for key in _AUGMENTATION:
        if key in common:
            raise StudyError(
                f'"{key}" in [method_options] would hold for all methods.',
                "Write it in [train], or in the table of one method, [method_options.NAME].",
            )
    own = options.get(name, {})
    if not isinstance(own, Mapping):
        raise StudyError(
            f'"{name}" in [method_options] must be a table, got {own!r}.', f"Write [method_options.{name}]."
        )
    return {**common, **{key: value for key, value in own.items() if key != LIKE}}


def _ingredients(kind: type[Averaging] | type[FedMEPD]) -> dict[str, Any]:
    """The fields of a method and their types."""
    hints = get_type_hints(kind)
    return {field.name: hints[field.name] for field in fields(kind)}
