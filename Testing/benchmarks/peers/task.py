"""One site's local work, for engines other than FedSeg's: the same network, cases, steps and random numbers.

What a peer adds is its own: how messages travel, how sites are scheduled and how weights are averaged.
"""

from __future__ import annotations

import json
import os
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import torch

from FedSegCore.federation.client import Client
from FedSegCore.federation.method import Round
from FedSegCore.federation.seeds import generator
from FedSegCore.methods.averaging import AveragingBroadcast
from FedSegCore.simulation.worker import make_client, make_run

JOB = "FEDSEG_PEER_JOB"
"""The environment variable that names the job: what one of FedSeg's own worker processes would be told."""

Arrays = dict[str, np.ndarray]


@cache
def _client(site: str) -> Client:
    """Made once a process, as a careful user of any engine would."""
    run = make_run(json.loads(Path(os.environ[JOB]).read_text(encoding="utf-8")))
    return make_client(run, site)


def first_weights() -> Arrays:
    """The study's first weights."""
    return _arrays(_client("east").site.model.state_dict())


def train(site: str, arrays: Arrays, number: int, total: int) -> tuple[Arrays, int]:
    """Round `number` of `total` at a site: the trained weights, and how many cases they rest on."""
    client = _client(site)
    weights = {name: torch.from_numpy(np.array(array)) for name, array in arrays.items()}
    own = replace(client.site, generator=generator(client.seed, "train", site, number))
    _, update = client.method.local_update(AveragingBroadcast(weights), None, own, Round(number, total))
    return _arrays(update.weights), client.info.num_cases


def _arrays(weights: dict[str, torch.Tensor]) -> Arrays:
    return {name: tensor.numpy().copy() for name, tensor in weights.items()}
