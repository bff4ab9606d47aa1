from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator

import pytest

from FedSegCore.hospital.answers import HubRefused, HubUnreachable, HubUntrusted, NotAHub
from FedSegCore.hospital.hubclient import HubClient
from Testing.hospital.certificates import Authority
from Testing.hospital.hub import Answer, Hub, proxying, said, serving

CREDENTIAL = "c-R3denti4l"
DESCRIPTOR = {
    "format": 1, "study": "liver", "fedseg": "0.1.0", "engine": "flwr 1.41", "identity": "aWQ=",
    "time": 1000.5, "state": "waiting",
}  # fmt: skip

Connect = Callable[..., HubClient]


@pytest.fixture
def connect(hub: Hub, authority: Authority) -> Iterator[Connect]:
    """Makes clients that do not sleep between tries."""
    made: list[HubClient] = []

    def make(credential: str | None = CREDENTIAL, **options: object) -> HubClient:
        settings = {"wait": lambda seconds: None, "timeouts_s": (2.0, 2.0), **options}
        made.append(HubClient(hub.address, authority.pem, credential, **settings))
        return made[-1]

    yield make
    for client in made:
        client.close()


def test_the_descriptor_is_read_without_a_credential(hub: Hub, connect: Connect) -> None:
    hub.on("/hub/descriptor", said(DESCRIPTOR))
    told = connect(None).descriptor()
    assert (told.study, told.time, told.state) == ("liver", 1000.5, "waiting")
    assert "authorization" not in hub.asked[0].headers


def test_enrolment_trades_the_token_for_the_credential_of_all_later_requests(
    hub: Hub, connect: Connect
) -> None:
    hub.on("/hub/enrol", said({"credential": CREDENTIAL}))
    hub.on("/hub/state", said({"state": "running"}))
    client = connect(None)
    assert client.enrol("north", token="t", engine_key="ecdsa AAA", fedseg="0.1.0") == CREDENTIAL
    assert client.state() == {"state": "running"}
    assert json.loads(hub.asked[0].body) == {
        "site": "north", "token": "t", "engine_key": "ecdsa AAA", "fedseg": "0.1.0",
    }  # fmt: skip
    assert hub.asked[1].headers["authorization"] == f"Bearer {CREDENTIAL}"


def test_joining_attaching_receiving_and_leaving_are_posts_that_bring_nothing_back(
    hub: Hub, connect: Connect
) -> None:
    for name in ("join", "attach", "received", "leave"):
        hub.on(f"/hub/{name}", said({}))
    client = connect()
    client.join(b"\0joining")
    client.attach()
    client.received()
    client.leave()
    assert hub.paths() == [f"POST /hub/{name}" for name in ("join", "attach", "received", "leave")]
    assert hub.asked[0].body == b"\0joining"


def test_the_agreement_is_none_until_enough_sites_have_joined(hub: Hub, connect: Connect) -> None:
    hub.on("/hub/study?wait=5", Answer(204), said({"labels": ["Liver"]}))
    client = connect()
    assert client.study(wait_s=5) is None
    assert client.study(wait_s=5) == {"labels": ["Liver"]}


def test_the_hub_is_never_asked_to_hold_a_question_for_longer_than_it_does(
    hub: Hub, connect: Connect
) -> None:
    hub.on("/hub/study?wait=25", Answer(204))
    assert connect().study(wait_s=600) is None


def test_models_are_listed_with_size_hash_and_card(hub: Hub, connect: Connect) -> None:
    one = {
        "run": "fedgin-seed0",
        "file": "global.safetensors",
        "bytes": 7,
        "sha256": "0" * 64,
        "card": {"a": 1},
    }
    hub.on("/hub/models", said({"models": [one]}))
    (model,) = connect().models()
    assert (model.run, model.file, model.bytes, model.sha256, model.card) == tuple(one.values())


@pytest.mark.parametrize(
    "changed",
    [
        {"file": "../x"},
        {"run": ".."},
        {"file": "a/b"},
        {"file": "C:x"},
        {"bytes": -1},
        {"sha256": "zz"},
        {"card": 3},
    ],
)
def test_a_list_with_a_model_that_cannot_be_is_refused(
    hub: Hub, connect: Connect, changed: dict[str, object]
) -> None:
    one = {"run": "r", "file": "f", "bytes": 7, "sha256": "0" * 64, "card": {}}
    hub.on("/hub/models", said({"models": [{**one, **changed}]}))
    with pytest.raises(NotAHub):
        connect().models()


