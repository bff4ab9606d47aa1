"""A site's way to the hub: every request of the protocol, over verified TLS, tried again while patience lasts."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.cookiejar import DefaultCookiePolicy
from pathlib import Path
from typing import Any, Final, TypeVar, final
from urllib.parse import quote

import requests
from requests import Response, Session

from FedSegCore.hospital import answers
from FedSegCore.hospital.answers import Descriptor, HubModel, NotAHub
from FedSegCore.hospital.download import Download
from FedSegCore.hospital.failing import as_hub_error
from FedSegCore.hospital.patience import Patience
from FedSegCore.hospital.tls import TrustingAdapter, host_and_port, proxies_for, trusting

CONNECT_S: Final = 10.0
READ_S: Final = 35.0
"""Longer than the hub holds a question for (25 s)."""
LONGEST_WAIT_S: Final = 25

Told = TypeVar("Told")


@final
class HubClient:
    """Talks to one hub; proxies are those of the environment and the system, redirections are never followed.

    Not for several threads at once: each may have a client of its own.

    Args:
        address: the hub's host:port.
        ca_pem: the authority that must have signed its certificate; "": those that the system trusts.
        credential: what enrolment gave; it goes out in a header and is never shown.
        patience_s: how long a request is tried again after connection errors and 5xx; 0: not at all.
        timeouts_s: for a connection, and for each piece of an answer.
        wait: how to sleep between tries; may raise to stop it all.
        tell: is told every failure that is not final.

    Raises:
        InputError: address or certificate cannot be read.
    """

    def __init__(
        self,
        address: str,
        ca_pem: str,
        credential: str | None = None,
        *,
        patience_s: float = 0.0,
        timeouts_s: tuple[float, float] = (CONNECT_S, READ_S),
        wait: Callable[[float], object] = time.sleep,
        tell: Callable[[str], object] = lambda message: None,
    ) -> None:
        host_and_port(address)
        self.address = address
        self.credential = credential
        self.patience_s = patience_s
        self._timeouts_s = timeouts_s
        self._wait = wait
        self._tell = tell
        self._session = Session()
        # Nothing of the environment but its proxies: no .netrc login, no other trusted authorities.
        self._session.trust_env = False
        self._session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        self._session.headers.update({"User-Agent": "fedseg", "Accept-Encoding": "identity"})
        self._session.mount("https://", TrustingAdapter(trusting(ca_pem)))

    def close(self) -> None:
        """Let go of connections."""
        self._session.close()

    def __enter__(self) -> HubClient:
        return self

    def __exit__(self, *reason: object) -> None:
        self.close()

    def descriptor(self) -> Descriptor:
        """What the hub tells anyone about itself."""
        return self._ask("GET", "descriptor", lambda told: answers.parse_descriptor(told, self.address))

    def enrol(self, site: str, *, token: str, engine_key: str, fedseg: str) -> str:
        """Trade an invitation's token for a credential, which the client has from then on.

        Args:
            engine_key: the public half of this site's key, one OpenSSH line.
            fedseg: this site's version.
        """
        body = {"site": site, "token": token, "engine_key": engine_key, "fedseg": fedseg}
        self.credential = self._ask("POST", "enrol", self._credential_of, json=body, secrets=(token,))
        return self.credential

    def join(self, joining: bytes) -> None:
        """Send what a site tells when it joins: a wire-encoded `Joining`."""
        self._ask("POST", "join", _nothing, data=joining)

    def study(self, wait_s: int = 0) -> dict[str, Any] | None:
        """What all sites agreed on; None until enough have joined, or for `wait_s` seconds."""
        path = f"study?wait={min(max(wait_s, 0), LONGEST_WAIT_S)}"
        return self._ask("GET", path, lambda told: told or None)

    def attach(self) -> None:
        """Make the engine forget this site's former connection and accept a new one."""
        self._ask("POST", "attach", _nothing)

    def state(self) -> dict[str, Any]:
        """The study's state, round and sites."""
        return self._ask("GET", "state", dict)

    def leave(self) -> None:
        """Take no part from the next round on."""
        self._ask("POST", "leave", _nothing)

    def received(self) -> None:
        """Say that this site has its models: a hub that has heard it of all need not wait for longer."""
        self._ask("POST", "received", _nothing)

    def models(self) -> list[HubModel]:
        """The models that have been published for this site."""
        return self._ask("GET", "models", lambda told: answers.parse_models(told, self.address))

    def download(self, run: str, file: str, sha256: str, target: Path, *, size: int | None = None) -> None:
        """Fetch a model's file, going on where an earlier try broke off.

        Args:
            run, file: as `models` names them.
            sha256: of the whole file, hexadecimal.
            target: where it is to stand; what is there already and has the hash is left.
            size: its bytes, where they are known; more are never taken.

        Raises:
            HubError: no hub, no file of that name, or another file than was told: nothing of it is kept.
            StorageError: the disk takes no more.
        """
        for name in (run, file):
            if not answers.is_plain_name(name):
                raise NotAHub(
                    f'"{answers.cleaned(name)}" is no name of a model.', "Do not go on; tell the coordinator."
                )
        download = Download(target, sha256, size, self.address)
        path = f"models/{quote(run, safe='')}/{quote(file, safe='')}"
        patience = self._patience()
        while not download.finished():
            before = download.offset
            try:
                with self._answer("GET", path, headers=download.headers) as response:
                    download.take(response)
            except answers.HubUnreachable as error:
                if download.offset > before:
                    patience.renew()
                patience.endure(error)
            except answers.HubError:
                download.forget()
                raise

    def _ask(self, method: str, path: str, read: Callable[[dict[str, Any]], Told], **options: Any) -> Told:
        patience = self._patience()
        while True:
            try:
                with self._answer(method, path, **options) as response:
                    empty = response.status_code == requests.codes.no_content
                    told = {} if empty else answers.read_object(response, self.address)
                return read(told)
            except answers.HubUnreachable as error:
                patience.endure(error)

    @contextmanager
    def _answer(
        self, method: str, path: str, *, secrets: tuple[str, ...] = (), headers: Mapping[str, str] | None = None,
        **body: Any,
    ) -> Iterator[Response]:  # fmt: skip
        """A 2xx answer, its body unread; whatever goes wrong, in reading it too, becomes a HubError."""
        own = {"Authorization": f"Bearer {self.credential}"} if self.credential else {}
        try:
            with self._session.request(
                method, f"https://{self.address}/hub/{path}", headers={**own, **(headers or {})}, stream=True,
                timeout=self._timeouts_s, allow_redirects=False, proxies=proxies_for(self.address), **body,
            ) as response:  # fmt: skip
                answers.check_status(response, self.address, secrets=(*secrets, self.credential or ""))
                yield response
        except requests.RequestException as error:
            raise as_hub_error(error, self.address, self._timeouts_s) from None

    def _credential_of(self, told: Mapping[str, Any]) -> str:
        credential = told.get("credential")
        if not isinstance(credential, str) or not credential.isascii() or not credential.isprintable():
            raise NotAHub(f"{self.address} gave no credential.", "Tell the coordinator.")
        return credential

    def _patience(self) -> Patience:
        return Patience(self.patience_s, wait=self._wait, tell=self._tell)


def _nothing(told: Mapping[str, Any]) -> None:
    """The answer says no more than yes."""
