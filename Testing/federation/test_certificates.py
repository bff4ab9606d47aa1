from __future__ import annotations

import hashlib
import re
import ssl
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import certifi
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from FedSegCore.errors import InputError, UsageError
from FedSegCore.federation import certificates
from FedSegCore.federation.keys import TlsFiles, fingerprint, given_tls, make_tls

DAY = 86400.0
NOW = time.time()


def certificate_of(tls: TlsFiles) -> x509.Certificate:
    return x509.load_pem_x509_certificate(tls.certificate.read_bytes())


def shake_hands(tls: TlsFiles, host: str) -> None:
    """A TLS handshake in memory between the server and a client that trusts `ca` alone."""
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(tls.certificate, tls.key)
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.verify_flags |= ssl.VERIFY_X509_STRICT
    client.load_verify_locations(cadata=tls.ca)
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [
        client.wrap_bio(to_client, to_server, server_hostname=host),
        server.wrap_bio(to_server, to_client, server_side=True),
    ]
    while ends:
        for end in list(ends):
            try:
                end.do_handshake()
                ends.remove(end)
            except ssl.SSLWantReadError:
                continue


class Party:
    """Somebody with a key and a certificate, made by an authority that is not FedSeg's."""

    def __init__(
        self, name: str, issuer: Party | None = None, *, start: float = -1, days: float = 90
    ) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        begin = datetime.fromtimestamp(NOW, UTC) + timedelta(days=start)
        signer = issuer or self
        self.certificate = (
            x509.CertificateBuilder()
            .subject_name(self.name)
            .issuer_name(signer.name)
            .public_key(self.key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(begin)
            .not_valid_after(begin + timedelta(days=days))
            .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
            .sign(signer.key, hashes.SHA256())
        )

    @property
    def text(self) -> str:
        return certificates.pem_text(self.certificate)

    def secret(self, passphrase: bytes = b"") -> bytes:
        lock = (
            serialization.BestAvailableEncryption(passphrase) if passphrase else serialization.NoEncryption()
        )
        form = serialization.PrivateFormat.PKCS8
        return self.key.private_bytes(serialization.Encoding.PEM, form, lock)

    def write(self, folder: Path, *chain: Party, passphrase: bytes = b"") -> tuple[Path, Path]:
        certificate, key = folder / "given.pem", folder / "given.key"
        certificate.write_text("".join(party.text for party in (self, *chain)))
        key.write_bytes(self.secret(passphrase))
        return certificate, key


ROOT = Party("Root of a hospital")
MIDDLE = Party("Issuing authority", ROOT)
SERVER = Party("hub.example.org", MIDDLE)
OTHER = SERVER.text.encode() + SERVER.secret()
"""A certificate and its key, but of somebody else."""


@pytest.mark.parametrize("host", ["hub.example.org", "10.1.2.3", "fd00::7", "localhost", "127.0.0.1"])
def test_a_strict_client_that_trusts_the_authority_accepts_every_host(tmp_path: Path, host: str) -> None:
    shake_hands(make_tls(tmp_path, ["hub.example.org", "10.1.2.3", "[fd00::7]"]), host)


def test_a_client_refuses_a_host_that_was_not_named(tmp_path: Path) -> None:
    with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
        shake_hands(make_tls(tmp_path, ["hub.example.org"]), "other.example.org")


def test_a_client_that_trusts_another_authority_refuses(tmp_path: Path) -> None:
    own, other = make_tls(tmp_path / "a", ["hub"]), make_tls(tmp_path / "b", ["hub"])
    with pytest.raises(ssl.SSLCertVerificationError):
        shake_hands(TlsFiles(other.ca, own.certificate, own.key), "hub")


def test_the_authority_holds_ten_years_the_server_398_days_and_both_began_yesterday(tmp_path: Path) -> None:
    tls = make_tls(tmp_path, ["hub"], now=NOW)
    start = datetime.fromtimestamp(int(NOW), UTC)
    for certificate, days in (
        (x509.load_pem_x509_certificate(tls.ca.encode()), 3650),
        (certificate_of(tls), 398),
    ):
        assert certificate.not_valid_before_utc == start - timedelta(days=1)
        assert certificate.not_valid_after_utc == start + timedelta(days=days)


def test_a_servers_certificate_signs_no_other(tmp_path: Path) -> None:
    extensions = certificate_of(make_tls(tmp_path, ["hub"])).extensions
    assert not extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert not extensions.get_extension_for_class(x509.KeyUsage).value.key_cert_sign


def test_a_name_in_another_alphabet_is_kept_as_the_net_writes_it(tmp_path: Path) -> None:
    names = certificates.names_of(certificate_of(make_tls(tmp_path, ["Zürich.example"])))
    assert x509.DNSName("xn--zrich-kva.example") in names


@pytest.mark.parametrize("host", ["", "https://hub.example.org", "hub:8443", "two words", "*", "a..b", "-a"])
def test_what_is_no_host_is_refused(tmp_path: Path, host: str) -> None:
    with pytest.raises(UsageError, match="neither the name of a host nor an IP address"):
        make_tls(tmp_path, [host])


def test_a_restart_keeps_all_files_also_with_fewer_hosts(tmp_path: Path) -> None:
    make_tls(tmp_path, ["hub", "10.0.0.1"], now=NOW)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    make_tls(tmp_path, ["10.0.0.1", "localhost"], now=NOW + 300 * DAY)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize(
    ("hosts", "later"), [(["hub", "new"], 0.0), (["hub"], 369 * DAY), (["hub"], -2 * DAY)]
)
def test_a_further_host_a_near_end_and_a_wrong_clock_bring_a_new_certificate_under_the_same_authority(
    tmp_path: Path, hosts: list[str], later: float
) -> None:
    old = certificate_of(make_tls(tmp_path, ["hub"], now=NOW))
    ca = (tmp_path / "ca.pem").read_text()
    tls = make_tls(tmp_path, hosts, now=NOW + later)
    assert certificate_of(tls).serial_number != old.serial_number
    assert tls.ca == ca


@pytest.mark.parametrize("name", ["server.pem", "server.key"])
@pytest.mark.parametrize("content", [None, b"", OTHER])
def test_a_server_file_that_is_lost_broken_or_foreign_is_mended(
    tmp_path: Path, name: str, content: bytes | None
) -> None:
    path = tmp_path / name
    make_tls(tmp_path, ["hub"])
    path.unlink() if content is None else path.write_bytes(content)
    shake_hands(make_tls(tmp_path, ["hub"]), "hub")


def test_the_servers_certificate_ends_with_its_authority_which_then_is_made_anew(tmp_path: Path) -> None:
    old = make_tls(tmp_path, ["hub"], now=NOW)
    last = make_tls(tmp_path, ["hub"], now=NOW + 3600 * DAY)
    assert last.ca == old.ca
    assert certificate_of(last).not_valid_after_utc == datetime.fromtimestamp(int(NOW), UTC) + timedelta(3650)
    assert make_tls(tmp_path, ["hub"], now=NOW + 3621 * DAY).ca != old.ca


@pytest.mark.parametrize("content", [None, b"", OTHER])
def test_an_authority_whose_key_is_lost_is_an_error_for_sites_trust_no_other(
    tmp_path: Path, content: bytes | None
) -> None:
    make_tls(tmp_path, ["hub"])
    key = tmp_path / "ca.key"
    key.unlink() if content is None else key.write_bytes(content)
    with pytest.raises(InputError, match=re.escape(str(key))):
        make_tls(tmp_path, ["hub"])


def test_an_authority_of_which_only_the_key_was_written_is_made_whole(tmp_path: Path) -> None:
    make_tls(tmp_path, ["hub"])
    (tmp_path / "ca.pem").unlink()
    shake_hands(make_tls(tmp_path, ["hub"]), "hub")


def test_the_fingerprint_is_that_of_the_certificates_bytes(tmp_path: Path) -> None:
    expected = hashlib.sha256(ssl.PEM_cert_to_DER_cert(ROOT.text)).hexdigest()
    assert fingerprint(ROOT.text) == expected


@pytest.mark.parametrize("text", ["", "words", ROOT.text + MIDDLE.text, "ä"])
def test_only_one_certificate_has_a_fingerprint(text: str) -> None:
    with pytest.raises(InputError, match="not one certificate"):
        fingerprint(text)


def test_a_given_certificate_is_trusted_through_the_last_of_its_chain(tmp_path: Path) -> None:
    certificate, key = SERVER.write(tmp_path, MIDDLE, ROOT)
    assert given_tls(certificate, key) == TlsFiles(ROOT.text, certificate, key)


def test_a_certificate_that_signed_itself_is_trusted_itself(tmp_path: Path) -> None:
    assert given_tls(*ROOT.write(tmp_path)).ca == ROOT.text


@pytest.mark.parametrize("chain", [[MIDDLE], [MIDDLE, ROOT]])
def test_under_a_public_authority_sites_trust_what_every_system_trusts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chain: list[Party]
) -> None:
    bundle = tmp_path / "bundle.pem"
    bundle.write_text(ROOT.text)
    monkeypatch.setattr(certifi, "where", lambda: str(bundle))
    assert given_tls(*SERVER.write(tmp_path, *chain)).ca == ""


