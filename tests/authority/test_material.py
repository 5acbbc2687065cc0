"""Signing material: read piece by piece, handed to workers and back."""

from __future__ import annotations

import base64
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hypothesis import given
from hypothesis import strategies as st

from meshca.authority.material import (
    SigningMaterial,
    WireMaterial,
    read_certificates,
    read_key,
    to_pem,
)
from meshca.errors import ConfigError
from meshca.secret import Secret
from meshca.svid.signature import SigningKey
from tests.fakes.pki import ec_key, good_material, make_ca, material_of, pem_of, rsa_key

ROOT = make_ca("root")
EC_KEY = ec_key()
WIRE = good_material().to_wire()


class TestWire:
    """`to_wire` and `from_wire`."""

    @pytest.mark.parametrize("key", [ec_key(), ec_key(ec.SECP384R1()), rsa_key()], ids=["p256", "p384", "rsa"])
    def test_round_trip(self, key: SigningKey) -> None:
        """What a worker reads is what the parent held."""
        root = make_ca("root")
        upper = make_ca("upper", root)
        material = material_of(make_ca("signer", upper, key=key), upper, roots=[root, ROOT])
        back = SigningMaterial.from_wire(material.to_wire())
        assert (back.certificate, back.others, back.roots) == (
            material.certificate,
            material.others,
            material.roots,
        )
        assert back.key.private_numbers() == material.key.private_numbers()

    def test_the_key_does_not_print(self) -> None:
        """Neither form shows the key."""
        material = good_material()
        assert "PRIVATE" not in repr(material) + repr(material.to_wire())

    @pytest.mark.parametrize(
        "damaged",
        [
            pytest.param(replace(WIRE, chain="damaged"), id="chain"),
            pytest.param(replace(WIRE, roots="damaged"), id="roots"),
            pytest.param(replace(WIRE, key=Secret("damaged")), id="key"),
        ],
    )
    def test_damaged(self, damaged: WireMaterial) -> None:
        """A damaged part is refused."""
        with pytest.raises(ConfigError):
            SigningMaterial.from_wire(damaged)


class TestFingerprint:
    """`fingerprint` and `root_set` tell whether anything changed."""

    def test_equal(self) -> None:
        """Equal material has an equal fingerprint."""
        material = good_material()
        assert SigningMaterial.from_wire(material.to_wire()).fingerprint == material.fingerprint

    def test_other_signer(self) -> None:
        """Another signer under the same root has another fingerprint and the same roots."""
        one, two = good_material(root=ROOT), good_material(root=ROOT)
        assert (one.fingerprint != two.fingerprint, one.root_set) == (True, two.root_set)


class TestReadKey:
    """`read_key`: PEM of a private key."""

    @pytest.mark.parametrize("form", [PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL])
    @pytest.mark.parametrize("key", [EC_KEY, rsa_key()], ids=["ec", "rsa"])
    def test_forms(self, key: SigningKey, form: PrivateFormat) -> None:
        """PKCS#8, PKCS#1 and SEC1 are read."""
        pem = key.private_bytes(Encoding.PEM, form, NoEncryption())
        assert read_key(pem, "test").private_numbers() == key.private_numbers()

    @pytest.mark.parametrize(
        ("pem", "problem"),
        [
            pytest.param("", "expected one private key", id="empty"),
            pytest.param("garbage", "expected one private key", id="garbage"),
            pytest.param(ROOT.pem, "expected one private key", id="certificate"),
            pytest.param(pem_of(EC_KEY)[:120], "expected one private key", id="half"),
            pytest.param(pem_of(EC_KEY, b"word"), "encrypted", id="encrypted"),
            pytest.param(pem_of(ed25519.Ed25519PrivateKey.generate()), "EC P-256", id="ed25519"),
        ],
    )
    def test_refused(self, pem: str, problem: str) -> None:
        """What is not a plain EC or RSA key is refused, and no part of it is in the error."""
        with pytest.raises(ConfigError, match=problem) as refused:
            read_key(pem.encode(), "ca-key.pem")
        assert "MII" not in str(refused.value)

    @given(st.binary(max_size=300))
    def test_any_bytes(self, pem: bytes) -> None:
        """Whatever the bytes, nothing but ConfigError comes out."""
        with pytest.raises(ConfigError):
            read_key(pem, "test")


class TestReadCertificates:
    """`read_certificates`: PEM of certificates."""

    def test_several(self) -> None:
        """All certificates come in their order."""
        other = make_ca("other")
        pem = to_pem(ROOT.certificate, other.certificate).encode()
        assert read_certificates(pem, "test") == [ROOT.certificate, other.certificate]

    @pytest.mark.parametrize(
        "pem",
        [
            pytest.param("", id="empty"),
            pytest.param("garbage", id="garbage"),
            pytest.param(pem_of(EC_KEY), id="key"),
            pytest.param(ROOT.pem[:200], id="half"),
            pytest.param(ROOT.pem + ROOT.pem[:200] + "\n-----END CERTIFICATE-----\n", id="second-is-half"),
        ],
    )
    def test_refused(self, pem: str) -> None:
        """What holds no certificate, or a damaged one, is refused."""
        with pytest.raises(ConfigError, match="one or more certificates"):
            read_certificates(pem.encode(), "test")

    @given(st.data())
    def test_damaged(self, data: st.DataObject) -> None:
        """A certificate with some bytes changed is read to its end or refused."""
        der = bytearray(ROOT.certificate.public_bytes(Encoding.DER))
        for _ in range(data.draw(st.integers(1, 3))):
            der[data.draw(st.integers(0, len(der) - 1))] = data.draw(st.integers(0, 255))
        try:
            [read] = read_certificates(_pem(bytes(der)), "test")
        except ConfigError:
            return
        assert (list(read.extensions), read.public_key()) == (list(read.extensions), read.public_key())


def _pem(der: bytes) -> bytes:
    return b"-----BEGIN CERTIFICATE-----\n" + base64.encodebytes(der) + b"-----END CERTIFICATE-----\n"
