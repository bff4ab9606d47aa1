"""Keys of a study that change nothing or name what it does not make: most likely a slip, so they are refused."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from FedSegCore.errors import StudyError, nearest
from FedSegCore.learning.augment import WITH_FLOW
from FedSegCore.learning.train import Training
from FedSegCore.methods.averaging import Averaging
from FedSegCore.methods.fedmepd import FedMEPD
from FedSegCore.methods.registry import LIKE, METHODS, Named, base_of, heeds, named


def refuse_idle(
    methods: tuple[str, ...], options: Mapping[str, Any], *, norm: str | None, training: Training
) -> None:
    """See that every method option and every key of augmentation reaches a method of the study.

    Args:
        methods: the methods that the study runs.
        options: its `[method_options]`.
        norm: the norm that its `[network]` gives; none: each method's own.
        training: its `[train]`.

    Raises:
        StudyError: a table of a method that is not run, an option that no method of the study heeds,
            `recalibrate` where there is no batch norm, keys of "gin" where nothing is augmented so.
    """
    for key, value in options.items():
        if key in METHODS or isinstance(value, Mapping):
            _check_own(key, value, methods, base_of(key, options))
        elif not any(heeds(base_of(name, options), key) for name in methods):
            raise _idle(f'"{key}" in [method_options]', methods)
    entries = [named(name, options) for name in methods]
    _check_recalibration(entries, norm)
    _check_augmentation(entries, training)


def refuse_unknown_baseline(baseline: str, methods: tuple[str, ...], options: Mapping[str, Any]) -> None:
    """See that the report can compare with the baseline that a study names.

    Raises:
        StudyError: no method of the study makes a model of that name; names the nearest.
    """
    made = {name: models_of(named(name, options)) for name in methods}
    known = [*methods, *(f"{name}/{model}" for name in methods for model in made[name] if model != name)]
    if baseline not in known:
        of_method = [name for name in known if name.split("/")[0] == baseline.split("/")[0]]
        raise StudyError(
            f'The study makes no model "{baseline}" to be its baseline.',
            nearest(baseline, of_method or known),
        )


def refuse_unserved(entries: Sequence[Named], *, kind: str | None, servers: Sequence[str]) -> None:
    """See that what trains at the server has one, that a server's cases are used, and that networks fit methods.

    Raises:
        StudyError: names the method or the site.
    """
    serving = [entry.name for entry in entries if entry.at_server]
    if serving and len(servers) != 1:
        raise StudyError(
            f"{serving[0]} trains at the server on cases of all modalities, and the study gives "
            f"{'no site' if not servers else ' and '.join(servers)} that role.",
            'Give one site role = "server", whose cases have all modalities and structures.',
        )
    if servers and not serving:
        raise StudyError(
            f'Site {servers[0]} has role = "server", but no method of the study trains at the server.',
            'Give it role = "member" or "outside", or run fedmepd.',
        )
    for entry in entries:
        if kind == "unet" and isinstance(entry.method, FedMEPD):
            raise StudyError(
                f'{entry.name} has one encoder for each modality, and [network] has kind = "unet".',
                "Leave the kind out.",
            )


def models_of(entry: Named) -> tuple[str, ...]:
    """What the scores call the models that a method makes."""
    if entry.pooled:
        return ("central",)
    if entry.own == "local":
        return ("local",)
    if isinstance(entry.method, FedMEPD):
        return ("global", "personal")
    whole = not entry.method.private or entry.method.publish_private
    return ("global",) * whole + ("personal",) * entry.method.personalizes


def _check_own(name: str, options: Mapping[str, Any], methods: tuple[str, ...], base: str) -> None:
    if name not in methods:
        raise StudyError(
            f"[method_options.{name}] is given, but the study does not run {name}.", nearest(name, methods)
        )
    for key in options:
        if key != LIKE and not heeds(base, key):
            raise _idle(f'"{key}" in [method_options.{name}]', (name,))


_AUGMENTED_BY: Final = {
    "augment_probability": ("gin", "flow", "gin+flow", "classic"),
    "gin_kernels": ("gin", "gin+flow"),
    "gin_balance": ("gin", "gin+flow"),
    "flow_mode": ("flow", "gin+flow"),
}
"""Which kinds of augmentation heed a key."""


def unused_augmentation(entries: Sequence[Named], training: Training) -> frozenset[str]:
    """The keys of augmentation that no row heeds; a report does not tell of them."""
    kinds = set(_augmented(entries, training).values())
    return frozenset(key for key, heeded_by in _AUGMENTED_BY.items() if kinds.isdisjoint(heeded_by))


def _augmented(entries: Sequence[Named], training: Training) -> dict[str, str | None]:
    """The kind of augmentation of each row."""
    return {
        entry.name: entry.training.get("augment") or training.augment or entry.augment for entry in entries
    }


def _check_augmentation(entries: Sequence[Named], training: Training) -> None:
    """The keys of augmentation are of use where there is some, the random networks' where it is "gin"."""
    augmented = _augmented(entries, training)
    for entry in entries:
        if isinstance(entry.method, FedMEPD) and augmented[entry.name] in WITH_FLOW:
            raise StudyError(
                f'{entry.name} trains no flow, and its augment is "{augmented[entry.name]}".',
                f'Give [method_options.{entry.name}] augment = "gin", or another one.',
            )
        weighting = getattr(entry.method, "weighting", "cases")
        if weighting == "modality" and augmented[entry.name] not in WITH_FLOW:
            raise StudyError(
                f"{entry.name} weighs sites by how many distinct images they have, which a flow tells, but its "
                f'augment is "{augmented[entry.name]}".',
                'Give [train] augment = "flow", or weighting = "cases".',
            )
    plain = Training()
    for key, kinds in _AUGMENTED_BY.items():
        used = [name for name, kind in augmented.items() if kind in kinds]
        if not used and getattr(training, key) != getattr(plain, key):
            raise _idle(f'"{key}" in [train]', tuple(augmented))
        for entry in entries:
            if key in entry.training and entry.name not in used:
                raise _idle(f'"{key}" in [method_options.{entry.name}]', (entry.name,))


def _check_recalibration(entries: Sequence[Named], norm: str | None) -> None:
    """Statistics are measured anew for batch norm only."""
    averaging = [entry for entry in entries if isinstance(entry.method, Averaging)]
    norms = [norm or entry.norm for entry in averaging if entry.method.recalibrate]  # type: ignore[union-attr]
    if norms and "batch" not in norms:
        raise StudyError(
            '"recalibrate" in [method_options] changes nothing: the networks have instance norm.',
            'Give [network] norm = "batch", or take the key out.',
        )


def _idle(where: str, methods: tuple[str, ...]) -> StudyError:
    return StudyError(
        f"{where} changes nothing: it is not used by {', '.join(methods)}.",
        "Take it out, or run a method that uses it.",
    )
