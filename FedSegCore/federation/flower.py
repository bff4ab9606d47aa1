"""Flower; nothing else of FedSeg knows it. It carries bytes between a coordinator and its hospitals.

A coordinator runs Flower's SuperLink as a child process on its own machine, a hospital Flower's SuperNode. Both
run in process isolation: whoever works on their tasks takes them over a local connection, with a secret that only
the two share. Here that is the process that holds the study's state. So no process is started for a message, and
nothing that a server sends is ever run: the app bundle that Flower wants is an empty one; a site refuses any other.

What Flower's own task processes do is done here with the same parts of Flower. They are not promised to stay, which
is why one minor version is pinned and the conformance test runs a study through it.
"""

from __future__ import annotations

import base64
import contextlib
import functools
import hashlib
import json
import secrets
import ssl
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final, final

import httpx
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_ssh_public_key
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, RecordDict
from flwr.cli.build import build_fab_from_files
from flwr.common.constant import TIMESTAMP_HEADER
from flwr.common.serde import fab_to_proto, run_from_proto
from flwr.proto.control_pb2 import RegisterNodeRequest, StartRunRequest, UnregisterNodeRequest
from flwr.proto.fleet_pb2 import PushMessagesRequest
from flwr.proto.message_pb2 import PushObjectRequest
from flwr.proto.runtime_pb2 import AcquireTaskRequest, PullTaskInputRequest, SendTaskHeartbeatRequest
from flwr.supercore.constant import FLEET_HTTP_PUBLIC_KEY_HEADER, FLEET_HTTP_SIGNATURE_HEADER, TaskType
from flwr.supercore.control import ControlHttpClient
from flwr.supercore.fab import Fab
from flwr.supercore.inflatable.inflatable_object import get_object_body, get_object_type_from_object_content
from flwr.supercore.inflatable.inflatable_utils import pull_and_inflate_object_from_tree, pull_objects
from flwr.supercore.interceptors import (
    RuntimeTokenHttpInterceptor,
    RuntimeVersionHttpInterceptor,
    SuperExecAuthHttpInterceptor,
)
from flwr.supercore.primitives.asymmetric import bytes_to_public_key, public_key_to_bytes, verify_signature
from flwr.supercore.protobuf.client import ProtobufClientInterceptor
from flwr.supercore.runtime import RuntimeHttpClient
from flwr.supercore.task_identity import TaskIdentity
from flwr.superlink.grid import HttpGrid
from flwr.supernode.runtime.run_clientapp import pull_task_input, push_message, push_task_output
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

from FedSegCore.errors import InputError, RunError
from FedSegCore.federation.bounds import TOO_LARGE, BoundedTransport, Tally
from FedSegCore.federation.child import LOOPBACK, Child, end_with_parent, free_port
from FedSegCore.federation.keys import TlsFiles
from FedSegCore.files import write_atomic, write_private

ENGINE: Final = "flwr 1.41"
"""What both ends must have; Flower's own parts want equal minor versions."""
_ACQUIRE: Final = frozenset({"/flwr.proto.Runtime/AcquireTask"})
_HEARTBEAT_S: Final = 20.0
_POLL_S: Final = 0.1
_START_S: Final = 60.0
_TTL_S: Final = 30 * 24 * 3600.0
"""How long a message may be under way; rounds end by the study's own clock."""

CALLS: Final[Mapping[str, int]] = {
    **dict.fromkeys((
        "activate-node", "deactivate-node", "send-node-heartbeat", "pull-messages", "get-run", "get-fab",
        "pull-object", "confirm-message-received",
    ), 64 * 1024),
    "push-messages": 2**20,
    "push-object": 6 * 2**20,
}  # fmt: skip
"""What a SuperNode may ask of the SuperLink, and how large its question can be: objects come in pieces of 5 MiB."""
ANSWERS: Final[Mapping[str, int]] = {"pull-messages": 2**20, "pull-object": 6 * 2**20}
"""How large the SuperLink's answers can be; others have `_SMALL` bytes at most."""
_SMALL: Final = 64 * 1024
PUSHES: Final = frozenset({"push-messages", "push-object"})
PIECES: Final = frozenset({"pull-object", "push-object"})

