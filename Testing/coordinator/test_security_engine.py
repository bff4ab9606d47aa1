"""Flower's real SuperLink behind the real port: of all its doors only the sites' is open, and only to sites.

Its control and runtime APIs answer anybody who reaches them: whoever could start a run or take a task would own the
study. So nothing but the fleet API may ever get through.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from dataclasses import dataclass

import httpx
import pytest

from FedSegCore.coordinator.engine import Engine
from FedSegCore.coordinator.gateway import Gateway
from FedSegCore.federation.keys import make_tls
from Testing.coordinator.doors import FakeSuperLink, House, Visitor

# Flower's own use of its libraries.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")
CALL = {"content-type": "application/protobuf"}


@dataclass
class Open:
    """The port, the engine itself, and the two sites: both are enrolled, `north` is attached."""

    url: str
    behind: str
    context: ssl.SSLContext
    inner: ssl.SSLContext
    north: Visitor
    south: Visitor
    engine: Engine

    def post(self, path: str, headers: dict[str, str] | None = None, body: bytes = b"") -> httpx.Response:
        with httpx.Client(verify=self.context, timeout=30, trust_env=False) as client:
            return client.post(self.url + path, headers={**CALL, **(headers or {})}, content=body)


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory, link: FakeSuperLink) -> Iterator[Open]:
    folder = tmp_path_factory.mktemp("opened")
    house = House(folder, link)
    engine = Engine(folder / "engine", make_tls(folder / "inner", ()))
    try:
        house.hub._engine = engine
        house.south.credential = house.roster.enrol("south", "token of south", house.south.engine_key)
        engine.attach("north", house.north.engine_key)
        tls = make_tls(folder / "tls", ("127.0.0.1",))
        gateway = Gateway(house.hub, host="127.0.0.1", port=0, certificate=tls.certificate, key=tls.key)
        address, inner = engine.where
        context = ssl.create_default_context(cadata=tls.ca)
        url = f"https://127.0.0.1:{gateway.port}"
        yield Open(url, f"https://{address}", context, inner, house.north, house.south, engine)
        gateway.stop()
    finally:
        engine.stop()


@pytest.mark.parametrize(
    "path",
    ["/v1/control/list-nodes", "/v1/control/start-run", "/v1/control/register-node", "/v1/runtime/acquire-task",
     "/v1/runtime/push-messages", "/v1/fleet/register-node", "/docs", "/openapi.json", "/health", "/redoc",
     "/v1/fleet/..%2fcontrol%2flist-nodes", "/v1/fleet/%2e%2e/control/list-nodes", "//v1/control/list-nodes"],
)  # fmt: skip
def test_its_other_doors_are_shut_even_to_a_site(opened: Open, path: str) -> None:
    for headers in ({}, {**opened.north.signed(), **opened.north.bearer}):
        answer = opened.post(path, headers)
        assert answer.status_code == 403 and set(answer.json()) == {"message", "fix"}


def test_they_would_answer_whoever_reaches_the_engine_itself(opened: Open) -> None:
    with httpx.Client(verify=opened.inner, timeout=30, trust_env=False) as client:
        answer = client.post(f"{opened.behind}/v1/control/list-nodes", headers=CALL)
    assert answer.status_code == 200, "else the test above shows nothing"


def test_the_sites_door_is_shut_to_whoever_has_no_key_of_a_site(opened: Open) -> None:
    for headers in ({}, opened.north.bearer, {"flwr-public-key": opened.north.signed()["flwr-public-key"]}):
        assert opened.post("/v1/fleet/pull-messages", headers).status_code == 401


def test_a_site_with_a_key_speaks_for_its_own_node_alone(opened: Open) -> None:
    from flwr.proto.fleet_pb2 import PullMessagesRequest

    own = int(opened.engine.node("north").partition("/")[2])
    question = PullMessagesRequest()
    question.node.node_id = own
    body = bytes(question.SerializeToString())
    assert opened.post("/v1/fleet/pull-messages", opened.south.signed(), body).status_code == 401
    old = opened.north.signed("2020-01-01T00:00:00+00:00")
    assert opened.post("/v1/fleet/pull-messages", old, body).status_code == 401


def test_a_site_that_is_attached_gets_in(opened: Open) -> None:
    from flwr.proto.fleet_pb2 import ActivateNodeRequest, ActivateNodeResponse

    from FedSegCore.federation.flower import key_of

    question = ActivateNodeRequest(public_key=key_of(opened.north.engine_key), heartbeat_interval=30.0)
    answer = opened.post("/v1/fleet/activate-node", opened.north.signed(), question.SerializeToString())
    assert answer.status_code == 200, answer.text
    told = ActivateNodeResponse.FromString(answer.content)
    assert f"{told.node_id}" == opened.engine.node("north").partition("/")[2]
    assert "server" not in answer.headers
