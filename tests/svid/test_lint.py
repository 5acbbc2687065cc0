"""The lint: one row for every way in which a certificate of ours could be wrong."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from meshca import der
from meshca.errors import InvariantBroken
from meshca.identity.key_type import KeyType
from meshca.identity.spiffe_id import SpiffeId
from meshca.svid import blueprint, lint
from meshca.svid.wanted import Wanted
from tests.fakes.pki import DAY, NOW, SIGNS_DATA, WEB, ec_key, good_slot, make_ca, proven_key

SLOT = good_slot()
ISSUER = SLOT.issuer
WANTED = Wanted(
    key=proven_key(),
    issuer=ISSUER,
    serial=1 << 140 | 7,
    not_before=NOW - timedelta(minutes=2),
    not_after=NOW + DAY,
)
RSA = replace(WANTED, key=proven_key(KeyType.RSA))
URI = x509.UniformResourceIdentifier(str(WEB))
SAN = x509.SubjectAlternativeName([URI])
BOTH = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])
KEY_ID = x509.SubjectKeyIdentifier.from_public_key(WANTED.key.public_key)
AUTHORITY = x509.AuthorityKeyIdentifier(ISSUER.key_id.digest, None, None)
LEAF = x509.BasicConstraints(ca=False, path_length=None)
SIGNING = ec_key()

Extensions = dict[type[x509.ExtensionType], tuple[x509.ExtensionType, bool]]
GOOD: Extensions = {
    x509.SubjectAlternativeName: (SAN, True),
    x509.BasicConstraints: (LEAF, True),
    x509.KeyUsage: (SIGNS_DATA, True),
    x509.ExtendedKeyUsage: (BOTH, False),
    x509.SubjectKeyIdentifier: (KEY_ID, False),
    x509.AuthorityKeyIdentifier: (AUTHORITY, False),
}


def usage(**changes: bool) -> x509.KeyUsage:
    """A key usage that signs data, with changes."""
    flags = {name: getattr(SIGNS_DATA, name) for name in FLAGS} | changes
    return x509.KeyUsage(**flags, encipher_only=False, decipher_only=False)


FLAGS = (
    "digital_signature",
    "content_commitment",
    "key_encipherment",
    "data_encipherment",
    "key_agreement",
    "key_cert_sign",
    "crl_sign",
)


def made(
    *changes: tuple[x509.ExtensionType, bool], without: type[x509.ExtensionType] | None = None, **fields: Any
) -> bytes:
    """What `WANTED` asks for, with changed extensions or fields."""
    facts: dict[str, Any] = {
        "issuer_name": ISSUER.certificate.subject,
        "subject_name": x509.Name([]),
        "public_key": WANTED.key.public_key,
        "serial_number": WANTED.serial,
        "not_valid_before": WANTED.not_before,
        "not_valid_after": WANTED.not_after,
    }
    builder = x509.CertificateBuilder(**facts | fields)
    extensions: Extensions = GOOD | {type(value): (value, critical) for value, critical in changes}
    for kind, (value, critical) in extensions.items():
        if kind is not without:
            builder = builder.add_extension(value, critical=critical)
    return builder.sign(SIGNING, hashes.SHA256()).public_bytes(Encoding.DER)


def test_good() -> None:
    """A certificate that is as wanted passes and comes back as it was read."""
    assert lint.svid(made(), WANTED, WEB).serial_number == WANTED.serial


@pytest.mark.parametrize("wanted", [WANTED, RSA], ids=["ec", "rsa"])
def test_blueprint_passes(wanted: Wanted) -> None:
    """What the library's builder makes of the profile passes."""
    built = blueprint.svid(wanted, WEB, SIGNING).public_bytes(Encoding.DER)
    assert lint.svid(built, wanted, WEB).public_key() == wanted.key.public_key


NAME = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "other")])
OTHER = ec_key().public_key()


