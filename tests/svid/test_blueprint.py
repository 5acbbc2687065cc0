"""The plain way of making a leaf: what stands in it, read with the library."""

from __future__ import annotations

from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from meshca.identity.key_type import KeyType
from meshca.svid import blueprint
from meshca.svid.wanted import Wanted
from tests.fakes.pki import DAY, NOW, WEB, ec_key, good_slot, proven_key

ISSUER = good_slot().issuer


def built(key_type: KeyType) -> x509.Certificate:
    """An X.509-SVID of the web shop."""
    wanted = Wanted(
        key=proven_key(key_type),
        issuer=ISSUER,
        serial=1 << 140,
        not_before=NOW - timedelta(minutes=2),
        not_after=NOW + DAY,
    )
    return blueprint.svid(wanted, WEB, ec_key())


def test_name() -> None:
    """The subject is empty and the critical SAN holds the one SPIFFE ID (X1, X3)."""
    certificate = built(KeyType.EC_P256)
    san = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    assert (list(certificate.subject), san.critical) == ([], True)
    assert list(san.value) == [x509.UniformResourceIdentifier(str(WEB))]


def test_purposes() -> None:
    """Both server and client authentication are allowed (X7)."""
    purposes = built(KeyType.EC_P256).extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(purposes) == [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]


@pytest.mark.parametrize("key_type", list(KeyType))
def test_key_usage(key_type: KeyType) -> None:
    """Only RSA keys may encipher keys; no key may sign certificates (X5, X6)."""
    usage = built(key_type).extensions.get_extension_for_class(x509.KeyUsage)
    assert (usage.critical, usage.value.digital_signature, usage.value.key_cert_sign) == (True, True, False)
    assert usage.value.key_encipherment == (key_type is KeyType.RSA)
