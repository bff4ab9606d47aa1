"""NVFlare's FedAvg of one array: `PYTHON_WITH_NVFLARE nvflare_fedavg.py FOLDER BYTES ROUNDS`.

Server and two clients are provisioned (mutual TLS) and started by their kits' own scripts; the job is NVFlare's own
recipe for NumPy, its sites add 1 and train nothing. The last line is one of JSON: version, seconds from the first
process to the first round's end, and of each round.
"""

import itertools
import json
import os
import re
import subprocess
import sys
import time
from datetime import datetime
from pathlib import Path

import numpy as np
import nvflare
from nvflare.app_common.np.recipes.fedavg import NumpyFedAvgRecipe
from nvflare.fuel.flare_api.flare_api import new_secure_session
from nvflare.recipe import ProdEnv

PROJECT = """
api_version: 3
name: peers
participants:
  - {{name: localhost, type: server, org: peers, fed_learn_port: {port}}}
  - {{name: north, type: client, org: peers}}
  - {{name: south, type: client, org: peers}}
  - {{name: admin@example.org, type: admin, org: peers, role: project_admin}}
builders:
  - path: nvflare.lighter.impl.workspace.WorkspaceBuilder
    args: {{template_file: [master_template.yml]}}
  - path: nvflare.lighter.impl.static_file.StaticFileBuilder
    args: {{config_folder: config}}
  - path: nvflare.lighter.impl.cert.CertBuilder
  - path: nvflare.lighter.impl.signature.SignatureBuilder
"""
SITE = """
import nvflare.client as flare

flare.init()
while flare.is_running():
    model = flare.receive()
    if model is not None:
        moved = {name: array + 1 for name, array in model.params.items()}
        flare.send(flare.FLModel(params=moved, params_type="FULL"))
"""
ENDS = re.compile(r"Round \d+ started|Finished FedAvg")


def kits(folder: Path, port: int) -> Path:
    """The start-up kits."""
    (folder / "project.yml").write_text(PROJECT.format(port=port))
    words = ["provision", "-p", "project.yml", "-w", "workspace", "--force"]
    with (folder / "provision.log").open("wb") as log:
        subprocess.run([_tool("nvflare"), *words], cwd=folder, stdout=log, stderr=log, check=True)
    return folder / "workspace" / "peers" / "prod_00"


def main(folder: Path, size: int, rounds: int) -> None:
    """Run it and print the line."""
    folder = folder.resolve()
    folder.mkdir(parents=True)
    os.environ["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    place = kits(folder, 8002)
    np.save(folder / "state.npy", np.zeros(size // 4, np.float32))
    (folder / "site.py").write_text(SITE)
    started = time.time()
    for name in ("localhost", "north", "south"):
        with (folder / f"{name}.log").open("wb") as log:
            subprocess.run(
                ["bash", str(place / name / "startup" / "start.sh")], stdout=log, stderr=log, check=True
            )
    recipe = NumpyFedAvgRecipe(
        name="peer", initial_ckpt=str(folder / "state.npy"), min_clients=2, num_rounds=rounds,
        train_script=str(folder / "site.py"),
    )  # fmt: skip
    admin = "admin@example.org"
    env = ProdEnv(startup_kit_location=str(place / admin), username=admin, login_timeout=60)
    try:
        run = recipe.execute(env)
        result = run.get_result(timeout=240)
    finally:
        new_secure_session(admin, str(place / admin)).shutdown("all")
    lines = [json.loads(line) for line in (Path(result) / "workspace" / "log.json").read_text().splitlines()]
    ends = [line["asctime"] for line in lines if ENDS.search(line["message"])]
    moments = [datetime.fromisoformat(end.replace(",", ".")).timestamp() for end in ends]
    each = [later - before for before, later in itertools.pairwise(moments)]
    told = {"version": f"NVFlare {nvflare.__version__}", "first": moments[1] - started, "rounds": each}
    print(json.dumps(told))


def _tool(name: str) -> str:
    return str(Path(sys.executable).parent / name)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
