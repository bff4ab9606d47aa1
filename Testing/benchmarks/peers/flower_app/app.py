"""FedAvg of a given state in plain Flower, as its documentation has it; sites add 1 and train nothing."""

import json
import time
from pathlib import Path

import numpy as np
from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg

client = ClientApp()
server = ServerApp()


@client.train()
def train(message: Message, context: Context) -> Message:
    """The state, moved."""
    moved = [array + 1 for array in message.content["arrays"].to_numpy_ndarrays()]
    reply = RecordDict({"arrays": ArrayRecord(moved), "metrics": MetricRecord({"num-examples": 1})})
    return Message(content=reply, reply_to=message)


@server.main()
def main(grid: Grid, context: Context) -> None:
    """A line with the time after each round, and one before the first."""
    shapes = json.loads(Path(context.run_config["shapes"]).read_text())
    marks = Path(context.run_config["marks"])

    def mark(number: int, arrays: ArrayRecord) -> None:
        with marks.open("a") as file:
            file.write(f"{time.time()}\n")

    FedAvg(fraction_evaluate=0.0).start(
        grid=grid,
        initial_arrays=ArrayRecord([np.zeros(shape, np.float32) for shape in shapes]),
        num_rounds=context.run_config["rounds"],
        evaluate_fn=mark,
    )
