"""A hub over TLS for each test, and an environment without proxies."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from Testing.hospital.certificates import Authority
from Testing.hospital.hub import Hub, serving


@pytest.fixture(autouse=True)
def no_proxy_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests' own proxies are the only ones."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """The coordinator's."""
    return Authority("the coordinator", tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="session")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Somebody else's, such as a proxy's that reads traffic."""
    return Authority("Hospital inspection", tmp_path_factory.mktemp("stranger"))


@pytest.fixture
def trusted_here(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    """The system trusts the coordinator's authority."""
    bundle = authority.folder / "system.pem"
    bundle.write_text(authority.pem)
    monkeypatch.setenv("SSL_CERT_FILE", str(bundle))


@pytest.fixture
def hub(authority: Authority) -> Iterator[Hub]:
    """A hub of the coordinator's."""
    with serving(authority.server()) as running:
        yield running
