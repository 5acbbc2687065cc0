"""Keys that are written otherwise than every program reads them, in certificates that are signed all the same."""

from __future__ import annotations

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from meshca import der
from meshca.svid import signature

_P256 = bytes.fromhex("301306072a8648ce3d020106082a8648ce3d030107")
_RSA_WITHOUT_NULL = bytes.fromhex("300b06092a864886f70d010101")
_SPKI = 6  # of a certificate's fields


def compressed(key: ec.EllipticCurvePublicKey) -> bytes:
    """The SubjectPublicKeyInfo of a key of P-256 whose point is its x and the sign of its y."""
    return _info(_P256, key.public_bytes(Encoding.X962, PublicFormat.CompressedPoint))


def hybrid(key: ec.EllipticCurvePublicKey) -> bytes:
    """The same with both, and the sign of y as well."""
    point = key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    return _info(_P256, bytes([6 + point[-1] % 2]) + point[1:])


def without_null(key: rsa.RSAPublicKey) -> bytes:
    """The SubjectPublicKeyInfo of a key of RSA whose algorithm has no parameters."""
    return _info(_RSA_WITHOUT_NULL, key.public_bytes(Encoding.DER, PublicFormat.PKCS1))


def rewritten(certificate: x509.Certificate, spki: bytes, by: signature.SigningKey) -> x509.Certificate:
    """A certificate with its key written like this, signed anew."""
    fields = der.children(certificate.tbs_certificate_bytes)
    return signed_anew(certificate, [*fields[:_SPKI], spki, *fields[_SPKI + 1 :]], by)


def signed_anew(certificate: x509.Certificate, fields: list[bytes], by: signature.SigningKey) -> x509.Certificate:
    """A certificate with these fields in place of its own."""
    tbs = der.tlv(der.SEQUENCE, *fields)
    _, algorithm, _ = der.children(certificate.public_bytes(Encoding.DER))
    value = der.tlv(der.BIT_STRING, b"\0", signature.sign(by, tbs))
    return x509.load_der_x509_certificate(der.tlv(der.SEQUENCE, tbs, algorithm, value))


def _info(algorithm: bytes, key: bytes) -> bytes:
    return der.tlv(der.SEQUENCE, algorithm, der.tlv(der.BIT_STRING, b"\0", key))
