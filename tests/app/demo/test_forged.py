"""The self-made certificate is as good as one can be without the CA's key."""

from __future__ import annotations

import stat
from pathlib import Path

from cryptography import x509

from meshca.app.demo.forged import forged_client
from meshca.identity.spiffe_id import SpiffeId
from tests.real.pki import Pki

WEB = SpiffeId.parse("spiffe://cluster.local/ns/shop/sa/web")


def test_it_claims_the_identity_and_is_not_of_the_mesh(tmp_path: Path) -> None:
    """The name is right; only the signature is not."""
    pki = Pki()
    (tmp_path / "root.pem").write_bytes(pki.root())
    forged_client(WEB, tmp_path / "root.pem", tmp_path)
    certificate = x509.load_pem_x509_certificate((tmp_path / "forged.pem").read_bytes())
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.UniformResourceIdentifier) == [str(WEB)]
    assert certificate.issuer != pki.name


def test_its_key_is_private(tmp_path: Path) -> None:
    """Even a throw-away key is 0600."""
    (tmp_path / "root.pem").write_bytes(Pki().root())
    forged_client(WEB, tmp_path / "root.pem", tmp_path)
    assert stat.S_IMODE((tmp_path / "forged.pem").stat().st_mode) == 0o600