def test_the_public_authorities_are_those_that_programs_bring_along() -> None:
    names = {root.subject.rfc4514_string() for root in certificates._public_roots()}
    assert any("ISRG Root X1" in name for name in names)


def test_a_key_of_another_certificate_is_refused(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    certificate, _ = SERVER.write(tmp_path, MIDDLE, ROOT)
    _, key = ROOT.write(tmp_path / "other")
    with pytest.raises(InputError, match="is not the key of"):
        given_tls(certificate, key)


def test_an_expired_certificate_is_refused_with_its_date(tmp_path: Path) -> None:
    certificate, key = SERVER.write(tmp_path, MIDDLE, ROOT)
    end = SERVER.certificate.not_valid_after_utc
    with pytest.raises(InputError, match=f"expired on {end:%Y-%m-%d %H:%M} UTC"):
        given_tls(certificate, key, now=NOW + 90 * DAY)


def test_a_certificate_of_tomorrow_is_refused_with_its_date(tmp_path: Path) -> None:
    certificate, key = Party("tomorrow", start=1).write(tmp_path)
    with pytest.raises(InputError, match="is not valid before"):
        given_tls(certificate, key)


def test_a_chain_in_the_wrong_order_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="one after it did not issue"):
        given_tls(*SERVER.write(tmp_path, ROOT, MIDDLE))


def test_a_chain_that_ends_before_its_authority_says_which_one_is_missing(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="CN=Root of a hospital") as caught:
        given_tls(*SERVER.write(tmp_path, MIDDLE))
    assert "Append" in caught.value.fix


def test_a_locked_key_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="locked with a passphrase"):
        given_tls(*ROOT.write(tmp_path, passphrase=b"word"))


@pytest.mark.parametrize("missing", ["given.pem", "given.key"])
def test_a_file_that_is_not_there_is_named(tmp_path: Path, missing: str) -> None:
    files = ROOT.write(tmp_path)
    (tmp_path / missing).unlink()
    with pytest.raises(InputError, match=rf"{missing} cannot be read: No such file"):
        given_tls(*files)


def test_a_file_without_a_certificate_is_named(tmp_path: Path) -> None:
    _, key = ROOT.write(tmp_path)
    with pytest.raises(InputError, match="holds no certificate"):
        given_tls(key, key)
