"""X.509 certificates: an authority of a coordinator's own, a server's certificate under it, chains of others'."""

from __future__ import annotations

import ipaddress
import re
import ssl
import warnings
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

import certifi
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.utils import CryptographyDeprecationWarning
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from FedSegCore.errors import InputError, UsageError

_AUTHORITY_LIFE: Final = timedelta(days=3650)
_SERVER_LIFE: Final = timedelta(days=398)
"""What browsers and strict clients accept at most."""
_CLOCK_SKEW: Final = timedelta(days=1)
"""How far a hospital's clock may be behind the coordinator's."""
_ALWAYS: Final = ("localhost", "127.0.0.1")
_LABEL: Final = "[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?"
_HOST: Final = re.compile(rf"{_LABEL}(\.{_LABEL})*")
_USES: Final = (
    "digital_signature",
    "content_commitment",
    "key_encipherment",
    "data_encipherment",
    "key_agreement",
    "key_cert_sign",
    "crl_sign",
    "encipher_only",
    "decipher_only",
)


def new_authority(key: ec.EllipticCurvePrivateKey, moment: datetime) -> x509.Certificate:
    """An authority's certificate, signed by itself; it may sign servers' certificates alone."""
    public = key.public_key()
    own = x509.SubjectKeyIdentifier.from_public_key(public)
    # Two authorities of one name would be told apart by no error message.
    subject = _name(f"FedSeg authority {own.digest.hex()[:8]}")
    builder = _builder(subject, public, moment).issuer_name(subject)
    builder = builder.not_valid_after(moment + _AUTHORITY_LIFE)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    builder = builder.add_extension(_usage("key_cert_sign", "crl_sign"), critical=True)
    return builder.sign(key, hashes.SHA256())


def new_server(
    public: ec.EllipticCurvePublicKey,
    names: Sequence[x509.GeneralName],
    *,
    authority: x509.Certificate,
    signer: ec.EllipticCurvePrivateKey,
    moment: datetime,
) -> x509.Certificate:
    """A server's certificate for these names, valid no longer than its authority's."""
    end = min(moment + _SERVER_LIFE, authority.not_valid_after_utc)
    builder = _builder(_name("FedSeg coordinator"), public, moment).issuer_name(authority.subject)
    builder = builder.not_valid_after(end)
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    builder = builder.add_extension(_usage("digital_signature"), critical=True)
    builder = builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
    builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key())
    return builder.add_extension(issuer, critical=False).sign(signer, hashes.SHA256())


def _builder(
    subject: x509.Name, public: ec.EllipticCurvePublicKey, moment: datetime
) -> x509.CertificateBuilder:
    builder = x509.CertificateBuilder().subject_name(subject).public_key(public)
    builder = builder.serial_number(x509.random_serial_number()).not_valid_before(moment - _CLOCK_SKEW)
    return builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _usage(*uses: str) -> x509.KeyUsage:
    return x509.KeyUsage(**{use: use in uses for use in _USES})


def server_names(hosts: Iterable[str]) -> list[x509.GeneralName]:
    """Names and IP addresses as a certificate holds them, each once, with those of this machine.

    Raises:
        UsageError: a host is neither.
    """
    names: dict[x509.GeneralName, None] = {}
    for host in (*hosts, *_ALWAYS):
        names[_server_name(host)] = None
    return list(names)


def _server_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host.removeprefix("[").removesuffix("]")))
    except ValueError:
        pass
    try:
        name = host.encode("idna").decode().lower()
    except UnicodeError:
        name = ""
    if not _HOST.fullmatch(name):
        raise UsageError(
            f'"{host}" is neither the name of a host nor an IP address.',
            "Give a name such as hub.example.org, without scheme, port or path.",
        )
    return x509.DNSName(name)


def names_of(certificate: x509.Certificate) -> set[x509.GeneralName]:
    """The names and addresses that a server's certificate is for."""
    try:
        return set(certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value)
    except x509.ExtensionNotFound:
        return set()


def was_issued(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    """Whether `issuer` is named by a certificate, and signed it."""
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def is_public(chain: Iterable[x509.Certificate]) -> bool:
    """Whether a chain leads to an authority that programs trust everywhere."""
    roots = _public_roots()
    return any(root.subject == one.issuer and was_issued(one, root) for one in chain for root in roots)


def _public_roots() -> list[x509.Certificate]:
    # Not the system's own list: a coordinator's system may trust an authority that no other hospital knows.
    context = ssl.create_default_context(cafile=certifi.where())
    roots = []
    with warnings.catch_warnings():
        # Some public roots break rules that cryptography will insist on one day.
        warnings.simplefilter("ignore", CryptographyDeprecationWarning)
        for data in context.get_ca_certs(binary_form=True):
            try:
                roots.append(x509.load_der_x509_certificate(data))
            except ValueError:
                continue
    return roots


def read_chain(path: Path) -> list[x509.Certificate]:
    """A file's certificates in their order.

    Raises:
        InputError: unreadable, or none in PEM format is in it.
    """
    try:
        return x509.load_pem_x509_certificates(path.read_bytes())
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}.", "Check the path.") from None
    except ValueError:
        raise InputError(f"{path} holds no certificate.", "Give a certificate in PEM format.") from None


def refuse_untimely(certificate: x509.Certificate, path: Path, moment: datetime) -> None:
    """Raise an InputError where a certificate is not valid yet, or no longer."""
    start, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if moment > end:
        raise InputError(f"{path} expired on {end:%Y-%m-%d %H:%M} UTC.", "Have it renewed.")
    if moment < start:
        raise InputError(
            f"{path} is not valid before {start:%Y-%m-%d %H:%M} UTC.", "Set this machine's clock, or wait."
        )


def pem_text(certificate: x509.Certificate) -> str:
    """A certificate in PEM format."""
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


def fingerprint(pem: str) -> str:
    """A certificate's sha256, over its DER bytes, in hex.

    Raises:
        InputError: the text is not exactly one certificate.
    """
    try:
        (certificate,) = x509.load_pem_x509_certificates(pem.encode())
    except ValueError:
        raise InputError("The text is not one certificate.", "Give one in PEM format.") from None
    return certificate.fingerprint(hashes.SHA256()).hex()
