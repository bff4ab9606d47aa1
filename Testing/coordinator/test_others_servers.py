"""Behind nginx as the page for IT configures it, through Debian's tinyproxy: a whole study, both programs real."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from FedSegCore.federation.child import free_port
from FedSegCore.federation.keys import TlsFiles, make_tls
from FedSegCore.federation.ledger import read_lines
from Testing.hospitals import ROOT, Hospitals, write_study

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not (shutil.which("nginx") and shutil.which("tinyproxy")), reason="needs nginx, tinyproxy"
    ),
]
SITES = {"north": "", "south": ""}
TINYPROXY = """
Port {port}
Listen 127.0.0.1
Allow 127.0.0.1
ConnectPort {to}
Timeout 600
LogFile "{folder}/tinyproxy.log"
"""


def page() -> str:
    """The configuration in the page."""
    text = (ROOT / "Resources" / "federation" / "network.md").read_text()
    (found,) = re.findall(r"```nginx\n(.*?)```", text, re.DOTALL)
    return str(found)


def nginx(folder: Path, *, port: int, behind: int, tls: TlsFiles) -> list[str]:
    """The command that runs the page's configuration; ports and files alone are others."""
    told = {
        "listen 443": f"listen 127.0.0.1:{port}", "hub.example.org": "127.0.0.1",
        "127.0.0.1:8443": f"127.0.0.1:{behind}",
        "/etc/fedseg/server.pem": str(tls.certificate), "/etc/fedseg/server.key": str(tls.key),
    }  # fmt: skip
    text = page()
    for theirs, ours in told.items():
        assert theirs in text
        text = text.replace(theirs, ours)
    (folder / "nginx").mkdir()
    conf = folder / "nginx.conf"
    conf.write_text(
        f"pid {folder}/nginx.pid;\nevents {{}}\nhttp {{\n"
        f"access_log {folder}/access.log;\nclient_body_temp_path {folder}/nginx;\n{text}}}\n"
    )
    return ["nginx", "-c", str(conf), "-p", str(folder), "-e", str(folder / "nginx.err"), "-g", "daemon off;"]


def tinyproxy(folder: Path, *, port: int, to: int) -> list[str]:
    """The command of a proxy that lets nobody but the study's address be reached."""
    conf = folder / "tinyproxy.conf"
    conf.write_text(TINYPROXY.format(port=port, to=to, folder=folder))
    return ["tinyproxy", "-d", "-c", str(conf)]


@contextmanager
def running(command: list[str], port: int) -> Iterator[None]:
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 20
        while socket.socket().connect_ex(("127.0.0.1", port)):
            assert process.poll() is None and time.monotonic() < deadline, command
            time.sleep(0.1)
        yield
    finally:
        process.terminate()
        process.wait(20)


@pytest.fixture
def hospitals(tmp_path: Path) -> Iterator[Hospitals]:
    made = Hospitals(tmp_path, write_study(tmp_path, SITES, methods=["fedavg"]))
    yield made
    made.stop()


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_a_study_runs_behind_nginx_and_through_a_proxy(hospitals: Hospitals, tmp_path: Path) -> None:
    public, proxy = free_port(), free_port()
    tls = make_tls(tmp_path / "tls", ("127.0.0.1",))
    chain = tmp_path / "chain.pem"
    chain.write_text(tls.certificate.read_text() + tls.ca)
    hospitals.serve("--address", f"127.0.0.1:{public}", "--tls-cert", str(chain), "--tls-key", str(tls.key))
    behind = int(hospitals.coordinator.words[-1])
    hospitals.environment["HTTPS_PROXY"] = f"http://127.0.0.1:{proxy}"
    with (
        running(nginx(tmp_path, port=public, behind=behind, tls=tls), public),
        running(tinyproxy(tmp_path, port=proxy, to=public), proxy),
    ):
        for name in SITES:
            hospitals.join(name)
        hospitals.coordinator.until("round", number=1)
        invitation = hospitals.home("north") / "invitation.fedseg"
        words = [sys.executable, "-m", "FedSegCore", "test-connection", str(invitation)]
        environment = {**hospitals.environment, "PYTHONPATH": str(ROOT)}
        tested = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
        refused = httpx.get(
            f"https://127.0.0.1:{public}/v1/control/list-nodes", verify=False, trust_env=False
        )
        hospitals.finish()
    assert tested.returncode == 0, tested.stdout + tested.stderr
    assert refused.status_code == 403
    lines = read_lines(hospitals.out / "rounds.jsonl")
    assert [line["took_part"] for line in lines] == [["north", "south"]] * 2
    assert "/v1/fleet/push-object" in (tmp_path / "access.log").read_text()
    assert f"CONNECT 127.0.0.1:{public}" in (tmp_path / "tinyproxy.log").read_text()