@pytest.mark.parametrize(
    ("certificate", "rule"),
    [
        pytest.param(made((x509.SubjectAlternativeName([URI, URI]), True)), "X1", id="X1-two-uris"),
        pytest.param(
            made((x509.SubjectAlternativeName([URI, x509.DNSName("a")]), True)), "X1", id="X1-dns-beside"
        ),
        pytest.param(made((x509.SubjectAlternativeName([x509.DNSName("a")]), True)), "X1", id="X1-no-uri"),
        pytest.param(
            made((x509.SubjectAlternativeName([x509.UniformResourceIdentifier(str(WEB) + "x")]), True)),
            "X1",
            id="X1-another-identity",
        ),
        pytest.param(
            made((x509.SubjectAlternativeName([x509.UniformResourceIdentifier("spiffe://cluster.local")]), True)),
            "X2",
            id="X2-no-path",
        ),
        pytest.param(made((SAN, False)), "X3", id="X3-san-not-critical"),
        pytest.param(made(without=x509.SubjectAlternativeName), "X1", id="X1-no-san"),
        pytest.param(made((x509.BasicConstraints(ca=True, path_length=None), True)), "X4", id="X4-ca"),
        pytest.param(made((LEAF, False)), "X4", id="X4-not-critical"),
        pytest.param(made(without=x509.BasicConstraints), "X4", id="X4-none"),
        pytest.param(made((SIGNS_DATA, False)), "X5", id="X5-not-critical"),
        pytest.param(made(without=x509.KeyUsage), "X5", id="X5-none"),
        *[
            pytest.param(made((usage(**{flag: flag != "digital_signature"}), True)), "X6", id=f"X6-{flag}")
            for flag in FLAGS
        ],
        pytest.param(
            made((x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), False)), "X7", id="X7-server"
        ),
        pytest.param(
            made((x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), False)), "X7", id="X7-client"
        ),
        pytest.param(
            made((x509.ExtendedKeyUsage([*BOTH, ExtendedKeyUsageOID.CODE_SIGNING]), False)), "X7", id="X7-more"
        ),
        pytest.param(made((BOTH, True)), "X7", id="X7-critical"),
        pytest.param(made(without=x509.ExtendedKeyUsage), "X7", id="X7-none"),
        pytest.param(
            made((x509.SubjectKeyIdentifier.from_public_key(OTHER), False)),
            "own key identifier",
            id="other-key-id",
        ),
        pytest.param(made(without=x509.SubjectKeyIdentifier), "own key identifier", id="no-key-id"),
        pytest.param(
            made((x509.AuthorityKeyIdentifier(b"1" * 20, None, None), False)),
            "issuer's key identifier",
            id="other-aki",
        ),
        pytest.param(made(without=x509.AuthorityKeyIdentifier), "issuer's key identifier", id="no-aki"),
        pytest.param(made((x509.OCSPNoCheck(), False)), "no other extension", id="one-extension-more"),
        pytest.param(made(serial_number=5), "the serial that was drawn", id="another-serial"),
        pytest.param(made(issuer_name=NAME), "issuer's name", id="another-issuer"),
        pytest.param(made(subject_name=NAME), "empty subject", id="a-subject"),
        pytest.param(made(not_valid_before=NOW), "validity", id="begins-later"),
        pytest.param(made(not_valid_after=NOW + 2 * DAY), "validity", id="ends-later"),
        pytest.param(made(public_key=OTHER), "proven key", id="another-key"),
        pytest.param(
            made(public_key=ed25519.Ed25519PrivateKey.generate().public_key()),
            "proven key",
            id="another-kind-of-key",
        ),
    ],
)
def test_refused(certificate: bytes, rule: str) -> None:
    """A certificate that breaks a rule is refused and the rule is named."""
    with pytest.raises(InvariantBroken, match=rule) as refused:
        lint.svid(certificate, WANTED, WEB)
    assert refused.value.reason == "lint"


@pytest.mark.parametrize(
    ("wanted", "rule"),
    [
        pytest.param(replace(WANTED, serial=1 << 159), "128 to 159 bits", id="serial-too-long"),
        pytest.param(replace(WANTED, serial=1 << 126), "128 to 159 bits", id="serial-too-short"),
        pytest.param(
            replace(WANTED, not_after=ISSUER.not_after + DAY), "no later than any issuer", id="outlives-issuer"
        ),
    ],
)
def test_wanted_itself_is_wrong(wanted: Wanted, rule: str) -> None:
    """A certificate that is as wanted is refused all the same when what was wanted breaks a rule."""
    built = made(serial_number=wanted.serial, not_valid_after=wanted.not_after)
    with pytest.raises(InvariantBroken, match=rule):
        lint.svid(built, wanted, WEB)


