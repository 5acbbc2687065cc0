"""Keys in a token: they sign there, are opened by their names elsewhere, and never come out."""

from __future__ import annotations

import copy
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from meshca.authority.keys import key_id
from meshca.authority.material import SigningMaterial
from meshca.authority.slot import Slot
from meshca.errors import ConfigError, Unavailable
from meshca.identity.key_type import KeyType
from meshca.keystore.pkcs11 import Pkcs11KeyStore, TokenKey, open_key
from meshca.keystore.token_uri import Token
from tests.fakes.pki import NOW, TRUST_DOMAIN, good_material

pytestmark = pytest.mark.real("softhsm")
ECDSA = ec.ECDSA(hashes.SHA256())
SIGNS = """
import sys
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from meshca.keystore.pkcs11 import open_key
sys.stdout.buffer.write(open_key(sys.argv[1]).sign(b"data", ec.ECDSA(hashes.SHA256())))
"""


@pytest.fixture
def keys(softhsm: Token, tmp_path: Path) -> Pkcs11KeyStore:
    """Without a key."""
    return Pkcs11KeyStore(softhsm, str(tmp_path))


@pytest.fixture
def key(keys: Pkcs11KeyStore) -> TokenKey:
    """Which was just made."""
    made = keys.create(KeyType.EC_P256)
    assert isinstance(made, TokenKey)
    return made


@pytest.mark.parametrize("key_type", [KeyType.EC_P256, KeyType.EC_P384])
def test_signs(keys: Pkcs11KeyStore, key_type: KeyType) -> None:
    """A signing certificate of such a key proves itself, and so does what a worker gets of it."""
    material = good_material(keys.create(key_type))
    for each in (material, SigningMaterial.from_wire(material.to_wire(), open_key)):
        assert Slot.prove(each, TRUST_DOMAIN, NOW).issuer.signer_id


def test_another_process(key: TokenKey) -> None:
    """Another process signs by the name alone, in a session of its own."""
    ran = subprocess.run([sys.executable, "-c", SIGNS, key.reference], check=True, capture_output=True)
    key.public_key().verify(ran.stdout, b"data", ECDSA)


def test_the_name_has_no_secret(key: TokenKey, softhsm: Token) -> None:
    """The name holds neither key nor PIN."""
    pin = softhsm.pin_file.read_text().strip()
    wire = good_material(key).to_wire()
    assert wire.key.reveal() == key.reference
    assert f"pin={pin}" not in key.reference
    assert str(softhsm.pin_file) in key.reference


def test_stays_in_the_token(key: TokenKey) -> None:
    """Nothing gives the private half out; a copy is the same key."""
    with pytest.raises(NotImplementedError):
        key.private_numbers()
    with pytest.raises(NotImplementedError):
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    with pytest.raises(NotImplementedError):
        key.exchange(ec.ECDH(), key.public_key())
    assert copy.copy(key) is copy.deepcopy(key) is key
    assert (key.key_size, key.curve.name) == (256, "secp256r1")


def test_cannot_be_extracted(key: TokenKey, softhsm: Token) -> None:
    """The token itself would not give it out either."""
    import pkcs11

    token = pkcs11.lib(str(softhsm.module)).get_token(token_label=softhsm.label)
    key.sign(b"data", ECDSA)  # so that this process is logged in
    wanted = {
        pkcs11.Attribute.CLASS: pkcs11.ObjectClass.PRIVATE_KEY,
        pkcs11.Attribute.ID: bytes.fromhex(key_id(key.public_key())),
    }
    with token.open() as opened:
        [found] = opened.get_objects(wanted)
        assert (found[pkcs11.Attribute.EXTRACTABLE], found[pkcs11.Attribute.SENSITIVE]) == (False, True)


def test_lost_session(key: TokenKey) -> None:
    """A session that was lost is opened again, and the signature made."""
    key.sign(b"data", ECDSA)
    key._session._open.close()
    key.public_key().verify(key.sign(b"data", ECDSA), b"data", ECDSA)


def test_destroyed(keys: Pkcs11KeyStore, key: TokenKey) -> None:
    """A key that was destroyed signs no more, which is told with the token, and others still do."""
    other = keys.create(KeyType.EC_P256)
    assert isinstance(other, TokenKey)
    keys.discard(key)
    with pytest.raises(Unavailable, match="key_token: the token meshca"):
        key.sign(b"data", ECDSA)
    other.public_key().verify(other.sign(b"data", ECDSA), b"data", ECDSA)
    assert keys.key_ids() == {key_id(other.public_key())}


def test_others_keys(softhsm: Token, keys: Pkcs11KeyStore, key: TokenKey, tmp_path: Path) -> None:
    """Keys with another label are not ours: neither named nor destroyed."""
    others = Pkcs11KeyStore(softhsm, f"{tmp_path} other")
    assert others.key_ids() == frozenset()
    others.keep_only(frozenset())
    assert keys.key_ids() == {key_id(key.public_key())}


def test_no_such_key(key: TokenKey) -> None:
    """A name of a key that is not there is told as that."""
    name = key.reference.replace("id=%", "id=%00%")
    with pytest.raises(ConfigError, match="has no key"):
        open_key(name)


def test_no_such_token(softhsm: Token) -> None:
    """A token that is not there can come: it is told with module and label."""
    with pytest.raises(Unavailable, match=r"key_token: the token other by .*softhsm"):
        Pkcs11KeyStore(replace(softhsm, label="other"), "x").key_ids()


def test_wrong_pin(softhsm: Token, tmp_path: Path) -> None:
    """A PIN that is missing or readable by others is told by its file, before the token is asked."""
    pin = tmp_path / "pin"
    keys = Pkcs11KeyStore(replace(softhsm, pin_file=pin), "x")
    with pytest.raises(ConfigError, match="pin"):
        keys.key_ids()
    pin.write_text("1234")
    pin.chmod(0o644)
    with pytest.raises(ConfigError, match="pin"):
        keys.key_ids()
