"""A certificate that anybody can make: the right SPIFFE ID, signed by a CA of one's own.

The demo shows that it opens nothing. Must never be given a key or certificate of the mesh.
"""

from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from meshca.identity.spiffe_id import SpiffeId

_AN_HOUR = timedelta(hours=1)


def forged_client(claimed: SpiffeId, roots: Path, folder: Path) -> ssl.SSLContext:
    """A TLS client that trusts the mesh's roots and shows a self-made certificate for someone's identity.

    Args:
        claimed: whose identity the certificate claims.
        roots: PEM of the mesh's roots, so that the handshake does not end on the client's side.
        folder: private folder; the self-made key and certificate are left there.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    authority_key = ec.generate_private_key(ec.SECP256R1())
    authority = x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "cluster.local")])
    now = datetime.now(UTC)
    leaf = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([]))
        .issuer_name(authority)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _AN_HOUR)
        .not_valid_after(now + _AN_HOUR)
        .add_extension(x509.SubjectAlternativeName([x509.UniformResourceIdentifier(str(claimed))]), critical=True)
        .sign(authority_key, hashes.SHA256())
    )
    pair = folder / "forged.pem"
    pair.touch(mode=0o600)
    pair.write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()) + leaf.public_bytes(Encoding.PEM)
    )
    context = ssl.create_default_context(cafile=str(roots))
    context.check_hostname = False  # identities of a mesh are SPIFFE IDs, not host names
    context.load_cert_chain(pair)
    return context