_UNREADABLE: Final = (
    LookupError, ValueError, TypeError, AttributeError, ArithmeticError, AssertionError, RecursionError,
)  # fmt: skip
"""What Flower raises over objects that are none of its own."""

Head = Mapping[str, str]
"""What stands beside a message's bytes: which run it is of, or why there are none."""
Answer = Callable[[Head, bytes], tuple[Head, bytes]]
"""How a site answers."""


@dataclass(frozen=True)
class Reply:
    """What came back for one message. The head tells why there is no body: `failed`.

    Args:
        lost: whether Flower lost it, which no site can say.
    """

    message_id: str
    head: Head
    body: bytes
    lost: bool = False


def app_bundle() -> bytes:
    """The bundle that a run of Flower is made of: an empty app, the same bytes each time."""
    files: dict[str, bytes | Path] = {
        "pyproject.toml": _APP.encode(),
        "LICENSE": b"Apache-2.0\n",
        "app.py": b'"""Nothing here is run: sites answer with what they have installed."""\n\nnothing = None\n',
    }
    return build_fab_from_files(files)[0]


_APP: Final = """\
[project]
name = "fedseg"
version = "1.0.0"
license = { file = "LICENSE" }
dependencies = ["flwr>=1.41.0,<1.42"]

[tool.flwr.app]
publisher = "fedseg"
fab-format-version = 1
flwr-version-target = "1.41.0"
fab-include = ["app.py", "LICENSE"]

[tool.flwr.app.components]
serverapp = "app:nothing"
clientapp = "app:nothing"
"""


@final
class SuperLink:
    """A SuperLink on this machine's loopback, with one run in it. It keeps nothing on disk: we make its state anew.

    Args:
        folder: for its log and Flower's own files; emptied of neither.
        tls: what its loopback connection is served with.

    Raises:
        RunError: it did not start; its log says why.
    """

    def __init__(self, folder: Path, tls: TlsFiles) -> None:
        self.port = free_port()
        ca = folder / "ca.crt"
        write_atomic(ca, tls.ca.encode())
        self._log = folder / "superlink.log"
        secret = _new_secret(folder / "superlink.secret")
        self._child = _child("superlink", [
            "--host", LOOPBACK, "--port", str(self.port), "--isolation", "process", "--enable-supernode-auth",
            "--superexec-auth-secret-file", str(folder / "superlink.secret"),
            "--ssl-ca-certfile", str(ca), "--ssl-certfile", str(tls.certificate), "--ssl-keyfile", str(tls.key),
            "--database", ":flwr-in-memory:",
            "--disable-runtime-dependency-installation",
        ], folder)  # fmt: skip
        address = f"{LOOPBACK}:{self.port}"
        try:
            self._control = ControlHttpClient.from_server_address(address, False, str(ca), [_version("cli")])
            self._wait(ca)
            self._start_run()
            with _told("take the run's task"):
                token = _acquire(address, str(ca), secret, TaskType.SERVER_APP, lambda: not self._child.alive)
                self._runtime = _with_token(address, str(ca), token, "flwr-serverapp")
                given = self._runtime.PullTaskInput(PullTaskInputRequest())
            self._identity = given.task_id, given.run.run_id, given.context.node_id
            self._grid = HttpGrid(address, False, tls.ca.encode(), token=token)
            self._grid.set_run(run_from_proto(given.run))
            # Else a call would go on for ever once the SuperLink is dead.
            self._grid._retry_invoker.max_tries = 2
        except BaseException:
            self._child.stop()
            raise
        self._beat = _Heartbeat(self._runtime)

    @property
    def alive(self) -> bool:
        """Whether it runs and its run goes on."""
        return self._child.alive and self._beat.accepted

    def admit(self, engine_key: str) -> int:
        """Let a site's SuperNode in, by its public key; returns the number that messages to it bear."""
        key = key_of(engine_key)
        with _told("admit a site"):
            return self._control.RegisterNode(RegisterNodeRequest(public_key=key)).node_id

    def dismiss(self, node: int) -> None:
        """Forget a site's SuperNode; messages to it are lost."""
        with _told("dismiss a site"):
            self._control.UnregisterNode(UnregisterNodeRequest(node_id=node))

    def online(self) -> set[int]:
        """The SuperNodes that are connected; messages can be sent to no others."""
        with _told("list the sites"):
            return set(self._grid.get_node_ids())

    def post(self, node: int, head: Head, body: bytes) -> str:
        """Send one message; returns its id.

        Raises:
            RunError: the SuperLink does not take it, as where the site is not online.
        """
        TaskIdentity.task_id, TaskIdentity.run_id, TaskIdentity.node_id = self._identity
        with _told("send a message"):
            (sent,) = self._grid.push_messages([Message(_packed(head, body), node, "train", ttl=_TTL_S)])
        if not sent:
            raise RunError("Flower did not take the message.", f"See {self._log}.")
        return sent

    def pull(self, message_id: str) -> list[Reply]:
        """What has come back for one message, once; waits for the rest of what has begun to arrive."""
        with _told("collect replies"):
            try:
                replies = list(self._grid.pull_messages([message_id]))
            except _UNREADABLE:
                return [Reply(message_id, {"failed": "it sent what Flower cannot read."}, b"")]
        return [_reply(message_id, reply) for reply in replies]

    def stop(self) -> None:
        """End it."""
        self._beat.stop()
        self._child.stop()
        for client in (self._control, self._runtime, self._grid):
            client.close()

    def _wait(self, ca: Path) -> None:
        deadline = time.monotonic() + _START_S
        context = ssl.create_default_context(cafile=str(ca))
        with httpx.Client(verify=context, timeout=5) as client:
            while time.monotonic() < deadline and self._child.alive:
                with contextlib.suppress(httpx.TransportError):
                    client.get(f"https://{LOOPBACK}:{self.port}/health")
                    return
                time.sleep(_POLL_S)
        raise RunError("Flower's SuperLink did not start.", f"See {self._log}.")

    def _start_run(self) -> None:
        bundle = app_bundle()
        fab = Fab(hashlib.sha256(bundle).hexdigest(), bundle, {})
        with _told("start a run"):
            answer = self._control.StartRun(StartRunRequest(fab=fab_to_proto(fab)))
        if not answer.HasField("run_id"):
            raise RunError("Flower's SuperLink did not start the run.", f"See {self._log}.")


