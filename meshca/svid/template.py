"""The fixed parts of every to-be-signed certificate of one issuer and key type, made once.

Building a certificate with the library's builder costs about 50 microseconds, filling this template about
10. The template is cut from one certificate of that builder, which is linted, and must give the same bytes
when it is filled with the same facts. What varies is checked for every leaf by `svid.lint`, which shares
no code with this module.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding

from meshca import csr, der
from meshca.errors import InvariantBroken
from meshca.identity.key_type import KeyType
from meshca.identity.spiffe_id import SpiffeId
from meshca.public_key import RSA_EXPONENT, SMALLEST_RSA
from meshca.svid import blueprint, lint, signature
from meshca.svid.issuer import Issuer
from meshca.svid.wanted import Wanted

_EXTENSIONS = 0xA3  # RFC 5280 section 4.1: [3] EXPLICIT Extensions
_URI = 0x86  # RFC 5280 section 4.2.1.6: [6] IA5String


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """DER pieces, in the order in which they stand in a certificate.

    Attributes:
        issuer: whose template it is.
        version: before the serial.
        algorithm: how the issuer signs; stands once more after the to-be-signed part.
        issuer_name: its subject.
        subject: empty.
        extensions: those that do not vary.
        key_id_head: the subject key identifier extension's OID.
        san_head: the subject alternative name extension's OID and critical flag.
        throw_away: the signature of a throw-away key: what makes a whole certificate of to-be-signed bytes
            that the lint has not seen yet.
    """

    issuer: Issuer
    version: bytes
    algorithm: bytes
    issuer_name: bytes
    subject: bytes
    extensions: bytes
    key_id_head: bytes
    san_head: bytes
    throw_away: bytes

    def fill(self, wanted: Wanted, identity: SpiffeId) -> bytes:
        """The to-be-signed certificate, DER."""
        san = der.tlv(der.SEQUENCE, der.tlv(_URI, str(identity).encode()))
        return der.tlv(
            der.SEQUENCE,
            self.version,
            der.integer(wanted.serial),
            self.algorithm,
            self.issuer_name,
            der.tlv(der.SEQUENCE, der.time(wanted.not_before), der.time(wanted.not_after)),
            self.subject,
            wanted.key.spki_der,
            der.tlv(
                _EXTENSIONS,
                der.tlv(
                    der.SEQUENCE,
                    self.extensions,
                    der.tlv(
                        der.SEQUENCE,
                        self.key_id_head,
                        der.tlv(der.OCTET_STRING, der.tlv(der.OCTET_STRING, wanted.key.key_id)),
                    ),
                    der.tlv(der.SEQUENCE, self.san_head, der.tlv(der.OCTET_STRING, san)),
                ),
            ),
        )

    def unsigned(self, tbs: bytes) -> bytes:
        """A whole certificate around these bytes whose signature nobody can trust, for the lint to read."""
        return der.tlv(der.SEQUENCE, tbs, self.algorithm, self.throw_away)


def learn(issuer: Issuer, key_type: KeyType) -> Template:
    """Cut the template for this issuer and type of leaf key, and prove that it gives the same bytes.

    Raises:
        InvariantBroken: reason `lint` or `template`.
    """
    wanted, identity = _sample(issuer, key_type), SpiffeId(issuer.trust_domain, "/template")
    key = signature.throw_away(issuer.public_key)
    made = blueprint.svid(wanted, identity, key).public_bytes(Encoding.DER)
    lint.svid(made, wanted, identity)
    template = _cut(issuer, made)
    if template.unsigned(template.fill(wanted, identity)) != made:
        raise InvariantBroken("template", "the template does not give the certificate that it was cut from")
    return template


def _cut(issuer: Issuer, certificate: bytes) -> Template:
    tbs, _, throw_away = der.children(certificate)
    version, _, algorithm, issuer_name, _, subject, _, extensions = der.children(tbs)
    *fixed, key_id, san = der.children(der.content(extensions))
    return Template(
        issuer=issuer,
        version=version,
        algorithm=algorithm,
        issuer_name=issuer_name,
        subject=subject,
        extensions=b"".join(fixed),
        key_id_head=b"".join(der.children(key_id)[:-1]),
        san_head=b"".join(der.children(san)[:-1]),
        throw_away=throw_away,
    )


def _sample(issuer: Issuer, key_type: KeyType) -> Wanted:
    """Facts to build the sample with; every one of them is replaced when the template is filled."""
    return Wanted(
        key=_nobodys_key(key_type),
        issuer=issuer,
        serial=1 << 127,
        not_before=issuer.not_after - timedelta(hours=1),
        not_after=issuer.not_after,
    )


def _nobodys_key(key_type: KeyType) -> csr.ProvenKey:
    """A public key for the sample; the RSA one is a mere number, so that no primes are searched for."""
    if key_type is KeyType.RSA:
        modulus = 1 << (SMALLEST_RSA - 1) | 1
        return csr.ours(rsa.RSAPublicNumbers(RSA_EXPONENT, modulus).public_key())
    return csr.fresh_key(key_type)[1]