def test_a_server_in_trouble_is_asked_again_while_patience_lasts(hub: Hub, connect: Connect) -> None:
    hub.on("/hub/state", Answer(503), Answer(200, b"{", length=99, cut=1), said({"round": 3}))
    told: list[str] = []
    assert connect(patience_s=60, tell=told.append).state() == {"round": 3}
    assert len(told) == 2 and "503" in told[0] and "broke off" in told[1]


def test_without_patience_the_first_failure_is_told(hub: Hub, connect: Connect) -> None:
    hub.on("/hub/state", Answer(502))
    with pytest.raises(HubUnreachable, match="502"):
        connect().state()
    assert len(hub.asked) == 1


def test_a_refusal_is_final_and_in_the_hubs_own_words(hub: Hub, connect: Connect) -> None:
    hub.on("/hub/join", said({"message": "The study is closed.", "fix": "Ask for the next."}, 403))
    with pytest.raises(HubRefused) as refused:
        connect(patience_s=60).join(b"")
    assert "The study is closed." in refused.value.message
    assert (refused.value.fix, refused.value.status) == ("Ask for the next.", 403)
    assert len(hub.asked) == 1


def test_a_hub_cannot_write_on_a_terminal_nor_echo_the_credential(hub: Hub, connect: Connect) -> None:
    hostile = f"\x1b[2J\x07\u202e{CREDENTIAL}\r\n" + "x" * 5000
    hub.on("/hub/state", said({"message": hostile, "fix": hostile}, 401))
    with pytest.raises(HubRefused) as refused:
        connect().state()
    assert str(refused.value).isprintable()
    assert CREDENTIAL not in str(refused.value)
    assert len(refused.value.message) < 400 and len(refused.value.fix) <= 300


def test_a_hub_cannot_echo_the_token(hub: Hub, connect: Connect) -> None:
    hub.on("/hub/enrol", said({"message": "no t0ken-x"}, 401))
    with pytest.raises(HubRefused) as refused:
        connect(None).enrol("north", token="t0ken-x", engine_key="k", fedseg="0.1.0")
    assert "t0ken-x" not in str(refused.value)


@pytest.mark.parametrize(
    "garbage",
    [b"<html>", b"[1]", b"[" * 100_000, b"\xff\xfe", b'{"format": 2}', b"{}"],
    ids=["html", "list", "deep", "bytes", "format", "empty"],
)
def test_garbage_is_no_hub_and_is_not_asked_again(hub: Hub, connect: Connect, garbage: bytes) -> None:
    hub.on("/hub/descriptor", Answer(200, garbage))
    with pytest.raises(NotAHub):
        connect(patience_s=60).descriptor()
    assert len(hub.asked) == 1


def test_an_answer_beyond_four_megabytes_is_not_read_to_its_end(hub: Hub, connect: Connect) -> None:
    hub.on("/hub/state", Answer(200, b" " * (4 * 2**20 + 1) + b"{}"))
    with pytest.raises(NotAHub, match="more than"):
        connect().state()


def test_a_packed_answer_is_not_unpacked(hub: Hub, connect: Connect) -> None:
    hub.on("/hub/state", Answer(200, b"\x1f\x8b", {"Content-Encoding": "gzip"}))
    with pytest.raises(NotAHub, match="packed"):
        connect().state()
    assert hub.asked[0].headers["accept-encoding"] == "identity"


def test_redirections_are_not_followed(hub: Hub, connect: Connect) -> None:
    hub.on("/hub/state", Answer(307, b"", {"Location": "/hub/elsewhere"}))
    with pytest.raises(NotAHub, match="307"):
        connect().state()
    assert hub.paths() == ["GET /hub/state"]


def test_a_plain_web_servers_404_is_no_refusal_of_a_hub(connect: Connect) -> None:
    with pytest.raises(NotAHub, match="404"):
        connect().state()


