"""Flower's simulation of FedAvg: `flower_simulation.py FOLDER ROUNDS CORES SITE...`.

The job is named by the environment, see `task`. The last line is one of JSON: the version. The final weights are
`weights.npz` in the folder.
"""

import json
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg
from flwr.simulation import run_simulation

from Testing.benchmarks.peers import task

FOLDER, ROUNDS, CORES, SITES = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4:]

client = ClientApp()


@client.train()
def train(message: Message, context: Context) -> Message:
    """One site's round."""
    torch.set_num_threads(1)
    site = SITES[int(context.node_config["partition-id"])]
    arrays = dict(
        zip(message.content["arrays"].keys(), message.content["arrays"].to_numpy_ndarrays(), strict=True)
    )
    trained, cases = task.train(site, arrays, int(message.content["config"]["server-round"]), ROUNDS)
    content = {"arrays": _record(trained), "metrics": MetricRecord({"num-examples": cases})}
    return Message(RecordDict(content), reply_to=message)


server = ServerApp()


@server.main()
def main(grid: Grid, context: Context) -> None:
    """FedAvg as the documentation has it."""
    strategy = FedAvg(
        fraction_train=1.0, fraction_evaluate=0.0, min_train_nodes=len(SITES), min_available_nodes=len(SITES)
    )
    result = strategy.start(grid=grid, initial_arrays=_record(task.first_weights()), num_rounds=ROUNDS)
    arrays = dict(zip(result.arrays.keys(), result.arrays.to_numpy_ndarrays(), strict=True))
    np.savez(FOLDER / "weights.npz", **arrays)


def _record(arrays: task.Arrays) -> ArrayRecord:
    return ArrayRecord({name: torch.from_numpy(array) for name, array in arrays.items()})


if __name__ == "__main__":
    run_simulation(
        server_app=server, client_app=client, num_supernodes=len(SITES),
        backend_config={"init_args": {"num_cpus": CORES}, "client_resources": {"num_cpus": 1, "num_gpus": 0.0}},
    )  # fmt: skip
    print(json.dumps({"version": f"Flower {version('flwr')} with Ray {version('ray')}"}))