@final
class SuperNode:
    """A hospital's SuperNode: outbound connections only, to one address.

    Args:
        folder: for its log and Flower's own files.
        address: host:port of the coordinator.
        ca: PEM file of the certificate authority; none: the system's.
        key: the site's private key in OpenSSH format.
        largest: bytes that a message may come to; where more is sent it ends.
        ahead_s: how far this machine's clock is ahead of the coordinator's, in seconds.
    """

    def __init__(
        self, folder: Path, *, address: str, ca: Path | None, key: Path, largest: int, ahead_s: float = 0.0
    ) -> None:
        self.port = free_port()
        self._secret = _new_secret(folder / "supernode.secret")
        arguments = [
            str(largest), str(ahead_s), "--superlink", address, "--auth-supernode-private-key", str(key),
            "--host", LOOPBACK, "--port", str(self.port), "--isolation", "process",
            "--superexec-auth-secret-file", str(folder / "supernode.secret"),
        ]  # fmt: skip
        arguments += ["--root-certificates", str(ca)] if ca else []
        self._child = _child("supernode", arguments, folder)

    @property
    def alive(self) -> bool:
        """Whether it runs; it ends by itself when the coordinator no longer knows it."""
        return self._child.alive

    @property
    def flooded(self) -> bool:
        """Whether it ended since more was sent than it takes."""
        return self._child.code == TOO_LARGE

    def work(self, answer: Answer, stopped: Callable[[], bool]) -> None:
        """Answer messages one at a time until `stopped` says so or the SuperNode ends."""
        bundle = hashlib.sha256(app_bundle()).hexdigest()
        while not stopped() and self.alive:
            with contextlib.suppress(httpx.HTTPError, RunError):
                token = _acquire(self._address, None, self._secret, TaskType.CLIENT_APP,
                                 lambda: stopped() or not self.alive)  # fmt: skip
                self._one(token, bundle, answer)

    def _one(self, token: str, bundle: str, answer: Answer) -> None:
        client = _with_token(self._address, None, token, "flwr-clientapp")
        beat = _Heartbeat(client)
        try:
            message, context, fab = _task_input(client)
            if hashlib.sha256(fab.content).hexdigest() != bundle:
                wrong = "the server sent an app bundle that is not FedSeg's."
                reply: tuple[Head, bytes] = {"failed": wrong}, b""
            else:
                reply = answer(*_unpacked(message))
            push_message(client, Message(_packed(*reply), reply_to=message), context)
            push_task_output(client, context, "completed", "")
        finally:
            beat.stop()
            client.close()

    def stop(self) -> None:
        """End it; the coordinator is told that the site is gone."""
        self._child.stop()

    @property
    def _address(self) -> str:
        return f"{LOOPBACK}:{self.port}"


