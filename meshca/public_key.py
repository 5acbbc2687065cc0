"""Public keys of other people: which may be certified or sign, and how they must be written.

The library reads more than other programs do. What Envoy or a program in Go could not read must not pass here,
whoever sent it.
"""

from __future__ import annotations

from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from meshca import der
from meshca.errors import BadRequest
from meshca.identity.key_type import KeyType

PublicKey = ec.EllipticCurvePublicKey | rsa.RSAPublicKey


SMALLEST_RSA, LARGEST_RSA = 2048, 4096  # bits; larger ones make every verification slower for everyone
RSA_EXPONENT = 65537  # the only one that common libraries make; large ones cost us time, 3 has a history
_CURVES = {"secp256r1": KeyType.EC_P256, "secp384r1": KeyType.EC_P384}
_CURVE_NAMES = {"secp224r1": "P-224", "secp521r1": "P-521"}
SUPPORTED = "use P-256, P-384 or RSA of 2048 to 4096 bits"
USUAL = "an EC point must be uncompressed, and the parameters of RSA must be NULL"
_VERSION: Final = 0xA0  # the tag before the version of a certificate; one of version 1 has none


def allowed(key: CertificatePublicKeyTypes) -> tuple[PublicKey, KeyType]:
    """The key if its type and strength are on the allow-list.

    Raises:
        BadRequest: reason `csr_key`, naming the type that was refused.
    """
    if isinstance(key, ec.EllipticCurvePublicKey):
        if key.curve.name in _CURVES:
            return key, _CURVES[key.curve.name]
        name = _CURVE_NAMES.get(key.curve.name, key.curve.name)
    elif isinstance(key, rsa.RSAPublicKey):
        name = f"RSA-{key.key_size}"
        if SMALLEST_RSA <= key.key_size <= LARGEST_RSA:
            if key.public_numbers().e == RSA_EXPONENT:
                return key, KeyType.RSA
            name = f"RSA with a public exponent other than {RSA_EXPONENT}"
    else:
        name = type(key).__name__.removesuffix("PublicKey")  # the library's own class: Ed25519, DSA, ...
    raise BadRequest("csr_key", f"a key of type {name} is not supported: {SUPPORTED}")


def written(certified: x509.Certificate | x509.CertificateSigningRequest) -> bytes:
    """The SubjectPublicKeyInfo, DER, as it was sent."""
    if isinstance(certified, x509.CertificateSigningRequest):
        return der.children(certified.tbs_certrequest_bytes)[2]
    fields = der.children(certified.tbs_certificate_bytes)
    return fields[6 if fields[0][0] == _VERSION else 5]


def is_usual(certificate: x509.Certificate) -> bool:
    """Whether its key is written as RFC 5480 section 2.2 (uncompressed) and RFC 3279 section 2.3.1 (NULL) say."""
    usual = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return written(certificate) == usual
