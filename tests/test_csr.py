"""Signing requests: what is proven by them, and every way in which a hostile one is refused."""

from __future__ import annotations

import hashlib
import ipaddress

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from meshca import csr, der
from meshca.errors import BadRequest
from meshca.identity.key_type import KeyType
from meshca.public_key import PublicKey
from meshca.svid import signature
from tests.fakes.odd_keys import compressed, hybrid, without_null
from tests.fakes.pki import WEB, ec_key, make_csr, proven_key, rsa_key

URI = x509.UniformResourceIdentifier
KEY = ec_key()


def pem(request: bytes) -> str:
    """A DER request as PEM."""
    return x509.load_der_x509_csr(request).public_bytes(Encoding.PEM).decode()


def raw_csr(
    *,
    key: signature.SigningKey = KEY,
    public_key: PublicKey | dsa.DSAPublicKey | None = None,
    spki: bytes = b"",
    subject: tuple[bytes, ...] = (),
    extensions: tuple[bytes, ...] = (),
    attributes: tuple[bytes, ...] = (),
    algorithm: str = "300a06082a8648ce3d040302",
) -> bytes:
    """A request put together by hand, for what the library's builder refuses to make."""
    usual = (public_key or key.public_key()).public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    asked = der.tlv(der.SEQUENCE, *extensions)
    extension_request = der.tlv(der.SEQUENCE, bytes.fromhex("06092a864886f70d01090e"), der.tlv(0x31, asked))
    tbs = der.tlv(
        der.SEQUENCE,
        der.integer(0),
        der.tlv(der.SEQUENCE, *subject),
        spki or usual,
        der.tlv(0xA0, *([extension_request] if extensions else []), *attributes),
    )
    return der.tlv(
        der.SEQUENCE, tbs, bytes.fromhex(algorithm), der.tlv(der.BIT_STRING, b"\0", signature.sign(key, tbs))
    )


def san_of(*names: bytes) -> bytes:
    """A subject alternative name extension of raw general names."""
    value = der.tlv(der.OCTET_STRING, der.tlv(der.SEQUENCE, *names))
    return der.tlv(der.SEQUENCE, bytes.fromhex("0603551d11"), value)


def attribute(oid: x509.ObjectIdentifier, value: bytes) -> bytes:
    """One part of a subject, as UTF8String, of any length."""
    made = x509.Name([x509.NameAttribute(oid, "XX")]).public_bytes()
    name = der.children(der.children(der.children(made)[0])[0])[0]
    return der.tlv(0x31, der.tlv(der.SEQUENCE, name, der.tlv(0x0C, value)))


RSA = rsa_key()
HIDDEN = der.tlv(  # the usual form of the key, as the value of an attribute
    der.SEQUENCE,
    bytes.fromhex("06032a0304"),
    der.tlv(0x31, KEY.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)),
)
CHALLENGE = bytes.fromhex("301006092a864886f70d0109073103") + bytes.fromhex("0c0161")
LARGE_RSA = rsa.RSAPublicNumbers(65537, 1 << 8191 | 1).public_key()
DSA = dsa.DSAPublicNumbers(2, dsa.DSAParameterNumbers(1 << 2047 | 1, 1 << 255 | 1, 2)).public_key()


def ed25519_csr() -> bytes:
    """A request by a key that our helpers do not know."""
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    return builder.sign(ed25519.Ed25519PrivateKey.generate(), None).public_bytes(Encoding.DER)


