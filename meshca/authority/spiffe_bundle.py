"""A set of roots in SPIFFE's own format, for whoever trusts this trust domain from outside.

SPIFFE_Trust_Domain_and_Bundle.md: a JWK Set whose sequence rises with every change. Pure. A certificate whose key
has no form there is an error, never left out: a reader would take what is missing for revoked.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from datetime import timedelta
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding

from meshca.errors import InvariantBroken

REFRESH_HINT: Final = timedelta(
    minutes=5
)  # what readers without a hint use; section 4.1.2 calls it a sensible one
_CURVES: Final = {"secp256r1": "P-256", "secp384r1": "P-384", "secp521r1": "P-521"}  # RFC 7518 section 6.2.1.1


def spiffe_bundle(sequence: int, roots: Sequence[str]) -> str:
    """The JSON text of a bundle.

    Args:
        sequence: of the bundle (`spiffe_sequence`).
        roots: PEM, one certificate each; none means that everything is revoked.

    Raises:
        InvariantBroken: reason `jwk`, when a root has a key that a JWK of SPIFFE cannot hold.
    """
    document = {
        "keys": [_key(x509.load_pem_x509_certificate(pem.encode())) for pem in roots],
        "spiffe_sequence": sequence,
        "spiffe_refresh_hint": round(REFRESH_HINT.total_seconds()),
    }
    return json.dumps(document, indent=2)


def _key(root: x509.Certificate) -> dict[str, object]:
    """One root as a JWK: no `kid`, and `x5c` with just the root, in plain base64 of its DER (section 4.2.3)."""
    encoded = base64.b64encode(root.public_bytes(Encoding.DER)).decode()
    return {"use": "x509-svid", **_public(root), "x5c": [encoded]}


def _public(root: x509.Certificate) -> dict[str, str]:
    key = root.public_key()
    if isinstance(key, ec.EllipticCurvePublicKey) and key.curve.name in _CURVES:
        numbers, size = key.public_numbers(), (key.key_size + 7) // 8
        curve = _CURVES[key.curve.name]
        return {"kty": "EC", "crv": curve, "x": _octets(numbers.x, size), "y": _octets(numbers.y, size)}
    if isinstance(key, rsa.RSAPublicKey):
        modulus = key.public_numbers()
        return {"kty": "RSA", "n": _octets(modulus.n), "e": _octets(modulus.e)}
    raise InvariantBroken("jwk", f"no JWK is known for a {type(key).__name__}")


def _octets(number: int, size: int | None = None) -> str:
    """A number as base64url without padding, big-endian (RFC 7518 sections 6.2.1.2 and 6.3.1.1)."""
    octets = number.to_bytes(size or (number.bit_length() + 7) // 8, "big")
    return base64.urlsafe_b64encode(octets).rstrip(b"=").decode()
