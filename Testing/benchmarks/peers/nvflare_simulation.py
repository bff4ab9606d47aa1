"""NVFlare's simulator of FedAvg: `nvflare_simulation.py FOLDER ROUNDS CORES SITE...`.

The job is named by the environment, see `task`. The last line is one of JSON: the version. The final weights are
`weights.npz` in the folder.
"""

import json
import sys
from pathlib import Path

import numpy as np
import nvflare
from nvflare.app_common.np.recipes.fedavg import NumpyFedAvgRecipe
from nvflare.recipe import SimEnv

from Testing.benchmarks.peers import task

SITE = """
import nvflare.client as flare
import torch

from Testing.benchmarks.peers import task

torch.set_num_threads(1)
flare.init()
while flare.is_running():
    model = flare.receive()
    if model is not None:
        arrays, cases = task.train(flare.get_site_name(), model.params, model.current_round + 1, model.total_rounds)
        flare.send(flare.FLModel(params=arrays, params_type="FULL", meta={"NUM_STEPS_CURRENT_ROUND": cases}))
"""


def main(folder: Path, rounds: int, cores: int, sites: list[str]) -> None:
    """Run it and print the line."""
    script, first = folder / "site.py", folder / "first.npz"
    script.write_text(SITE)
    np.savez(first, **task.first_weights())
    recipe = NumpyFedAvgRecipe(
        name="peer", initial_ckpt=str(first.resolve()), min_clients=len(sites), num_rounds=rounds,
        train_script=str(script.resolve()),
    )  # fmt: skip
    run = recipe.execute(SimEnv(clients=sites, num_threads=cores, workspace_root=str(folder / "workspace")))
    print(run.get_result(), file=sys.stderr)
    print(json.dumps({"version": f"NVFlare {nvflare.__version__}"}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4:])