class TestProve:
    """`prove`: bytes in, a proven key or a BadRequest out."""

    @pytest.mark.parametrize(
        ("key", "expected"),
        [
            pytest.param(ec_key(), KeyType.EC_P256, id="p256"),
            pytest.param(ec_key(ec.SECP384R1()), KeyType.EC_P384, id="p384"),
            pytest.param(rsa_key(), KeyType.RSA, id="rsa-2048"),
            pytest.param(rsa_key(3072), KeyType.RSA, id="rsa-3072"),
            pytest.param(rsa_key(4096), KeyType.RSA, id="rsa-4096"),
        ],
    )
    def test_allowed_key_types(self, key: signature.SigningKey, expected: KeyType) -> None:
        """P-256, P-384 and RSA from 2048 to 4096 bits are proven."""
        proven = csr.prove(make_csr(key))
        assert (proven.key_type, proven.public_key) == (expected, key.public_key())

    @pytest.mark.parametrize("digest", [hashes.SHA256(), hashes.SHA384(), hashes.SHA512()], ids=lambda h: h.name)
    @pytest.mark.parametrize("key", [KEY, rsa_key()], ids=["ec", "rsa"])
    def test_allowed_hashes(
        self, key: signature.SigningKey, digest: hashes.SHA256 | hashes.SHA384 | hashes.SHA512
    ) -> None:
        """SHA-256, SHA-384 and SHA-512 are accepted with either kind of key."""
        assert csr.prove(make_csr(key, digest=digest)).public_key == key.public_key()

    def test_forms(self) -> None:
        """PEM as text, PEM as bytes and DER prove the same."""
        request = make_csr(KEY, [URI(str(WEB))])
        assert csr.prove(pem(request)) == csr.prove(pem(request).encode()) == csr.prove(request)

    def test_hashes_name_request_and_key(self) -> None:
        """The hashes are those of the DER request and of the public key as we encode it."""
        request = make_csr(KEY)
        proven = csr.prove(pem(request))
        spki = KEY.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        assert (proven.spki_der, proven.csr_sha256, proven.key_sha256) == (
            spki,
            hashlib.sha256(request).hexdigest(),
            hashlib.sha256(spki).hexdigest(),
        )

    @pytest.mark.parametrize("key", [KEY, ec_key(ec.SECP384R1()), rsa_key()], ids=["p256", "p384", "rsa"])
    def test_key_id(self, key: signature.SigningKey) -> None:
        """The key identifier is the one that RFC 5280 names and the library makes."""
        expected = x509.SubjectKeyIdentifier.from_public_key(key.public_key()).digest
        assert csr.prove(make_csr(key)).key_id == expected

    def test_names_are_kept_apart(self) -> None:
        """URIs are listed in order; every other kind of name only raises a flag."""
        proven = csr.prove(make_csr(KEY, [URI("spiffe://a/b"), x509.DNSName("a.example"), URI("spiffe://a/c")]))
        assert (proven.uris, proven.other_names) == (("spiffe://a/b", "spiffe://a/c"), True)

    @pytest.mark.parametrize(
        "request_der",
        [
            pytest.param(make_csr(KEY, subject=[(NameOID.COMMON_NAME, "web")]), id="common-name"),
            pytest.param(make_csr(KEY, [x509.DNSName("web.example")]), id="dns"),
            pytest.param(make_csr(KEY, [x509.IPAddress(ipaddress.ip_address("192.0.2.1"))]), id="ip"),
            pytest.param(make_csr(KEY, [x509.RFC822Name("a@example.com")]), id="email"),
            pytest.param(make_csr(KEY, [x509.RegisteredID(x509.ObjectIdentifier("1.2.3"))]), id="registered-id"),
            pytest.param(make_csr(KEY, [x509.DirectoryName(x509.Name([]))]), id="directory"),
        ],
    )
    def test_other_names(self, request_der: bytes) -> None:
        """A subject, or a SAN of any kind but URI, counts as another name."""
        assert csr.prove(request_der).other_names

    def test_empty_organisation_is_no_name(self) -> None:
        """An empty attribute in the subject, as Istio's agent sends it, asks for nothing."""
        assert not csr.prove(raw_csr(subject=(attribute(NameOID.ORGANIZATION_NAME, b""),))).other_names

    def test_long_country_is_only_a_name(self) -> None:
        """A subject attribute beyond its length limit, of which the library warns, is a name like any other."""
        assert csr.prove(raw_csr(subject=(attribute(NameOID.COUNTRY_NAME, b"DEU"),))).other_names

    def test_extensions_leave_no_trace(self) -> None:
        """A wish to be a CA changes nothing about what is proven."""
        wish = [x509.BasicConstraints(ca=True, path_length=None)]
        asked, plain = csr.prove(make_csr(KEY, extensions=wish)), csr.prove(make_csr(KEY))
        assert (asked.public_key, asked.uris, asked.other_names) == (
            plain.public_key,
            plain.uris,
            plain.other_names,
        )

    @pytest.mark.parametrize(
        ("unverified", "reason"),
        [
            pytest.param(b"\x30" * (64 * 1024 + 1), "csr_size", id="too-large"),
            pytest.param("-" * 10_000_000, "csr_size", id="ten-megabytes"),
            pytest.param(b"", "csr_format", id="empty"),
            pytest.param("garbage", "csr_format", id="garbage"),
            pytest.param("\ud800", "csr_format", id="lone-surrogate"),
            pytest.param(make_csr(KEY)[:-1], "csr_format", id="truncated"),
            pytest.param(make_csr(KEY) + b"\0", "csr_format", id="trailing-byte"),
            pytest.param(pem(make_csr(KEY)) * 2, "csr_format", id="two-requests"),
            pytest.param(
                pem(make_csr(KEY)).replace("CERTIFICATE REQUEST", "CERTIFICATE"), "csr_format", id="label"
            ),
            pytest.param(pem(make_csr(KEY)).replace("M", "!"), "csr_format", id="not-base64"),
            pytest.param(raw_csr(extensions=(san_of(), san_of())), "csr_format", id="duplicate-extension"),
            pytest.param(raw_csr(attributes=(CHALLENGE, CHALLENGE)), "csr_format", id="duplicate-attribute"),
            pytest.param(raw_csr(extensions=(san_of(b"\x86\x02\xc3\xa4"),)), "csr_names", id="not-ascii"),
            pytest.param(raw_csr(extensions=(san_of(b"\xa3\x00"),)), "csr_format", id="x400-address"),
            pytest.param(raw_csr(extensions=(san_of(b"\x87\x03abc"),)), "csr_format", id="ip-of-three-bytes"),
            pytest.param(make_csr(KEY, [URI("spiffe://a/b\n")]), "csr_names", id="newline"),
            pytest.param(make_csr(KEY, [URI("spiffe://a/b\0")]), "csr_names", id="nul"),
            pytest.param(make_csr(KEY, [x509.DNSName("a\n.example")]), "csr_names", id="newline-in-dns"),
            pytest.param(make_csr(KEY, [x509.DNSName("a\0.example")]), "csr_names", id="nul-in-dns"),
            pytest.param(make_csr(KEY, [URI("spiffe://a/b c")]), "csr_names", id="space"),
            pytest.param(
                make_csr(KEY, [x509.IPAddress(ipaddress.ip_network("192.0.2.0/24"))]), "csr_names", id="network"
            ),
            pytest.param(raw_csr(public_key=ec_key().public_key()), "csr_signature", id="signed-by-another-key"),
            pytest.param(make_csr(KEY, digest=hashes.SHA224()), "csr_signature", id="sha-224"),
            pytest.param(
                raw_csr(algorithm="300d06092a864886f70d01010b0500"),
                "csr_signature",
                id="rsa-signature-of-an-ec-key",
            ),
            pytest.param(raw_csr(key=rsa_key()), "csr_signature", id="ec-signature-of-an-rsa-key"),
        ],
    )
    def test_refused(self, unverified: str | bytes, reason: str) -> None:
        """Everything that is not one sound request, signed by its own key, is refused with its reason."""
        with pytest.raises(BadRequest) as refused:
            csr.prove(unverified)
        assert refused.value.reason == reason

    @pytest.mark.parametrize(
        ("request_der", "name"),
        [
            pytest.param(make_csr(rsa_key(1024)), "RSA-1024", id="rsa-1024"),
            pytest.param(raw_csr(public_key=LARGE_RSA), "RSA-8192", id="rsa-8192"),
            pytest.param(make_csr(rsa_key(2048, 3)), "exponent", id="rsa-exponent-3"),
            pytest.param(make_csr(ec_key(ec.SECP521R1())), "P-521", id="p521"),
            pytest.param(make_csr(ec_key(ec.SECP224R1())), "P-224", id="p224"),
            pytest.param(make_csr(ec_key(ec.SECP256K1())), "secp256k1", id="secp256k1"),
            pytest.param(ed25519_csr(), "Ed25519", id="ed25519"),
            pytest.param(raw_csr(public_key=DSA), "DSA", id="dsa"),
            pytest.param(
                make_csr(KEY).replace(bytes.fromhex("2a8648ce3d030107"), bytes.fromhex("2a8648ce3d030177")),
                "this type or curve",
                id="unknown-curve",
            ),
            pytest.param(
                make_csr(KEY).replace(b"\x03\x42\x00\x04", b"\x03\x42\x00\x05"), "malformed", id="bad-point"
            ),
            pytest.param(raw_csr(spki=compressed(KEY.public_key())), "written oddly", id="compressed-point"),
            pytest.param(
                raw_csr(spki=compressed(KEY.public_key()), attributes=(HIDDEN,)),
                "written oddly",
                id="usual-beside",
            ),
            pytest.param(
                raw_csr(key=RSA, spki=without_null(RSA.public_key()), algorithm="300d06092a864886f70d01010b0500"),
                "parameters of RSA",
                id="rsa-without-null",
            ),
            pytest.param(raw_csr(spki=hybrid(KEY.public_key())), "written oddly", id="hybrid-point"),
        ],
    )
    def test_refused_key(self, request_der: bytes, name: str) -> None:
        """A key that is not on the allow-list is refused by its name."""
        with pytest.raises(BadRequest, match=name) as refused:
            csr.prove(request_der)
        assert refused.value.reason == "csr_key"

    def test_pss_is_refused(self) -> None:
        """An RSA-PSS signature is refused: its parameters are one more thing that could be wrong."""
        builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
        pss = padding.PSS(mgf=padding.MGF1(hashes.SHA256()), salt_length=32)
        request = builder.sign(rsa_key(), hashes.SHA256(), rsa_padding=pss)
        with pytest.raises(BadRequest, match="PKCS #1"):
            csr.prove(request.public_bytes(Encoding.DER))

    @given(st.binary(max_size=400))
    def test_any_bytes(self, unverified: bytes) -> None:
        """Whatever the bytes, nothing but BadRequest comes out."""
        with pytest.raises(BadRequest):
            csr.prove(unverified)

    @given(st.text(max_size=200))
    def test_any_text(self, unverified: str) -> None:
        """Whatever the text, nothing but BadRequest comes out."""
        with pytest.raises(BadRequest):
            csr.prove(unverified)

    @given(st.data())
    def test_mutations(self, data: st.DataObject) -> None:
        """A request with a few bytes changed is refused, or was not changed."""
        seed = data.draw(st.sampled_from(SEEDS))
        request = bytearray(seed)
        for _ in range(data.draw(st.integers(1, 3))):
            at = data.draw(st.integers(0, len(request) - 1))
            request[at : at + data.draw(st.integers(0, 2))] = data.draw(st.binary(max_size=2))
        try:
            csr.prove(bytes(request))
        except BadRequest:
            return
        assert bytes(request) == seed

    @given(st.from_regex(r"[a-z]{12}", fullmatch=True))
    def test_detail_is_ours(self, secret: str) -> None:
        """No part of a refused request is in the error that the client may see."""
        with pytest.raises(BadRequest) as refused:
            csr.prove(make_csr(KEY, [URI(f"spiffe://{secret}\n")]))
        assert secret not in str(refused.value)


