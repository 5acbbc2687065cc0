"""The judgement of an answer: every way in which it can differ from what was asked for is refused by its words."""

from __future__ import annotations

import base64
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from hypothesis import given
from hypothesis import strategies as st

from meshca import der
from meshca.authority.slot import Slot
from meshca.errors import ConfigError, Unavailable
from meshca.svid.signature import hash_for
from meshca.upstream.ca_certificates import BACKDATE
from meshca.upstream.vault.mount import certificates
from meshca.upstream.vault.signed import Wish, judge
from tests.fakes.odd_keys import compressed, hybrid, rewritten, signed_anew
from tests.fakes.pki import DAY, NARROW, NOW, TRUST_DOMAIN, Ca, ec_key, make_ca, material_of, rsa_key
from tests.fakes.vault_pki import sign
from tests.fakes.vault_wish import BODY, MIDDLE, OTHER, ROOT, WISH, problems

URI = x509.UniformResourceIdentifier
MINUTE = timedelta(minutes=1)


def usage(**more: bool) -> x509.KeyUsage:
    """What a CA needs, and more."""
    nothing = dict.fromkeys(
        (
            "digital_signature",
            "content_commitment",
            "key_encipherment",
            "data_encipherment",
            "key_agreement",
            "encipher_only",
            "decipher_only",
        ),
        False,
    )
    return x509.KeyUsage(**{**nothing, "key_cert_sign": True, "crl_sign": True, **more})


def test_good() -> None:
    """What was asked for is taken, with what stands between it and the root, and signs."""
    given = sign(MIDDLE, BODY, NOW)
    material, found = judge(WISH, given, [MIDDLE.certificate], [ROOT.certificate], NOW)
    assert found == []
    assert material is not None
    assert (material.certificate, material.others) == (given, (MIDDLE.certificate,))
    assert Slot.prove(material, TRUST_DOMAIN, NOW).path == (given, MIDDLE.certificate, ROOT.certificate)