def test_ends_before_it_begins() -> None:
    """An empty validity is refused even when it was drafted so."""
    template = SLOT.templates[KeyType.EC_P256]
    wanted = replace(WANTED, not_after=WANTED.not_before - DAY)
    with pytest.raises(InvariantBroken, match="begins before it ends"):
        lint.svid(template.unsigned(template.fill(wanted, WEB)), wanted, WEB)


def test_foreign_trust_domain() -> None:
    """An identity of another trust domain than the issuer's is refused."""
    with pytest.raises(InvariantBroken, match="trust domain"):
        lint.svid(made(), WANTED, SpiffeId.parse("spiffe://other.example/ns/a/sa/b"))


def test_another_signature_algorithm() -> None:
    """A certificate that says another algorithm than its issuer signs with is refused."""
    issuer = replace(ISSUER, algorithm=make_ca("x").certificate.extensions[0].oid)
    with pytest.raises(InvariantBroken, match="signature algorithm"):
        lint.svid(made(), replace(WANTED, issuer=issuer), WEB)


def test_version_1() -> None:
    """A certificate of version 1 is refused."""
    tbs, *rest = der.children(made())
    without_version = der.tlv(der.SEQUENCE, *der.children(tbs)[1:-1])
    with pytest.raises(InvariantBroken, match="version 3"):
        lint.svid(der.tlv(der.SEQUENCE, without_version, *rest), WANTED, WEB)


@pytest.mark.parametrize(
    "certificate", [b"", b"garbage", made()[:-1], made() + b"\0"], ids=["empty", "garbage", "short", "long"]
)
def test_not_a_certificate(certificate: bytes) -> None:
    """What is no certificate at all is refused."""
    with pytest.raises(InvariantBroken, match="not a certificate"):
        lint.svid(certificate, WANTED, WEB)


def test_repeated_extension() -> None:
    """A certificate that has one extension twice is refused (RFC 5280 section 4.2)."""
    tbs, *rest = der.children(made())
    *fields, extensions = der.children(tbs)
    listed = der.children(der.content(extensions))
    twice = der.tlv(0xA3, der.tlv(der.SEQUENCE, *listed, listed[0]))
    with pytest.raises(InvariantBroken, match="occurs twice"):
        lint.svid(der.tlv(der.SEQUENCE, der.tlv(der.SEQUENCE, *fields, twice), *rest), WANTED, WEB)


def test_every_broken_rule_is_named() -> None:
    """Several broken rules are all in the detail."""
    bad = made((LEAF, False), subject_name=NAME)
    with pytest.raises(InvariantBroken, match=r"empty subject.*X4"):
        lint.svid(bad, WANTED, WEB)


class TestSigned:
    """`lint.signed`: the rules over a signed certificate, by equality with a linted one."""

    def test_another_signature(self) -> None:
        """The same to-be-signed bytes under another signature of the same algorithm pass."""
        linted = lint.svid(made(), WANTED, WEB)
        tbs, algorithm, _ = der.children(made())
        again = der.tlv(der.SEQUENCE, tbs, algorithm, der.tlv(der.BIT_STRING, b"\0other"))
        assert lint.signed(again, linted).signature == b"other"

    def test_another_content(self) -> None:
        """Another to-be-signed part is refused, even if it would pass the lint itself."""
        linted = lint.svid(made(), WANTED, WEB)
        later = made(not_valid_after=WANTED.not_after - DAY)
        with pytest.raises(InvariantBroken) as refused:
            lint.signed(later, linted)
        assert refused.value.reason == "signed_changed"

    def test_another_algorithm(self) -> None:
        """Another signature algorithm around the same bytes is refused."""
        linted = lint.svid(made(), WANTED, WEB)
        tbs, _, signature = der.children(made())
        sha384 = der.tlv(der.SEQUENCE, bytes.fromhex("06082a8648ce3d040303"))
        with pytest.raises(InvariantBroken) as refused:
            lint.signed(der.tlv(der.SEQUENCE, tbs, sha384, signature), linted)
        assert refused.value.reason == "signed_changed"

    def test_unreadable(self) -> None:
        """What cannot be read back is refused."""
        with pytest.raises(InvariantBroken) as refused:
            lint.signed(b"garbage", lint.svid(made(), WANTED, WEB))
        assert refused.value.reason == "lint"