def test_a_silent_hub_is_given_up(hub: Hub, connect: Connect) -> None:
    hub.on("/hub/state", Answer(hangs=True))
    with pytest.raises(HubUnreachable, match="silent"):
        connect(timeouts_s=(2.0, 0.1)).state()


def test_nobody_at_the_address_is_told_as_such(authority: Authority) -> None:
    with serving(None) as gone:
        address = gone.address
    with (
        HubClient(address, authority.pem) as client,
        pytest.raises(HubUnreachable, match="refused the connection"),
    ):
        client.descriptor()


def test_a_certificate_of_another_authority_is_final(stranger: Authority, authority: Authority) -> None:
    with serving(stranger.server()) as hub, HubClient(hub.address, authority.pem, patience_s=60) as client:
        with pytest.raises(HubUntrusted):
            client.descriptor()
        assert hub.asked == []


def test_no_environment_makes_a_client_trust_another_authority(
    stranger: Authority, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = stranger.folder / "authority.pem"
    bundle.write_text(stranger.pem)
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"):
        monkeypatch.setenv(name, str(bundle))
    inspecting = stranger.server()
    with (
        serving(inspecting) as hub,
        HubClient(hub.address, authority.pem) as client,
        pytest.raises(HubUntrusted),
    ):
        client.descriptor()


def test_public_authorities_are_not_trusted_beside_the_invitations(hub: Hub, connect: Connect) -> None:
    hub.on("/hub/state", said({}))
    client = connect()
    client.state()
    context = client._session.get_adapter("https://").poolmanager.connection_pool_kw["ssl_context"]
    assert context.cert_store_stats()["x509_ca"] == 1


def test_a_certificate_for_another_host_is_refused(authority: Authority) -> None:
    foreign = authority.server("hub.example")
    with (
        serving(foreign) as hub,
        HubClient(hub.address, authority.pem) as client,
        pytest.raises(HubUntrusted),
    ):
        client.descriptor()


@pytest.mark.usefixtures("trusted_here")
def test_an_empty_authority_stands_for_the_systems(hub: Hub) -> None:
    hub.on("/hub/descriptor", said(DESCRIPTOR))
    with HubClient(hub.address, "") as client:
        assert client.descriptor().study == "liver"


def test_requests_go_through_the_environments_proxy_with_its_login(
    hub: Hub, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.on("/hub/state", said({"round": 1}))
    with proxying() as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"http://user:secret@{proxy.address}")
        assert connect().state() == {"round": 1}
    assert proxy.heads[0].startswith(f"CONNECT {hub.address} ")
    assert "Proxy-Authorization: Basic" in proxy.heads[0]
    assert CREDENTIAL not in proxy.heads[0]


def test_no_proxy_is_honoured(hub: Hub, connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.on("/hub/state", said({"round": 1}))
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    assert connect().state() == {"round": 1}


@pytest.mark.parametrize("refusal", ["403 Forbidden", "407 Proxy Authentication Required"])
def test_a_proxy_that_says_no_is_named_without_its_login(
    connect: Connect, monkeypatch: pytest.MonkeyPatch, refusal: str
) -> None:
    with proxying(refusal) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"http://user:secret@{proxy.address}")
        with pytest.raises(Exception, match=refusal[:3]) as refused:
            connect(patience_s=60).state()
    assert proxy.address in str(refused.value) and "secret" not in str(refused.value)
    assert len(proxy.heads) == 1, "what a proxy forbids is not tried again"


def test_the_credential_is_in_no_log(hub: Hub, connect: Connect, caplog: pytest.LogCaptureFixture) -> None:
    hub.on("/hub/state", Answer(503), said({}))
    with caplog.at_level(logging.DEBUG):
        connect(patience_s=60).state()
    assert CREDENTIAL not in caplog.text


def test_a_netrc_login_does_not_take_the_credentials_place(
    hub: Hub, connect: Connect, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path_factory.mktemp("home") / "netrc"
    netrc.write_text("machine 127.0.0.1 login me password mine\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    hub.on("/hub/state", said({}))
    connect().state()
    assert hub.asked[0].headers["authorization"] == f"Bearer {CREDENTIAL}"
