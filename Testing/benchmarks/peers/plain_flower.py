"""Plain Flower, deployed as its documentation says: SuperLink and two SuperNodes with TLS, `flwr run`."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib import metadata
from pathlib import Path

from FedSegCore.federation.child import free_port
from FedSegCore.federation.keys import make_tls

APP = Path(__file__).parent / "flower_app"
PATIENCE_S, START_S = 280.0, 60.0


def version() -> str:
    """What is measured; "" where it is not installed."""
    try:
        return f"Flower {metadata.version('flwr')}, plain"
    except metadata.PackageNotFoundError:
        return ""


def seconds(folder: Path, shapes: Sequence[Sequence[int]], rounds: int) -> tuple[float, list[float]]:
    """From the first process to the first round's end, and of each round."""
    folder.mkdir(parents=True)
    tls = make_tls(folder / "tls", ("127.0.0.1",))
    ca, told, marks = folder / "ca.crt", folder / "shapes.json", folder / "marks"
    ca.write_text(tls.ca)
    told.write_text(json.dumps(shapes))
    link = free_port()
    home, app = folder / "flower", folder / "app"
    home.mkdir()
    shutil.copytree(APP, app)
    (app / "LICENSE").write_text("Apache-2.0\n")  # Flower takes no app without one
    (home / "config.toml").write_text(
        f'[superlink]\ndefault = "hub"\n[superlink.hub]\naddress = "127.0.0.1:{link}"\nroot-certificates = "{ca}"\n'
    )
    certificate = ["--ssl-ca-certfile", ca, "--ssl-certfile", tls.certificate, "--ssl-keyfile", tls.key]
    started = time.time()
    # What an app depends on is here already.
    server = [*certificate, "--port", link, "--disable-runtime-dependency-installation"]
    site = ["--root-certificates", ca, "--superlink", f"127.0.0.1:{link}", "--port"]
    with (
        _running(folder, "flower-superlink", *server),
        _running(folder, "flower-supernode", *site, free_port()),
        _running(folder, "flower-supernode", *site, free_port()),
    ):
        config = f'shapes="{told}" marks="{marks}" rounds={rounds}'
        run = _command("flwr", "run", app, "hub", "--run-config", config)
        while (
            done := subprocess.run(run, capture_output=True, env=_environment(folder), check=False)
        ).returncode:
            assert time.time() - started < START_S, done.stdout[-1000:]
        while not marks.is_file() or len(marks.read_text().splitlines()) <= rounds:
            assert time.time() - started < PATIENCE_S, "the run did not end"
            time.sleep(0.2)
    times = [float(line) for line in marks.read_text().splitlines()]
    return times[1] - started, [later - before for before, later in itertools.pairwise(times)]


def _command(name: str, *words: object) -> list[str]:
    return [str(Path(sys.executable).parent / name), *map(str, words)]


def _environment(folder: Path) -> dict[str, str]:
    quiet = {"FLWR_TELEMETRY_ENABLED": "0", "FLWR_DISABLE_UPDATE_CHECK": "1"}
    # A SuperNode starts Flower's other commands by their names.
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return {**os.environ, **quiet, "PATH": path, "FLWR_HOME": str(folder / "flower")}


@contextmanager
def _running(folder: Path, name: str, *words: object) -> Iterator[None]:
    with (folder / f"{name}.log").open("ab") as log:
        process = subprocess.Popen(_command(name, *words), stdout=log, stderr=log, env=_environment(folder))
    try:
        yield
    finally:
        process.terminate()
        process.wait(20)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # what it started may outlive it
