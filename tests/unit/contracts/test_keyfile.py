"""Key files: permissions, no overwriting, and errors without any content of the file."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1
from cryptography.hazmat.primitives.asymmetric.ec import generate_private_key as new_curve_key
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key as new_rsa_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from riskwatch.contracts import keyfile
from riskwatch.contracts.signing import public_key_text
from riskwatch.errors import SigningError

if TYPE_CHECKING:
    from pathlib import Path

    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey


def stored(path: Path, text: bytes) -> Path:
    """Write a file that only its owner may read."""
    path.write_bytes(text)
    path.chmod(0o600)
    return path


@pytest.mark.parametrize("passphrase", [None, b"secret"])
def test_a_key_is_read_as_it_was_made(tmp_path: Path, passphrase: bytes | None) -> None:
    """A key is read with and without a passphrase, and so is its public key."""
    path, beside = tmp_path / "key", tmp_path / "key.pub"
    key = keyfile.create_private_key(path, passphrase)
    keyfile.write_public_key(beside, key.public_key())
    assert (path.stat().st_mode & 0o777, beside.stat().st_mode & 0o133) == (0o600, 0)
    again = keyfile.read_private_key(path, passphrase).public_key()
    text = public_key_text(key.public_key())
    assert public_key_text(again) == public_key_text(keyfile.read_public_key(beside)) == text


@pytest.mark.parametrize(
    ("given", "why"),
    [
        (None, "it has a passphrase (see VARIABLE)"),
        (b"other", "another passphrase opens it (see VARIABLE)"),
    ],
)
def test_a_passphrase_that_does_not_open(tmp_path: Path, given: bytes | None, why: str) -> None:
    """The message says so, and names the source of the passphrase."""
    path = tmp_path / "key"
    keyfile.create_private_key(path, b"secret")
    with pytest.raises(SigningError) as caught:
        keyfile.read_private_key(path, given, variable="VARIABLE")
    assert str(caught.value).startswith(f"{path}: ")
    assert str(caught.value).endswith(why)


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    """Existing private and public keys stay; a file that cannot be created is an error."""
    path = tmp_path / "key"
    key = keyfile.create_private_key(path)
    before = path.read_bytes()
    with pytest.raises(SigningError, match="is there already"):
        keyfile.create_private_key(path)
    with pytest.raises(SigningError, match="is there already"):
        keyfile.write_public_key(path, key.public_key())
    assert path.read_bytes() == before
    with pytest.raises(SigningError, match="cannot be made: No such file"):
        keyfile.create_private_key(tmp_path / "nowhere" / "key")


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o601])
def test_a_private_key_that_others_can_reach_is_refused(tmp_path: Path, mode: int) -> None:
    """Any permission of others is refused; a public key may be readable."""
    path = tmp_path / "key"
    key = keyfile.create_private_key(path)
    path.chmod(mode)
    with pytest.raises(SigningError, match=f"has mode {mode:04o}: others may read it"):
        keyfile.read_private_key(path)
    keyfile.write_public_key(tmp_path / "key.pub", key.public_key())
    (tmp_path / "key.pub").chmod(mode)
    keyfile.read_public_key(tmp_path / "key.pub")


def test_what_is_no_key_is_told_apart(tmp_path: Path) -> None:
    """Each error is one line that contains nothing of the file."""
    bad = stored(
        tmp_path / "bad", b"-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n"
    )
    for read in (keyfile.read_private_key, keyfile.read_public_key):
        with pytest.raises(SigningError, match="in PEM") as caught:
            read(bad)
        assert "c2VjcmV0" not in str(caught.value)
        assert caught.value.__cause__ is None
        with pytest.raises(SigningError, match="cannot be read: No such file"):
            read(tmp_path / "none")
        with pytest.raises(SigningError, match="cannot be read"):
            read(tmp_path)


@pytest.mark.parametrize(
    "other", [new_rsa_key(65537, 2048), new_curve_key(SECP256R1())], ids=["rsa", "curve"]
)
def test_other_kinds_of_keys_are_refused(
    tmp_path: Path, other: RSAPrivateKey | EllipticCurvePrivateKey
) -> None:
    """Private and public keys of other kinds raise an error."""
    pem = other.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    with pytest.raises(SigningError, match="a private key, but not an Ed25519 one"):
        keyfile.read_private_key(stored(tmp_path / "key", pem))
    half = other.public_key().public_bytes(
        Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    with pytest.raises(SigningError, match="a public key, but not an Ed25519 one"):
        keyfile.read_public_key(stored(tmp_path / "key.pub", half))
