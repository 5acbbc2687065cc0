"""CA certificates of our own making, read back with the library."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from meshca.authority.faults import find_faults
from meshca.authority.slot import Slot
from meshca.identity.spiffe_id import TrustDomain
from meshca.public_key import allowed
from meshca.svid.signature import SigningKey
from meshca.upstream.ca_certificates import _go_key_id, make_intermediate, make_root
from tests.fakes.pki import DAY, NOW, TRUST_DOMAIN, Ca, ec_key, make_ca, material_of, rsa_key

VECTORS = Path(__file__).resolve().parents[1] / "vectors" / "istio_roots.pem"
KEY = ec_key()
ROOT = make_root(KEY, TRUST_DOMAIN, NOW, NOW + 3650 * DAY)


def intermediate() -> x509.Certificate:
    """An intermediate of 30 days for a new key."""
    return make_intermediate(ec_key().public_key(), TRUST_DOMAIN, ROOT, KEY, (NOW, NOW + 30 * DAY))


@pytest.mark.parametrize("key", [ec_key(), ec_key(ec.SECP384R1()), rsa_key()], ids=["p256", "p384", "rsa"])
def test_sound(key: SigningKey) -> None:
    """Root and intermediate of every key type have no fault."""
    root = make_root(key, TRUST_DOMAIN, NOW, NOW + 3650 * DAY)
    made = make_intermediate(KEY.public_key(), TRUST_DOMAIN, root, key, (NOW, NOW + 30 * DAY))
    assert find_faults([made], [root], KEY, TRUST_DOMAIN, NOW) == []


@pytest.mark.parametrize("certificate", [ROOT, intermediate()], ids=["root", "intermediate"])
def test_profile(certificate: x509.Certificate) -> None:
    """A CA certificate names its trust domain (X1), is a CA (X4) and may sign certificates and lists (X5, X6)."""
    extensions = certificate.extensions
    san = extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    usage = extensions.get_extension_for_class(x509.KeyUsage)
    assert list(san) == [x509.UniformResourceIdentifier("spiffe://cluster.local")]
    assert extensions.get_extension_for_class(x509.BasicConstraints).critical
    assert (usage.critical, usage.value.key_cert_sign, usage.value.digital_signature) == (True, True, False)


def test_no_ca_below_an_intermediate() -> None:
    """An intermediate may sign leaves only."""
    constraints = intermediate().extensions.get_extension_for_class(x509.BasicConstraints).value
    assert constraints == x509.BasicConstraints(ca=True, path_length=0)


def test_key_identifiers() -> None:
    """The intermediate's authority key identifier is the root's subject key identifier."""
    below = intermediate().extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value
    above = ROOT.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    assert below.key_identifier == above.digest


def test_below_a_root_without_key_identifier() -> None:
    """Below such a root the authority key identifier is made of the root's key, and the chain verifies."""
    old = make_ca("root", key_id=False)
    key = ec_key()
    made = make_intermediate(key.public_key(), TRUST_DOMAIN, old.certificate, old.key, (NOW, NOW + DAY))
    above = x509.SubjectKeyIdentifier.from_public_key(old.key.public_key())
    below = made.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value
    assert below.key_identifier == above.digest
    Slot.prove(material_of(Ca(made, key), roots=[old]), TRUST_DOMAIN, NOW)


ISTIO, *ROTATED = x509.load_pem_x509_certificates(VECTORS.read_bytes())


class TestForIstio:
    """A root that Istio may rotate: its new one must have the same name and key identifier, byte for byte."""

    ROOTS = tuple(make_root(KEY, TRUST_DOMAIN, NOW, NOW + DAY, for_istio=True) for _ in range(20))

    @pytest.mark.parametrize("rotated", ROTATED, ids=["p256", "p384", "rsa"])
    def test_name_as_rotated(self, rotated: x509.Certificate) -> None:
        """The name is spelt as Istio spelt it: a root of that name has the same bytes."""
        [organization] = rotated.subject
        assert re.fullmatch(r"meshca root #[0-9a-f]{16}", str(organization.value))
        again = x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization.value)])
        assert again.public_bytes() == rotated.subject.public_bytes()

    def test_name(self) -> None:
        """The name is one organization and nothing else."""
        [organization] = self.ROOTS[0].subject
        assert organization.oid == NameOID.ORGANIZATION_NAME
        assert re.fullmatch(r"meshca root #[0-9a-f]{16}", str(organization.value))

    @pytest.mark.parametrize("rotated", ROTATED, ids=["p256", "p384", "rsa"])
    def test_key_identifier_as_rotated(self, rotated: x509.Certificate) -> None:
        """The key identifier is the one that Go makes of the same key."""
        theirs = rotated.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
        assert _go_key_id(allowed(rotated.public_key())[0]) == theirs

    def test_key_identifier_is_in_the_root(self) -> None:
        """The root carries it, and what is signed below names it."""
        root = self.ROOTS[0]
        made = make_intermediate(ec_key().public_key(), TRUST_DOMAIN, root, KEY, (NOW, NOW + DAY))
        above = root.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
        below = made.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value
        assert above == _go_key_id(KEY.public_key())
        assert below.key_identifier == above.digest

    def test_subjects_differ(self) -> None:
        """No two roots have one subject."""
        assert len({root.subject for root in self.ROOTS}) == 20

    @pytest.mark.parametrize("root", [ISTIO, *ROTATED], ids=["istio", "p256", "p384", "rsa"])
    def test_what_istio_makes_is_sound(self, root: x509.Certificate) -> None:
        """A root that Istio made or rotated may stand above an intermediate of ours."""
        assert find_faults([root], [root], None, TRUST_DOMAIN, root.not_valid_before_utc, below=1) == []


def test_subjects_differ() -> None:
    """No two CA certificates have one subject."""
    subjects = {ROOT.subject, *(intermediate().subject for _ in range(20))}
    assert len(subjects) == 21


def test_long_trust_domain() -> None:
    """A trust domain of 255 bytes does not break the limit of 64 for a common name."""
    trust_domain = TrustDomain("a" * 255)
    root = make_root(KEY, trust_domain, NOW, NOW + DAY)
    assert find_faults([root], [root], KEY, trust_domain, NOW) == []
