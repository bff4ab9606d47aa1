"""Who signs and who is who: a coordinator's identity, a site's key for the engine, a server's TLS files.

Every private key is made where it is used, lies in a file that only its owner reads, and never travels.
"""

from __future__ import annotations

import base64
import itertools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, final

from FedSegCore.errors import InputError, UsageError
from FedSegCore.files import write_atomic, write_private

try:
    from cryptography import x509
    from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519

    from FedSegCore.federation import certificates
    from FedSegCore.federation.certificates import fingerprint
except ModuleNotFoundError as missing:
    raise UsageError(
        f"A federation across hospitals needs the Python package {missing.name}, which is not installed.",
        'Install FedSeg with it: pip install "fedseg[federation]".',
    ) from None

__all__ = [
    "Identity",
    "TlsFiles",
    "fingerprint",
    "given_tls",
    "make_engine_key",
    "make_tls",
    "signed_by",
]

_RENEWAL: Final = timedelta(days=30)
"""A certificate with less time left is made anew at the next start."""


@final
class Identity:
    """A coordinator's signing key (ed25519): sites know a study by it, whatever its address.

    Args:
        path: the key's file; it is made on first use. A broken one is an error and never replaced: every
            invitation names the key.
    """

    def __init__(self, path: Path) -> None:
        if not path.exists():
            write_private(path, _pem(ed25519.Ed25519PrivateKey.generate()))
        key = _private_key(path)
        if not isinstance(key, ed25519.Ed25519PrivateKey):
            raise _no_key(path, "an ed25519 key")
        self._key = key

    @property
    def public(self) -> str:
        """The public key's 32 bytes in base64."""
        return base64.b64encode(self._key.public_key().public_bytes_raw()).decode()

    def sign(self, data: bytes) -> bytes:
        """The signature's 64 bytes."""
        return self._key.sign(data)


def signed_by(public: str, signature: bytes, data: bytes) -> bool:
    """Whether the owner of an identity signed these bytes; what is no public key has signed nothing."""
    try:
        key = ed25519.Ed25519PublicKey.from_public_bytes(base64.b64decode(public, validate=True))
        key.verify(signature, data)
    except (InvalidSignature, ValueError):
        return False
    return True


def make_engine_key(path: Path) -> str:
    """A site's key (EC P-384) for the federation engine, made on first use.

    The file is in OpenSSH's format, for the engine reads no other.

    Returns:
        The public key as a line in OpenSSH's format.
    """
    if not path.exists():
        made = ec.generate_private_key(ec.SECP384R1())
        write_private(path, _pem(made, serialization.PrivateFormat.OpenSSH))
    key = _private_key(path, serialization.load_ssh_private_key)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise _no_key(path, "an EC key")
    encoding, form = serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH
    return key.public_key().public_bytes(encoding, form).decode()


@dataclass(frozen=True)
class TlsFiles:
    """What a server shows, and what its clients trust.

    Args:
        ca: the certificate that sites trust, as PEM text; "" for those that every system trusts.
        certificate: the server's certificate and the chain that leads to `ca`.
        key: the private key of `certificate`.
    """

    ca: str
    certificate: Path
    key: Path


def make_tls(folder: Path, hosts: Sequence[str], *, now: float | None = None) -> TlsFiles:
    """A certificate for these names and addresses, under an authority of the coordinator's own.

    Both are made on first use. The server's certificate is made anew for a further host, or shortly before its end.
    The authority, which the invitations carry, stays until shortly before its own end.

    Args:
        hosts: the names and IP addresses that sites connect to; this machine's own are added.
        now: the clock in unix seconds; this machine's if not given.

    Raises:
        UsageError: a host is neither a name nor an address.
        InputError: the authority's key is lost, so that nothing can be made that sites would trust.
    """
    moment = _moment(now)
    names = certificates.server_names(hosts)
    authority, signer = _authority(folder, moment)
    tls = TlsFiles(certificates.pem_text(authority), folder / "server.pem", folder / "server.key")
    if not _still_serves(tls, names, authority, moment):
        key = ec.generate_private_key(ec.SECP256R1())
        server = certificates.new_server(
            key.public_key(), names, authority=authority, signer=signer, moment=moment
        )
        write_private(tls.key, _pem(key))
        write_atomic(tls.certificate, certificates.pem_text(server).encode())
    return tls


