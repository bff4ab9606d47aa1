from __future__ import annotations

import base64
import os
import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from FedSegCore.errors import InputError, StorageError
from FedSegCore.federation import keys
from FedSegCore.federation.keys import Identity, make_engine_key, make_tls, signed_by

PUBLIC_PEM = (
    ed25519.Ed25519PrivateKey.generate()
    .public_key()
    .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_an_identity_is_the_same_after_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "new" / "identity.key"
    first = Identity(path)
    assert Identity(path).public == first.public
    assert len(base64.b64decode(first.public)) == 32


def test_what_an_identity_signed_is_known_as_its_own_and_nothing_else_is(tmp_path: Path) -> None:
    one, other = Identity(tmp_path / "one"), Identity(tmp_path / "other")
    signature = one.sign(b"study")
    assert signed_by(one.public, signature, b"study")
    assert not signed_by(one.public, signature, b"studies")
    assert not signed_by(other.public, signature, b"study")
    assert not signed_by(one.public, signature[:-1], b"study")


@pytest.mark.parametrize("public", ["", "not base64", "AAAA", "ä"])
def test_what_is_no_public_key_has_signed_nothing(public: str) -> None:
    assert not signed_by(public, b"\0" * 64, b"study")


@pytest.mark.parametrize("content", [b"", b"scrambled", PUBLIC_PEM])
def test_a_broken_identity_is_an_error_and_stays_as_it_is(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "identity.key"
    path.write_bytes(content)
    with pytest.raises(InputError, match=re.escape(f"{path} is not a private key")):
        Identity(path)
    assert path.read_bytes() == content


def test_a_key_of_another_kind_is_no_identity(tmp_path: Path) -> None:
    make_tls(tmp_path, ["hub"])
    with pytest.raises(InputError, match="is not an ed25519 key"):
        Identity(tmp_path / "ca.key")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such modes")
def test_private_keys_are_for_their_owner_alone_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        Identity(tmp_path / "identity.key")
        make_engine_key(tmp_path / "engine.key")
        make_tls(tmp_path, ["hub"])
    finally:
        os.umask(before)
    names = ("identity.key", "engine.key", "ca.key", "server.key")
    assert [mode(tmp_path / name) for name in names] == [0o600] * 4


def test_a_private_file_is_never_open_to_others_not_even_half_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = tmp_path / ".token.private"
    left.write_bytes(b"left by a crash, readable by all")
    left.chmod(0o644)
    seen: list[int] = []
    monkeypatch.setattr(os, "fsync", lambda _: seen.append(mode(left)))
    keys.write_private(tmp_path / "token", b"secret")
    assert seen == [0o600]
    assert [path.name for path in tmp_path.iterdir()] == ["token"]


def test_a_private_file_that_cannot_be_written_leaves_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys.write_private(tmp_path / "token", b"old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match="No space left"):
        keys.write_private(tmp_path / "token", b"new")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"token": b"old"}


def test_the_engines_key_is_as_the_engine_reads_it(tmp_path: Path) -> None:
    line = make_engine_key(tmp_path / "engine.key")
    key = serialization.load_ssh_private_key((tmp_path / "engine.key").read_bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey) and key.curve.name == "secp384r1"
    assert serialization.load_ssh_public_key(line.encode()) == key.public_key()


def test_the_engines_key_is_made_once(tmp_path: Path) -> None:
    path = tmp_path / "engine.key"
    assert make_engine_key(path) == make_engine_key(path)


def test_an_engine_key_in_another_format_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "identity.key"
    Identity(path)
    with pytest.raises(InputError, match="is not a private key in OpenSSH's format"):
        make_engine_key(path)


def test_without_the_extra_one_sentence_says_what_to_install() -> None:
    code = (
        "import sys; sys.modules['cryptography'] = None\n"
        "from FedSegCore.errors import UsageError\n"
        "try:\n    import FedSegCore.federation.keys\n"
        "except UsageError as error:\n    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "cryptography, which is not installed" in done.stdout
    assert 'pip install "fedseg[federation]"' in done.stdout
