"""One contract for every key store."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography import x509

from meshca.authority.chain import signed_by
from meshca.authority.keys import CA_RSA_BITS, KeyStore, key_id
from meshca.errors import ConfigError
from meshca.identity.key_type import KeyType
from meshca.keystore.file import FileKeyStore
from meshca.keystore.pkcs11 import Pkcs11KeyStore
from tests.fakes.keystore import MemoryKeyStore
from tests.fakes.pki import make_ca

TOKEN = pytest.param("token", marks=pytest.mark.real("softhsm"))
with_rsa = pytest.mark.parametrize("keys", ["file", "memory"], indirect=True)


@pytest.fixture(params=["file", "memory", TOKEN])
def keys(request: pytest.FixtureRequest, tmp_path: Path) -> KeyStore:
    """An empty key store."""
    if request.param == "token":
        return Pkcs11KeyStore(request.getfixturevalue("softhsm"), str(tmp_path))
    return FileKeyStore(tmp_path / "keys") if request.param == "file" else MemoryKeyStore()


def found_again(keys: KeyStore, key_type: KeyType) -> bool:
    """Whether a key that was made is found under its name: what it signs verifies by the one that was made."""
    key = keys.create(key_type)
    found = keys.load(key_id(key.public_key()))
    signed = make_ca("root", key=found).certificate
    return signed.public_key() == key.public_key() and signed_by(signed, signed)


@pytest.mark.parametrize("key_type", [KeyType.EC_P256, KeyType.EC_P384])
def test_created_key_is_found(keys: KeyStore, key_type: KeyType) -> None:
    """A key that was made is found under its name."""
    assert found_again(keys, key_type)


@with_rsa
def test_created_rsa_key_is_found(keys: KeyStore) -> None:
    """So is one of RSA, where those are made."""
    assert found_again(keys, KeyType.RSA)


@with_rsa
def test_rsa_keys_are_long(keys: KeyStore) -> None:
    """RSA keys of CA certificates have 3072 bits."""
    assert keys.create(KeyType.RSA).key_size == CA_RSA_BITS == 3072


def test_empty(keys: KeyStore) -> None:
    """A new store holds nothing."""
    assert keys.key_ids() == frozenset()


def test_unknown_key(keys: KeyStore) -> None:
    """A key that is not there is a ConfigError."""
    with pytest.raises(ConfigError):
        keys.load("00" * 20)


def test_keep_only(keys: KeyStore) -> None:
    """Keys that are not to be kept are gone; names that are not there do not matter."""
    kept, gone = [key_id(keys.create(KeyType.EC_P256).public_key()) for _ in range(2)]
    keys.keep_only(frozenset({kept, "ff" * 20}))
    assert keys.key_ids() == {kept}
    with pytest.raises(ConfigError):
        keys.load(gone)


def test_name_is_the_key_identifier(keys: KeyStore) -> None:
    """A key's name is the subject key identifier of its certificate."""
    key = keys.create(KeyType.EC_P256)
    certificate = make_ca("root", key=key).certificate
    digest = certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
    assert keys.key_ids() == {digest.hex()}
