"""The whole loop of a federation, over any method and any transport."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from FedSegCore.errors import ModelFileError, SiteError, TooFewSites, plain
from FedSegCore.federation import wire
from FedSegCore.federation.method import ClientInfo, FederatedMethod, Offer, Published, Round, Site
from FedSegCore.federation.store import ServerStore
from FedSegCore.federation.transport import Transport

Emit = Callable[..., None]
"""Tells the outside what happens: `emit(event, **fields)`, with the events of the command line."""

Method = FederatedMethod[Any, Any, Any, Any]


def federate(
    method: Method,
    server: Site,
    transport: Transport,
    rounds: int,
    *,
    store: ServerStore,
    min_sites: int,
    emit: Emit,
) -> Any:
    """Run the rounds that are still missing and return the server's state after the last.

    Raises:
        TooFewSites: fewer than `min_sites` gave a usable update; the state before the round is on disk.
    """
    clients = transport.clients()
    saved = store.load(method.server_state)
    if saved is None:
        state, done = method.initialize(server, clients), 0
        store.save(state, 0, {})
    else:
        state, done = saved
        if moved := store.moved():
            message = f"The study goes on under other conditions ({'; '.join(moved)})."
            emit("warning", message=message, fix="The last bits of its numbers may differ; nothing to do.")
    for number in range(done + 1, rounds + 1):
        state = _one_round(method, state, Round(number, rounds), server, transport, store, min_sites, emit)
    if server.epochs is not None:
        server.epochs.clear()
    if remark := method.remark(state):
        emit("warning", message=remark, fix="Look at rounds.jsonl; run more rounds, or give other options.")
    return state


def _one_round(
    method: Method,
    state: Any,
    round: Round,
    server: Site,
    transport: Transport,
    store: ServerStore,
    min_sites: int,
    emit: Emit,
) -> Any:
    """The server's state after a round, saved and logged."""
    number, clients, started = round.number, transport.clients(), time.monotonic()
    spool = store.spool(method.update_type, number)
    line: dict[str, Any] = {
        "round": number,
        "total": round.total,
        "sites": {},
        "left_out": {},
        "bytes_down": 0,
    }
    try:
        for client, update, data in _replies(method, state, transport, round, line, emit):
            spool.add(client.name, data)
            line["sites"][client.name].update(loss=update.loss, dice=dict(update.dice))
        _finish(line, clients)
        if len(spool.names) < min_sites:
            line["seconds"] = round_seconds(time.monotonic() - started)
            store.log_stopped({**_named(store.facts), **line})
            got = f"Round {number}: {len(spool.names)} of {len(clients)} sites gave a usable update"
            raise _too_few(got, min_sites, line["left_out"])
        infos = {client.name: client for client in clients}
        updates = ((infos[name], update) for name, update in spool)
        state = method.aggregate(state, updates, server, round)
    finally:
        spool.close()
    if facts := dict(method.facts(state)):
        line["facts"] = facts
    line["seconds"] = round_seconds(time.monotonic() - started)
    store.save(state, number, {**_named(store.facts), **line})
    told = {key: line[key] for key in ("loss", "dice", "seconds")}
    emit("round", number=number, total=round.total, **told)
    return state


def conclude(
    method: Method,
    state: Any,
    server: Site,
    transport: Transport,
    rounds: int,
    *,
    min_sites: int,
    emit: Emit,
) -> Mapping[str, Published]:
    """The one exchange after the last round: sites make their personal models and offer what they may.

    Raises:
        TooFewSites: fewer than `min_sites` answered; the exchange can be repeated.
    """
    round = Round(rounds, rounds)
    offers: list[tuple[ClientInfo, Offer]] = []
    lost: dict[str, str] = {}
    for client, reply in transport.exchange(_outbox(method, state, round, "publish", {}), round):
        try:
            if isinstance(reply, SiteError):
                raise reply
            offer = wire.decode(Offer, reply, f"offer of {client.name}")
            method.check_offer(offer, client, server, round)
        except (SiteError, ModelFileError) as error:
            reason = plain(error.reason if isinstance(error, SiteError) else error.message)
            lost[client.name] = reason
            emit("warning", message=f"{client.name} offered no model: {reason}", fix=error.fix)
            continue
        offers.append((client, offer))
    if len(offers) < min_sites:
        got = f"After the last round: {len(offers)} of {len(offers) + len(lost)} sites made their offer"
        raise _too_few(got, min_sites, lost)
    return method.publish(state, offers, server)


def _outbox(
    method: Method, state: Any, round: Round, kind: str, sent: dict[str, int]
) -> Callable[[ClientInfo], bytes]:
    last: tuple[Any, bytes] | None = None

    def outbox(client: ClientInfo) -> bytes:
        nonlocal last
        message = method.broadcast(state, client, round)
        if last is None or not wire.same(message, last[0]):
            last = message, wire.encode(message, kind=kind, round=round.number, total=round.total)
        sent[client.name] = len(last[1])
        return last[1]

    return outbox


def _replies(
    method: Method, state: Any, transport: Transport, round: Round, line: dict[str, Any], emit: Emit
) -> Iterator[tuple[ClientInfo, Any, bytes]]:
    """The usable replies; the others are written into the round's line with their reason."""
    sent: dict[str, int] = {}
    started = time.monotonic()
    for client, reply in transport.exchange(_outbox(method, state, round, "round", sent), round):
        seconds, started = time.monotonic() - started, time.monotonic()
        line["bytes_down"] += sent.get(client.name, 0)
        try:
            if isinstance(reply, SiteError):
                raise reply
            update = wire.decode(method.update_type, reply, f"update of {client.name}")
            method.check(state, update, client, round)
        except (SiteError, ModelFileError) as error:
            reason = plain(error.reason if isinstance(error, SiteError) else error.message)
            line["left_out"][client.name] = reason
            emit("site_state", site=client.name, state="lost")
            emit(
                "warning",
                message=f"Round {round.number} goes on without {client.name}: {reason}",
                fix=error.fix,
            )
            continue
        line["sites"][client.name] = {"seconds": round_seconds(seconds), "bytes": len(reply)}
        emit("site_state", site=client.name, state="sent")
        yield client, update, reply


def _finish(line: dict[str, Any], clients: list[ClientInfo]) -> None:
    """Add what the whole round comes to: mean loss and Dice over the sites that took part."""
    sites = line["sites"]
    line["took_part"] = sorted(sites)
    line["bytes_up"] = sum(site["bytes"] for site in sites.values())
    cases = {client.name: client.num_cases for client in clients}
    weight = sum(cases[name] for name in sites)
    losses = (site["loss"] * cases[name] for name, site in sites.items())
    line["loss"] = sum(losses) / max(weight, 1) if sites else None
    labels = {label for site in sites.values() for label in site["dice"]}
    values = {
        label: [s["dice"][label] for s in sites.values() if label in s["dice"]] for label in sorted(labels)
    }
    line["dice"] = {label: sum(dices) / len(dices) for label, dices in values.items()}


def _named(facts: Mapping[str, Any]) -> dict[str, Any]:
    return {key: facts[key] for key in ("method", "seed") if key in facts}


def _too_few(got: str, min_sites: int, lost: Mapping[str, str]) -> TooFewSites:
    reasons = "; ".join(f"{site}: {reason}" for site, reason in lost.items()) or "none answered"
    return TooFewSites(
        f"{got}, the study needs {min_sites} ({reasons}).",
        "Mend the named sites and run again with --resume, or lower min_sites.",
    )


def round_seconds(seconds: float) -> float:
    """Seconds to the millisecond, as the logs have them."""
    return round(seconds, 3)