@pytest.mark.parametrize(
    ("forged", "words"),
    [
        pytest.param({"public_key": ec_key().public_key()}, "it is for another key than ours", id="other-key"),
        pytest.param({"constraints": None}, "it is no CA: a role of leaves may have signed it", id="leaf"),
        pytest.param({"constraints": x509.BasicConstraints(False, None)}, "it is no CA", id="says-no-ca"),
        pytest.param(
            {"constraints": x509.BasicConstraints(True, None)}, "its path length is not 0", id="no-path-length"
        ),
        pytest.param(
            {"constraints": x509.BasicConstraints(True, 1)}, "its path length is not 0", id="path-length-1"
        ),
        pytest.param(
            {"dns": ["intermediate 1"]}, "its names are not exactly spiffe://cluster.local", id="a-dns-name-more"
        ),
        pytest.param({"uris": ["spiffe://other.example"]}, "its names are not exactly", id="other-uri"),
        pytest.param({"uris": ["spiffe://cluster.local/"]}, "its names are not exactly", id="other-spelling"),
        pytest.param({"uris": []}, "its names are not exactly", id="no-uri"),
        pytest.param(
            {"uris": ["spiffe://cluster.local", "spiffe://other.example"]},
            "its names are not exactly",
            id="two-uris",
        ),
        pytest.param({"uris": ["spiffe://cluster.local"] * 2}, "its names are not exactly", id="one-uri-twice"),
        pytest.param(
            {"subject": x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "intermediate 1")])},
            "its subject is not CN=intermediate 1,O=meshca, which was asked for",
            id="other-subject",
        ),
        pytest.param({"subject": x509.Name([])}, "its subject is not", id="no-subject"),
        pytest.param({"end": NOW + 59 * MINUTE / 60}, "in less than a minute", id="ends-in-under-a-minute"),
        pytest.param({"begin": NOW - 2 * DAY, "end": NOW - DAY}, "expired", id="has-ended"),
        pytest.param({"begin": NOW + MINUTE}, "not valid before", id="begins-later"),
        pytest.param(
            {"end": NOW + 30 * DAY + 2 * MINUTE}, "it lives longer than the 30 days", id="longer-than-asked"
        ),
        pytest.param(
            {"usage": usage(digital_signature=True)},
            "its key usage allows more than signing",
            id="digital-signature",
        ),
        pytest.param({"usage": usage(key_agreement=True)}, "its key usage allows more", id="key-agreement"),
        pytest.param({"usage": usage(key_encipherment=True)}, "its key usage allows more", id="key-encipherment"),
        pytest.param({"usage": None}, "no key usage; it needs keyCertSign", id="no-key-usage"),
        pytest.param(
            {"usage": usage(key_cert_sign=False)}, "its key usage does not include keyCertSign", id="cannot-sign"
        ),
        pytest.param(
            {"extra": [(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), False)]},
            "it has the extension 2.5.29.37, which was not asked for",
            id="purposes",
        ),
        pytest.param(
            {"extra": [(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE]), False)]},
            "it has the extension 2.5.29.37",
            id="any-purpose",
        ),
        pytest.param({"extra": [(x509.InhibitAnyPolicy(0), True)]}, "it has the extension 2.5.29.54", id="policy"),
        pytest.param(
            {"extra": [(x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"x"), False)]},
            "it has the extension 1.2.3.4",
            id="unknown-extension",
        ),
        pytest.param({"extra": [(NARROW, True)]}, "a trial certificate does not verify", id="other-names-only"),
        pytest.param(
            {"extra": [(x509.NameConstraints(None, [URI("cluster.local")]), True)]},
            "a trial certificate does not verify",
            id="our-names-excluded",
        ),
        pytest.param(
            {"extra": [(x509.NameConstraints([x509.DNSName("a\nb")], None), False)]},
            "its constraint on names is of a kind",
            id="constraint-of-control-characters",
        ),
        pytest.param(
            {"extra": [(x509.NameConstraints(None, [x509.DNSName("a..b")]), False)]},
            "its constraint on names is of a kind",
            id="constraint-with-an-empty-label",
        ),
        pytest.param({"key_id": False}, "no subject key identifier", id="no-key-id"),
        pytest.param({"authority": None}, "it has no authority key identifier", id="no-authority-key-id"),
        pytest.param(
            {"authority": x509.AuthorityKeyIdentifier(b"another", None, None)},
            "the authority key identifier of 'CN=intermediate 1,O=meshca' is not its issuer's",
            id="other-authority-key-id",
        ),
        pytest.param(
            {"issuer_name": OTHER.certificate.subject},
            "no chain of signatures leads from it",
            id="other-issuer-name",
        ),
    ],
)
def test_refused(forged: dict[str, Any], words: str) -> None:
    """Each difference is told, and nothing is taken."""
    found = problems(sign(ROOT, BODY, NOW, **forged))
    assert any(words in one for one in found), found


@pytest.mark.parametrize("form", [compressed, hybrid], ids=["compressed", "hybrid"])
def test_odd_key(form: Callable[[Any], bytes]) -> None:
    """Our key, written as no Envoy reads it, would break every handshake below."""
    given = sign(ROOT, BODY, NOW)
    found = problems(rewritten(given, form(given.public_key()), ROOT.key))
    assert any("its public key is written" in one for one in found), found


def test_odd_strings() -> None:
    """Our subject in a type of string that others do not read is another."""
    fields = der.children(sign(ROOT, BODY, NOW).tbs_certificate_bytes)
    fields[5] = fields[5].replace(b"\x0c\x06meshca", b"\x17\x06meshca")
    odd = signed_anew(sign(ROOT, BODY, NOW), fields, ROOT.key)
    assert odd.subject == WISH.subject
    assert problems(odd) == ["its subject is not of UTF8String or PrintableString"]