@functools.lru_cache(maxsize=1000)
def key_of(engine_key: str) -> bytes:
    """A site's public key as Flower writes it, from its line in OpenSSH's format.

    Raises:
        InputError: it is no key that Flower takes.
    """
    try:
        key = load_ssh_public_key(engine_key.encode())
    except (ValueError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise InputError("The engine's key is no EC key in OpenSSH's format.", "Use the same FedSeg version.")
    return public_key_to_bytes(key)


def caller(headers: Mapping[str, str]) -> bytes:
    """The key that signed a SuperNode's call; b"" where none did. How old the signature is Flower itself looks at."""
    try:
        public, signature = (
            base64.b64decode(headers[name], validate=True)
            for name in (FLEET_HTTP_PUBLIC_KEY_HEADER, FLEET_HTTP_SIGNATURE_HEADER)
        )
        key, moment = bytes_to_public_key(public), headers[TIMESTAMP_HEADER].encode("ascii")
        signed = isinstance(key, ec.EllipticCurvePublicKey) and verify_signature(key, moment, signature)
        return public_key_to_bytes(key) if signed else b""
    except (KeyError, ValueError, UnsupportedAlgorithm):
        return b""


def is_own_reply(body: bytes) -> bool:
    """Whether a `push-messages` call is one reply in the caller's own name.

    Flower sees that the caller is who it says, not that the message is the caller's: a site could send another one
    messages in the coordinator's name.
    """
    told = PushMessagesRequest()
    try:
        told.ParseFromString(body)
    except DecodeError:
        return False
    if len(told.messages_list) != 1 or len(told.message_object_trees) != 1:
        return False
    facts = told.messages_list[0].metadata
    return facts.src_node_id == told.node.node_id and bool(facts.reply_to_message_id)


def weight_of(call: str, body: bytes) -> int | None:
    """How many bytes of memory a push may come to once it is put together; none where it is none.

    An array names its pieces one by one, and may name one piece a million times.
    """
    if call == "push-messages":
        return len(body) if is_own_reply(body) else None
    told = PushObjectRequest()
    try:
        told.ParseFromString(body)
        return len(body) + _pieces(told.object_content) * CALLS[call]
    except (DecodeError, *_UNREADABLE):
        return None


def _pieces(content: bytes) -> int:
    """How many pieces an object is put together from. Raises one of `_UNREADABLE` where it is no object."""
    if get_object_type_from_object_content(content) != Array.__qualname__:
        return 0
    return len(json.loads(get_object_body(content, Array))["arraychunk_ids"])


def _packed(head: Head, body: bytes) -> RecordDict:
    """One message; its bytes are one array, for Flower makes requests of its own for each."""
    whole = Array(dtype="uint8", shape=(len(body),), stype="fedseg", data=body)
    return RecordDict({"head": ConfigRecord(dict(head)), "body": ArrayRecord({"message": whole})})


def _reply(message_id: str, reply: Message) -> Reply:
    """What a site answered, whatever that is: nobody else's reply may be lost with it."""
    if reply.has_error():
        return Reply(message_id, {"failed": "lost on its way."}, b"", lost=True)
    try:
        return Reply(message_id, *_unpacked(reply))
    except RunError as error:
        return Reply(message_id, {"failed": error.message, "fix": error.fix}, b"")


def _unpacked(message: Message) -> tuple[dict[str, str], bytes]:
    """Raises RunError where somebody sent anything but what `_packed` makes."""
    content = message.content if message.has_content() else RecordDict()
    head, body = content.config_records.get("head"), content.array_records.get("body")
    if head is None or body is None or set(body) != {"message"} or len(content) != 2:
        raise RunError("A message of another kind than FedSeg's came.", "Use the same version at both ends.")
    return {str(name): str(value) for name, value in head.items()}, body["message"].data


def _task_input(client: RuntimeHttpClient) -> tuple[Message, Context, Fab]:
    """Raises RunError where the coordinator sent what Flower cannot read."""
    try:
        message, context, _, fab = pull_task_input(client)
    except _UNREADABLE as error:
        raise RunError("A message that Flower cannot read came.") from error
    return message, context, fab


def _acquire(
    address: str, ca: str | None, secret: bytes, task: TaskType, given_up: Callable[[], bool]
) -> str:
    """The token of the next task of a kind; waits for it."""
    signed = SuperExecAuthHttpInterceptor(master_secret=secret, protected_methods=_ACQUIRE)
    client = RuntimeHttpClient.from_server_address(address, ca is None, ca, [_version("SuperExec"), signed])
    try:
        while not given_up():
            with contextlib.suppress(httpx.TransportError):
                given = client.AcquireTask(AcquireTaskRequest(supported_task_types=[task]))
                if given.HasField("task") and given.token:
                    return given.token
            time.sleep(_POLL_S)
    finally:
        client.close()
    raise RunError("Flower ended before it gave a task.")


def _with_token(address: str, ca: str | None, token: str, component: str) -> RuntimeHttpClient:
    interceptors: list[ProtobufClientInterceptor] = [_version(component), RuntimeTokenHttpInterceptor(token)]
    return RuntimeHttpClient.from_server_address(address, ca is None, ca, interceptors)


def _version(component: str) -> RuntimeVersionHttpInterceptor:
    return RuntimeVersionHttpInterceptor(component_name=component)


@final
class _Heartbeat:
    """Tells Flower that a task is still worked on; Flower's own sender would end this process when it is refused."""

    def __init__(self, client: RuntimeHttpClient) -> None:
        self.accepted = True
        self._client = client
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Say no more."""
        self._stop.set()
        self._thread.join()

    def _beat(self) -> None:
        while not self._stop.wait(_HEARTBEAT_S):
            try:
                self.accepted = self._client.SendTaskHeartbeat(SendTaskHeartbeatRequest()).success
            except httpx.TransportError:
                continue
            except httpx.HTTPStatusError as error:
                self.accepted = error.response.status_code >= 500


@contextlib.contextmanager
def _told(what: str) -> Iterator[None]:
    try:
        yield
    except (httpx.HTTPError, RuntimeError) as error:
        raise RunError(f"Flower could not {what}: {type(error).__name__}.") from error


def _child(command: str, arguments: Sequence[str], folder: Path) -> Child:
    """One of Flower's commands, whose own files stay in `folder`, its log as well."""
    words = ["-m", "FedSegCore.federation.flower", command, *arguments]
    environment = {**_QUIET, "FLWR_HOME": str(folder / "flower")}
    return Child(words, log=folder / f"{command}.log", environment=environment)


_QUIET: Final = {"FLWR_TELEMETRY_ENABLED": "0", "FLWR_DISABLE_UPDATE_CHECK": "1"}


def _new_secret(path: Path) -> bytes:
    secret = secrets.token_bytes(32)
    write_private(path, secret)
    return secret


def main(words: Sequence[str]) -> int:
    """Run one of Flower's commands until it ends or the pipe from the process that started it does."""
    end_with_parent()
    if words[0] == "superlink":
        from flwr.superlink.cli import flower_superlink

        sys.argv = ["flower-superlink", *words[1:]]
        _let_keys_come_back()
        flower_superlink()
    else:
        from flwr.supernode.cli import flower_supernode

        sys.argv = ["flower-supernode", *words[3:]]
        _look_often()
        _take_no_more_than(int(words[1]))
        _sign_by_clock(float(words[2]))
        flower_supernode()
    return 0


def _ask_soon() -> None:
    """Let a piece that is not there yet be asked for again soon, and for as long as before.

    A message is told of a moment before its pieces have come. Flower asks again after 1 s, then 2 s, at three places
    on a message's way: that was the largest part of a round.
    """
    soon = {"initial_backoff": 0.05, "backoff_cap": 1.0, "max_tries_per_object": None}
    for asks in (pull_objects, pull_and_inflate_object_from_tree):
        asks.__kwdefaults__ = {**(asks.__kwdefaults__ or {}), **soon}


def _look_often() -> None:
    """Let a SuperNode see at once what it looks for: it sleeps 0.5 s between two looks for a reply, and 3 s after a
    question for messages that the coordinator held open in vain."""
    from flwr.supernode import start_client_internal as supernode

    brief = SimpleNamespace(sleep=lambda seconds: time.sleep(min(seconds, _POLL_S)))
    supernode.time = brief  # type: ignore[attr-defined, assignment]


def _take_no_more_than(largest: int) -> None:
    """Bound what the coordinator can make this process hold: each answer, and what a message comes to.

    Flower asks for the next message when the last one is answered, so one is held at a time.
    """
    from flwr.supernode import start_client_internal as supernode
    from flwr.supernode.fleet_http_client import FleetHttpClient

    flowers, made = supernode.pull_objects, FleetHttpClient.__init__  # type: ignore[attr-defined]

    def pull_objects(
        object_ids: list[str], pull_object_fn: Callable[[str], bytes], **options: Any
    ) -> dict[str, bytes]:
        tally = Tally(largest)

        def pulled(name: str) -> bytes:
            content = pull_object_fn(name)
            # An array may name one piece a million times; what it would come to is counted before it is made.
            tally.add(len(content) + _pieces(content) * CALLS["push-object"])
            return content

        return flowers(object_ids, pulled, **options)

    def bounded(client: FleetHttpClient, *positional: Any, **options: Any) -> None:
        made(client, *positional, **options)
        http = client._client
        http._transport = BoundedTransport(http._transport, ANSWERS, _SMALL)
        http._mounts = {
            url: one and BoundedTransport(one, ANSWERS, _SMALL) for url, one in http._mounts.items()
        }

    supernode.pull_objects = pull_objects  # type: ignore[attr-defined]
    FleetHttpClient.__init__ = bounded  # type: ignore[method-assign, assignment]


def _sign_by_clock(ahead_s: float) -> None:
    """Sign calls with the coordinator's time: Flower takes none that is 5 s ahead of its clock, or 305 s behind.

    How far this machine's clock is off was seen over the same authenticated connection.
    """
    from flwr.supernode import node_auth_http_interceptor as signing

    flowers = signing.now  # type: ignore[attr-defined]
    signing.now = lambda: flowers() - timedelta(seconds=ahead_s)  # type: ignore[attr-defined]


def _let_keys_come_back() -> None:
    """Free the key of a node that is dismissed: Flower takes each key once for as long as its SuperLink lives, and a
    site that breaks off and comes back could never be admitted again."""
    from flwr.server.superlink.linkstate.in_memory_linkstate import InMemoryLinkState
    from flwr.supercore.constant import NodeStatus

    flowers = InMemoryLinkState.delete_node

    def delete_node(state: InMemoryLinkState, owner_aid: str, node_id: int) -> None:
        with state.lock:
            node = state.nodes.get(node_id)
            if node is not None and node.status == NodeStatus.REGISTERED:
                node.online_until = 0.0  # it never connected, and Flower cannot delete it without a time here
            flowers(state, owner_aid, node_id)
            if node is not None:
                state.node_public_key_to_node_id.pop(node.public_key, None)

    InMemoryLinkState.delete_node = delete_node  # type: ignore[method-assign, assignment]


_ask_soon()

if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