def given_tls(certificate: Path, key: Path, *, now: float | None = None) -> TlsFiles:
    """The coordinator's own certificate, seen to be fit for use.

    Sites trust what every system trusts where a public authority issued it, else the last certificate in the file.

    Raises:
        InputError: it or its key is unreadable; the two do not fit; it is not valid now; its chain is broken.
    """
    chain = certificates.read_chain(certificate)
    if _private_key(key).public_key() != chain[0].public_key():
        raise InputError(f"{key} is not the key of {certificate}.", "Give the two that were made together.")
    certificates.refuse_untimely(chain[0], certificate, _moment(now))
    for one, issuer in itertools.pairwise(chain):
        if not certificates.was_issued(one, issuer):
            raise InputError(
                f"{certificate} holds a certificate that the one after it did not issue.",
                "Put the server's certificate first and each one's issuer after it.",
            )
    if certificates.is_public(chain):
        return TlsFiles("", certificate, key)
    if not certificates.was_issued(chain[-1], chain[-1]):
        raise InputError(
            f"{certificate} ends before the authority that hospitals would have to trust, "
            f"{chain[-1].issuer.rfc4514_string()}.",
            "Append that authority's certificate to the file.",
        )
    return TlsFiles(certificates.pem_text(chain[-1]), certificate, key)


def _authority(folder: Path, moment: datetime) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    certificate, path = folder / "ca.pem", folder / "ca.key"
    if certificate.exists():
        (authority,) = certificates.read_chain(certificate)[:1]
        if authority.not_valid_after_utc >= moment + _RENEWAL:
            key = _private_key(path)
            if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != authority.public_key():
                raise _no_key(path, f"the key of {certificate}")
            return authority, key
    key = ec.generate_private_key(ec.SECP256R1())
    authority = certificates.new_authority(key, moment)
    write_private(path, _pem(key))
    write_atomic(certificate, certificates.pem_text(authority).encode())
    return authority, key


def _still_serves(
    tls: TlsFiles, names: Sequence[x509.GeneralName], authority: x509.Certificate, moment: datetime
) -> bool:
    """Whether the server's files are whole, for these hosts, under this authority, and not about to expire."""
    try:
        server = certificates.read_chain(tls.certificate)[0]
        key = _private_key(tls.key)
    except InputError:
        return False
    return (
        key.public_key() == server.public_key()
        and certificates.names_of(server) >= set(names)
        and certificates.was_issued(server, authority)
        and server.not_valid_before_utc <= moment <= server.not_valid_after_utc - _RENEWAL
    )


def _moment(now: float | None) -> datetime:
    return datetime.fromtimestamp(time.time() if now is None else now, UTC).replace(microsecond=0)


def _private_key(
    path: Path, load: Callable[[bytes, None], object] = serialization.load_pem_private_key
) -> Any:
    try:
        return load(path.read_bytes(), None)
    except OSError as error:
        raise InputError(
            f"{path} cannot be read: {error.strerror}.",
            "Check the path, or bring the file back from a backup.",
        ) from None
    except TypeError:
        raise InputError(
            f"{path} is locked with a passphrase.", "Give a copy of the key without one."
        ) from None
    except (ValueError, UnsupportedAlgorithm):
        form = "PEM" if load is serialization.load_pem_private_key else "OpenSSH's"
        raise _no_key(path, f"a private key in {form} format") from None


def _no_key(path: Path, wanted: str) -> InputError:
    return InputError(f"{path} is not {wanted}.", "Give the right file, or bring it back from a backup.")


def _pem(
    key: ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey,
    form: serialization.PrivateFormat = serialization.PrivateFormat.PKCS8,
) -> bytes:
    return key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())
