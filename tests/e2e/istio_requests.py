"""Requests as Istio's clients send them, and what is read of the certificate that comes back."""

from __future__ import annotations

import base64

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from meshca._proto.istio.v1.auth.ca_pb2 import IstioCertificateResponse

WEB = "spiffe://cluster.local/ns/shop/sa/web"
PAYMENTS = "spiffe://cluster.local/ns/shop/sa/payments"


def pem(der: bytes) -> str:
    """A request as clients send it."""
    return x509.load_der_x509_csr(der).public_bytes(Encoding.PEM).decode()


def armoured(der: bytes) -> str:
    """The same for what our library would not read."""
    body = base64.encodebytes(der).decode()
    return f"-----BEGIN CERTIFICATE REQUEST-----\n{body}-----END CERTIFICATE REQUEST-----\n"


def uris(leaf: x509.Certificate) -> list[str]:
    """The URI names of a certificate."""
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return names.get_values_for_type(x509.UniformResourceIdentifier)


def leaf_of(answer: IstioCertificateResponse) -> x509.Certificate:
    """The first certificate of an answer."""
    return x509.load_pem_x509_certificate(answer.cert_chain[0].encode())
