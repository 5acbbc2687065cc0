"""How a public key is written, and whether others can read it. Which are allowed: tests/test_csr.py."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from meshca import der
from meshca.public_key import is_usual, written
from tests.fakes.odd_keys import compressed, hybrid, rewritten, signed_anew, without_null
from tests.fakes.pki import Ca, ec_key, make_ca, rsa_key

EC_KEY, RSA_KEY = ec_key(), rsa_key()
EC, RSA = make_ca("ec", key=EC_KEY), make_ca("rsa", key=RSA_KEY)


@pytest.mark.parametrize("ca", [EC, RSA], ids=["ec", "rsa"])
def test_usual(ca: Ca) -> None:
    """What the library makes is written as every program reads it."""
    spki = ca.key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert written(ca.certificate) == spki
    assert is_usual(ca.certificate)


def test_version_1() -> None:
    """A certificate of version 1 has no field for that."""
    fields = der.children(EC.certificate.tbs_certificate_bytes)
    old = signed_anew(EC.certificate, fields[1:7], EC.key)
    assert written(old) == written(EC.certificate)


@pytest.mark.parametrize("form", [compressed, hybrid], ids=["compressed", "hybrid"])
def test_odd_point(form: Callable[[ec.EllipticCurvePublicKey], bytes]) -> None:
    """It is the same key, and Envoy or a program in Go cannot read it."""
    odd = rewritten(EC.certificate, form(EC_KEY.public_key()), EC.key)
    assert odd.public_key() == EC.certificate.public_key()
    assert not is_usual(odd)


def test_rsa_without_null() -> None:
    """So it is of RSA without parameters."""
    assert not is_usual(rewritten(RSA.certificate, without_null(RSA_KEY.public_key()), RSA.key))
