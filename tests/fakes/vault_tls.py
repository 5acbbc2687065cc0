"""TLS for a stand-in for Vault: a root and a certificate for 127.0.0.1, as files."""

from __future__ import annotations

import hashlib
import ipaddress
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from tests.fakes.pki import SIGNS_DATA, make_ca

LOOPBACK = x509.IPAddress(ipaddress.IPv4Address("127.0.0.1"))


def tls_files(folder: Path, name: x509.GeneralName = LOOPBACK) -> tuple[Path, Path, Path]:
    """Roots, certificate and key.

    Args:
        folder: where they are put.
        name: that the certificate is for.
    """
    root = make_ca("root of the servers")
    extra = (x509.SubjectAlternativeName([name]),)
    leaf = make_ca("server", root, constraints=None, usage=SIGNS_DATA, extra=extra)
    paths = folder / "tls-roots.pem", folder / "tls-certificate.pem", folder / "tls-key.pem"
    for path, text in zip(paths, (root.pem, leaf.pem, leaf.key_pem), strict=True):
        path.write_text(text)
    return paths


def sha256_of(path: Path) -> str:
    """The fingerprint of a certificate."""
    certificate = x509.load_pem_x509_certificate(path.read_bytes())
    return hashlib.sha256(certificate.public_bytes(Encoding.DER)).hexdigest()
