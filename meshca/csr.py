"""Certificate signing requests: the attacker's ASN.1, parsed eagerly in this one place.

A CSR contributes its public key, proven by its own signature, and the names that it asks for, which may
only be compared with a grant. Its extensions are read so that a broken one is refused here and not later;
they must never be copied into a certificate. No text of a CSR or of a library may reach an error.
"""

from __future__ import annotations

import hashlib
import ipaddress
import re
import warnings
from dataclasses import dataclass, field

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import NameOID
from cryptography.x509.oid import SignatureAlgorithmOID as Oid

from meshca.errors import BadRequest
from meshca.identity.key_type import KeyType
from meshca.identity.spiffe_id import SpiffeId
from meshca.public_key import (
    RSA_EXPONENT,
    SMALLEST_RSA,
    SUPPORTED,
    USUAL,
    PublicKey,
    allowed,
    written,
)
from meshca.secret import Secret

MAX_BYTES = 64 * 1024  # an RSA-4096 request with a SPIFFE ID of 2048 bytes needs 5 KiB as PEM
_NOT_FORWARDED = frozenset({NameOID.SERIAL_NUMBER, NameOID.USER_ID})
_ECDSA = {
    Oid.ECDSA_WITH_SHA256: ec.ECDSA(hashes.SHA256()),
    Oid.ECDSA_WITH_SHA384: ec.ECDSA(hashes.SHA384()),
    Oid.ECDSA_WITH_SHA512: ec.ECDSA(hashes.SHA512()),
}
_RSA = {
    Oid.RSA_WITH_SHA256: hashes.SHA256(),
    Oid.RSA_WITH_SHA384: hashes.SHA384(),
    Oid.RSA_WITH_SHA512: hashes.SHA512(),
}
_VISIBLE = re.compile(r"[!-~]*")
# With a scheme (RFC 5280 section 4.2.1.6) and, if it names a host, one of plain labels: what every other reader of
# the CSR takes for a URI as well. An outside signer that could not read it would refuse what we let in.
_CHARACTERS = r"(?:[\w.~!$&'()*+,;=:@/?-]|%[0-9A-Fa-f]{2})*"
_HOST = r"//(?:[\w-]+(?:\.[\w-]+)*(?::[0-9]+)?)?(?![^/?#])"
_URI = re.compile(rf"[A-Za-z][A-Za-z0-9+.-]*:(?:{_HOST}|(?!//)){_CHARACTERS}(?:#{_CHARACTERS})?", re.ASCII)
# What cryptography 50 raises on hostile bytes, found by mutating valid requests (tests/test_csr.py repeats
# that): the last three are not ValueErrors, and TypeError comes from a bit string in a subject.
_UNREADABLE = (
    ValueError,
    TypeError,
    x509.InvalidVersion,
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProvenKey:
    """A public key whose owner proved to hold the private key, and the names that the CSR asked for.

    Attributes:
        public_key: of an allowed type; nothing else of the CSR may enter a certificate.
        spki_der: its SubjectPublicKeyInfo as we encode it, not as it was sent.
        key_type: which of the allowed types it is.
        key_id: its subject key identifier (RFC 5280 section 4.2.1.2, method 1): 20 bytes.
        uris: the URI SANs asked for, in order; well-formed, otherwise unverified.
        other_names: whether any other name was asked for: a non-empty subject or another kind of SAN.
        csr_sha256: lower-case hexadecimal SHA-256 of the DER CSR, empty for a key of our own making.
        key_sha256: lower-case hexadecimal SHA-256 of `spki_der`.
    """

    public_key: PublicKey = field(repr=False)
    spki_der: bytes = field(repr=False)
    key_type: KeyType
    key_id: bytes = field(repr=False)
    uris: tuple[str, ...]
    other_names: bool
    csr_sha256: str
    key_sha256: str


def prove(unverified: str | bytes) -> ProvenKey:
    """Read a PKCS#10 request (RFC 2986), PEM or DER, and check the signature that it makes over itself.

    Checked: size, exactly one request and nothing after it, every extension parses and occurs once, names
    are visible ASCII, URIs and addresses well-formed, key type and strength (before the signature, which a
    hostile key could make slow), signature algorithm without SHA-1, signature, the key in its usual encoding
    (RFC 5480 section 2.2: uncompressed; RFC 3279 section 2.3.1: with NULL). Not checked: whose names it
    asks for (`check_names`).

    Raises:
        BadRequest: reason `csr_size`, `csr_format`, `csr_names`, `csr_key` or `csr_signature`.
    """
    if len(unverified) > MAX_BYTES:
        raise BadRequest("csr_size", f"the CSR must be at most {MAX_BYTES} bytes")
    request = _parsed(unverified)
    uris, other_names = _names(request)
    key, key_type = _key(request)
    _check_signature(request, key)
    csr_sha256 = hashlib.sha256(request.public_bytes(Encoding.DER)).hexdigest()
    proven = _proven(key, key_type, uris=uris, other_names=other_names, csr_sha256=csr_sha256)
    if written(request) != proven.spki_der:  # an outside signer could not read it
        raise BadRequest("csr_key", f"the public key of the CSR is written oddly: {USUAL}")
    return proven


def check_names(key: ProvenKey, identity: SpiffeId, *, strict: bool) -> None:
    """Compare the names that a CSR asks for with the granted identity.

    Strict: it may ask for no name, or for exactly the granted SPIFFE ID. Otherwise, as Istio's CA does,
    its names are ignored; the certificate carries only the granted identity in either mode.

    Raises:
        BadRequest: reason `csr_names`.
    """
    if not strict:
        return
    if key.other_names:
        raise BadRequest(
            "csr_names",
            "the CSR may ask for no name but its own SPIFFE ID: leave out subject and DNS, IP and other names",
        )
    if key.uris not in {(), (str(identity),)}:
        raise BadRequest("csr_names", "the only URI that the CSR may ask for is the caller's own SPIFFE ID")


def fresh_key(key_type: KeyType) -> tuple[Secret[str], ProvenKey]:
    """Make a key ourselves; what is made here needs no proof. RSA keys have 2048 bits.

    Returns:
        The unencrypted PKCS#8 PEM, and the key's public side, which asks for no names.
    """
    private = generate(key_type)
    pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    return Secret(pem), ours(private.public_key())


def forwarded(proven: str | bytes) -> str:
    """PEM of a request that `prove` has read, without anything that stood around it.

    Raises:
        BadRequest: reason `csr_names`: roles of Vault refuse what its subject has, though they take nothing of it.
    """
    request = _parsed(proven)
    if any(attribute.oid in _NOT_FORWARDED for attribute in _subject(request)):
        raise BadRequest("csr_names", "the subject of the CSR has a serialNumber or userID: leave it out")
    return request.public_bytes(Encoding.PEM).decode()


def request(private_pem: Secret[str]) -> str:
    """PEM of a request for a key of ours, which asks for no names."""
    private = load_pem_private_key(private_pem.reveal().encode(), None)
    assert isinstance(private, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey)  # noqa: S101 - what `fresh_key` makes
    made = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(private, hashes.SHA256())
    return made.public_bytes(Encoding.PEM).decode()


def ours(key: PublicKey) -> ProvenKey:
    """A key that we made, in the form of a proven one: it asks for no names and came in no CSR."""
    return _proven(key, allowed(key)[1], uris=(), other_names=False, csr_sha256="")


def generate(key_type: KeyType, *, rsa_bits: int = SMALLEST_RSA) -> ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey:
    """A new private key from the operating system's randomness."""
    if key_type is KeyType.RSA:
        return rsa.generate_private_key(public_exponent=RSA_EXPONENT, key_size=rsa_bits)
    return ec.generate_private_key(ec.SECP384R1() if key_type is KeyType.EC_P384 else ec.SECP256R1())


def _parsed(unverified: str | bytes) -> x509.CertificateSigningRequest:
    try:
        data = unverified.encode() if isinstance(unverified, str) else unverified
        if data[:1] == b"\x30":  # a DER SEQUENCE
            return x509.load_der_x509_csr(data)
        if data.count(b"-----BEGIN ") == 1:
            return x509.load_pem_x509_csr(data)
    except _UNREADABLE:
        pass
    raise BadRequest("csr_format", "expected exactly one PKCS#10 certificate request, PEM or DER")


def _names(request: x509.CertificateSigningRequest) -> tuple[tuple[str, ...], bool]:
    """The URIs asked for, and whether other names were asked for; parses all there is on the way."""
    try:
        subject = [attribute for attribute in _subject(request) if attribute.value]
        extensions = list(request.extensions)
        attributes = [attribute.oid for attribute in request.attributes]
    except _UNREADABLE:
        raise BadRequest("csr_format", "a field or extension of the CSR is malformed or occurs twice") from None
    if len(set(attributes)) != len(attributes):
        raise BadRequest("csr_format", "an attribute of the CSR occurs twice")
    asked = [e.value for e in extensions if isinstance(e.value, x509.SubjectAlternativeName)]
    names = [name for san in asked for name in san]
    texts = [name.value for name in names if isinstance(name.value, str)]
    if not all(_VISIBLE.fullmatch(text) for text in texts):
        raise BadRequest("csr_names", "a name in the CSR holds a character that is not visible ASCII")
    uris = tuple(name.value for name in names if isinstance(name, x509.UniformResourceIdentifier))
    if not all(_URI.fullmatch(uri) for uri in uris):
        raise BadRequest("csr_names", "a URI in the CSR is malformed, has no scheme, or names no plain host")
    if any(isinstance(name.value, ipaddress.IPv4Network | ipaddress.IPv6Network) for name in names):
        raise BadRequest("csr_names", "an IP address in the CSR is a network")
    return uris, bool(subject) or len(uris) < len(names)


def _subject(request: x509.CertificateSigningRequest) -> x509.Name:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the library warns of attributes that are too long: not our matter
        return request.subject


def _key(request: x509.CertificateSigningRequest) -> tuple[PublicKey, KeyType]:
    try:
        key = request.public_key()
    except UnsupportedAlgorithm:
        raise BadRequest("csr_key", f"a key of this type or curve is not supported: {SUPPORTED}") from None
    except ValueError:
        raise BadRequest("csr_key", "the public key of the CSR is malformed") from None
    return allowed(key)


def _check_signature(request: x509.CertificateSigningRequest, key: PublicKey) -> None:
    # `request.is_signature_valid` would decode the key a second time: 10 of 100 microseconds.
    signature, signed = request.signature, request.tbs_certrequest_bytes
    try:
        if isinstance(key, ec.EllipticCurvePublicKey):
            key.verify(signature, signed, _ECDSA[request.signature_algorithm_oid])
        else:
            key.verify(signature, signed, padding.PKCS1v15(), _RSA[request.signature_algorithm_oid])
    except KeyError:
        raise BadRequest(
            "csr_signature",
            "the CSR must be signed with ECDSA or RSA (PKCS #1 v1.5), by its own key, and SHA-256, -384 or -512",
        ) from None
    except InvalidSignature:
        raise BadRequest("csr_signature", "the CSR is not signed by the key that it contains") from None


def _proven(
    key: PublicKey, key_type: KeyType, *, uris: tuple[str, ...], other_names: bool, csr_sha256: str
) -> ProvenKey:
    spki_der = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return ProvenKey(
        public_key=key,
        spki_der=spki_der,
        key_type=key_type,
        key_id=_key_id(key, spki_der),
        uris=uris,
        other_names=other_names,
        csr_sha256=csr_sha256,
        key_sha256=hashlib.sha256(spki_der).hexdigest(),
    )


def _key_id(key: PublicKey, spki_der: bytes) -> bytes:
    """SHA-1 of the key's bits (RFC 5280 section 4.2.1.2, method 1), without encoding the key once more."""
    if isinstance(key, ec.EllipticCurvePublicKey):
        point_bytes = 1 + 2 * (key.key_size // 8)  # 0x04, x, y: uncompressed, at the end of the SPKI
        return hashlib.sha1(spki_der[-point_bytes:], usedforsecurity=False).digest()
    return x509.SubjectKeyIdentifier.from_public_key(key).digest