SEEDS = [
    make_csr(KEY),
    make_csr(rsa_key(), [URI(str(WEB))]),
    make_csr(
        KEY,
        [
            URI(str(WEB)),
            x509.DNSName("a.example"),
            x509.IPAddress(ipaddress.ip_address("192.0.2.1")),
            x509.RFC822Name("a@example.com"),
            x509.DirectoryName(x509.Name([x509.NameAttribute(NameOID.COUNTRY_NAME, "DE")])),
            x509.OtherName(x509.ObjectIdentifier("1.2.3.4"), b"\x0c\x01a"),
            x509.RegisteredID(x509.ObjectIdentifier("1.2.3")),
        ],
        subject=[(NameOID.COMMON_NAME, "web"), (NameOID.COUNTRY_NAME, "DE")],
        extensions=[
            x509.BasicConstraints(ca=True, path_length=1),
            x509.SubjectKeyIdentifier.from_public_key(KEY.public_key()),
            x509.NameConstraints([x509.DNSName("a")], None),
        ],
    ),
]


class TestOurKeys:
    """Keys that we make ourselves."""

    @pytest.mark.parametrize("key_type", list(KeyType))
    def test_fresh_key(self, key_type: KeyType) -> None:
        """A fresh key is of the type asked for, and its PEM is the private half of its public side."""
        secret, public = csr.fresh_key(key_type)
        private = load_pem_private_key(secret.reveal().encode(), None)
        assert (public.key_type, private.public_key(), public.csr_sha256) == (key_type, public.public_key, "")

    def test_it_asks_for_nothing(self) -> None:
        """A key of ours asks for no names."""
        assert (proven_key().uris, proven_key().other_names) == ((), False)

    def test_repr_is_short(self) -> None:
        """Neither key nor encoding is in the repr that a log may show."""
        assert "spki" not in repr(proven_key())


@pytest.mark.parametrize("key_type", KeyType)
def test_request_for_a_key_of_ours(key_type: KeyType) -> None:
    """It is proven as anybody's, for that key and no name."""
    private, key = csr.fresh_key(key_type)
    proven = csr.prove(csr.request(private))
    assert (proven.key_sha256, proven.uris, proven.other_names) == (key.key_sha256, (), False)


@pytest.mark.parametrize("oid", [NameOID.SERIAL_NUMBER, NameOID.USER_ID])
def test_not_forwarded(oid: x509.ObjectIdentifier) -> None:
    """What a role of Vault refuses whatever it says is told to its caller, not asked for."""
    with pytest.raises(BadRequest, match="serialNumber or userID") as caught:
        csr.forwarded(make_csr(subject=[(oid, "unknown role")]))
    assert caught.value.reason == "csr_names"


def test_forwarded() -> None:
    """What goes on is the request that was proven, as PEM, without what stood around it."""
    request = make_csr()
    pem = x509.load_der_x509_csr(request).public_bytes(Encoding.PEM).decode()
    assert csr.forwarded(request) == csr.forwarded(f"Dear CA,\n{pem}yours") == pem