@pytest.mark.parametrize(
    "extra",
    [
        x509.AuthorityInformationAccess(
            [x509.AccessDescription(x509.oid.AuthorityInformationAccessOID.CA_ISSUERS, URI("http://vault/ca"))]
        ),
        x509.CRLDistributionPoints([x509.DistributionPoint([URI("http://vault/crl")], None, None, None)]),
        x509.CertificatePolicies([x509.PolicyInformation(x509.ObjectIdentifier("2.5.29.32.0"), None)]),
        x509.NameConstraints(None, [x509.DNSName("example.org")]),
    ],
)
def test_extensions_of_a_mount(extra: x509.ExtensionType) -> None:
    """What a mount adds by its configuration, and what does not concern identities, is taken."""
    assert problems(sign(ROOT, BODY, NOW, extra=[(extra, False)])) == []


@pytest.mark.parametrize("end", [NOW + MINUTE, NOW + DAY, NOW + 30 * DAY, NOW + 30 * DAY + MINUTE])
def test_shorter_than_asked(end: Any) -> None:
    """A server that cuts the life short is taken, down to a minute; so are clocks that differ by one."""
    assert problems(sign(ROOT, BODY, NOW, end=end)) == []


def test_everything_is_told_at_once() -> None:
    """All differences are told together, each once."""
    found = problems(sign(OTHER, BODY, NOW, uris=[], constraints=None, end=NOW))
    assert len(found) == len(set(found)) >= 4


def test_same_key_as_a_root() -> None:
    """An answer that is a root itself is refused: it was not signed for us."""
    ours = make_ca("ours", key=WISH.key)
    assert problems(ours.certificate, roots=(ours,))


@pytest.mark.parametrize("key", [ec_key(), rsa_key()])
def test_body(key: Any) -> None:
    """What is sent: our names and bounds beside a CSR that holds the key, and none of them in it."""
    wish = Wish(key=key, common_name="intermediate 2", trust_domain=TRUST_DOMAIN, lifetime=DAY)
    body = dict(wish.body())
    csr = x509.load_pem_x509_csr(str(body.pop("csr")).encode())
    assert csr.public_key() == key.public_key()
    assert csr.is_signature_valid
    assert list(csr.extensions) == []
    assert csr.signature_hash_algorithm is not None
    assert isinstance(csr.signature_hash_algorithm, type(hash_for(key)))
    assert body == {
        "common_name": "intermediate 2",
        "organization": "meshca",
        "uri_sans": "spiffe://cluster.local",
        "ttl": "86400s",
        "not_before_duration": f"{int(BACKDATE.total_seconds())}s",
        "max_path_length": 0,
        "exclude_cn_from_sans": True,
        "use_csr_values": False,
        "format": "pem",
    }


GOOD = sign(MIDDLE, BODY, NOW).public_bytes(Encoding.DER)
PLACES = st.integers(min_value=0, max_value=len(GOOD) - 1)


@given(st.lists(st.tuples(PLACES, st.integers(min_value=1, max_value=255)), min_size=1, max_size=4), PLACES)
def test_damaged(changes: list[tuple[int, int]], cut: int) -> None:
    """Bytes that are changed or lost are unreadable, or refused: never an exception, and never taken."""
    damaged = bytearray(GOOD)
    for place, mask in changes:
        damaged[place] ^= mask
    for one in (bytes(damaged), GOOD[:cut], GOOD[:cut] + GOOD[cut + 1 :]):
        if one != GOOD:
            assert not _taken(one)


def _taken(der: bytes) -> bool:
    """Whether an answer of these bytes is."""
    body = base64.b64encode(der).decode()
    lines = "\n".join(body[at : at + 64] for at in range(0, len(body), 64))
    pem = f"-----BEGIN CERTIFICATE-----\n{lines}\n-----END CERTIFICATE-----\n"
    try:
        given = certificates([pem])[0]
    except Unavailable:
        return False
    material, _ = judge(WISH, given, [MIDDLE.certificate], [ROOT.certificate], NOW)
    return material is not None


def test_undamaged() -> None:
    """The same way takes what is whole."""
    assert _taken(GOOD)


def test_proof_is_made_again() -> None:
    """What is refused here cannot become a slot by another way."""
    given = Ca(sign(ROOT, BODY, NOW, extra=[(NARROW, True)]), WISH.key)
    with pytest.raises(ConfigError):
        Slot.prove(material_of(given, roots=[ROOT]), TRUST_DOMAIN, NOW)
