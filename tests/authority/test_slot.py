"""Slots: only proven material signs, and a trial leaf is the last proof."""

from __future__ import annotations

from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from meshca.authority.slot import Slot
from meshca.errors import ConfigError, InvariantBroken, Unavailable
from meshca.identity.key_type import KeyType
from meshca.identity.spiffe_id import TrustDomain
from meshca.svid import signature
from tests.fakes.pki import (
    DAY,
    NOW,
    TRUST_DOMAIN,
    ec_key,
    good_material,
    good_slot,
    make_ca,
    material_of,
    rsa_key,
)

ROOT = make_ca("root", end=NOW + 20 * DAY)
UPPER = make_ca("upper", ROOT, end=NOW + 10 * DAY)
SIGNER = make_ca("signer", UPPER, end=NOW + 15 * DAY)
OTHER = make_ca("other root")


def deep_slot() -> Slot:
    """A signer two steps below one of two roots."""
    return Slot.prove(material_of(SIGNER, UPPER, roots=[OTHER, ROOT, OTHER]), TRUST_DOMAIN, NOW)


class TestProve:
    """`Slot.prove`: the only way to a slot."""

    @pytest.mark.parametrize("key", [ec_key(), ec_key(ec.SECP384R1()), rsa_key()], ids=["p256", "p384", "rsa"])
    def test_key_types(self, key: signature.SigningKey) -> None:
        """Signers of every allowed key type prove themselves."""
        assert good_slot(key).issuer.public_key == key.public_key()

    def test_a_root_may_sign(self) -> None:
        """A root that signs leaves itself gives an empty chain."""
        slot = Slot.prove(material_of(ROOT, roots=[ROOT]), TRUST_DOMAIN, NOW)
        assert (slot.issuer.chain, slot.expiries) == ((), {"root": NOW + 20 * DAY})

    def test_chain_is_in_order(self) -> None:
        """The chain goes from the signer upwards, one PEM each, and leaves the root out."""
        assert deep_slot().issuer.chain == (SIGNER.pem, UPPER.pem)

    def test_roots_keep_their_order(self) -> None:
        """All roots are handed out, each once, in the operator's order."""
        assert deep_slot().issuer.roots == OTHER.pem + ROOT.pem

    def test_earliest_end_above(self) -> None:
        """What is signed ends no later than the first of all issuers."""
        assert deep_slot().issuer.not_after == NOW + 10 * DAY

    def test_expiries(self) -> None:
        """The ends of root and intermediates are told apart."""
        assert deep_slot().expiries == {"root": NOW + 20 * DAY, "intermediate": NOW + 10 * DAY}

    def test_signer_id(self) -> None:
        """The signer's name is the SHA-256 of its certificate."""
        material = good_material()
        slot = Slot.prove(material, TRUST_DOMAIN, NOW)
        assert slot.issuer.signer_id == material.certificate.fingerprint(hashes.SHA256()).hex()

    def test_templates(self) -> None:
        """There is a template for every type of leaf key."""
        assert set(good_slot().templates) == set(KeyType)

    def test_faults(self) -> None:
        """Material with faults gives no slot, and all faults are told."""
        bad = make_ca("signer", ROOT, constraints=None, key_id=False)
        with pytest.raises(ConfigError) as refused:
            Slot.prove(material_of(bad, roots=[ROOT]), TRUST_DOMAIN, NOW)
        assert len(refused.value.problems) == 2

    def test_trial_leaf_does_not_verify(self) -> None:
        """A fault that only path validation meets, here a name constraint, is met before the first real leaf."""
        limits = x509.NameConstraints([x509.UniformResourceIdentifier("other.example")], None)
        bad = make_ca("signer", ROOT, extra=[limits])
        with pytest.raises(ConfigError, match=r"a trial certificate does not verify: .*name constraint"):
            Slot.prove(material_of(bad, roots=[ROOT]), TRUST_DOMAIN, NOW)

    def test_weak_issuer_above(self) -> None:
        """A key above the signer that verifiers refuse is met by the trial leaf."""
        weak = make_ca("root", key=rsa_key(1024))
        with pytest.raises(ConfigError, match="trial certificate"):
            Slot.prove(material_of(make_ca("signer", weak), roots=[weak]), TRUST_DOMAIN, NOW)

    def test_another_trust_domain(self) -> None:
        """A signer says which trust domain it is for, and is refused for another."""
        signer = make_ca("signer", ROOT, uri="spiffe://cluster.local")
        with pytest.raises(ConfigError, match=r"spiffe://other\.example"):
            Slot.prove(material_of(signer, roots=[ROOT]), TrustDomain("other.example"), NOW)

    def test_the_key_does_not_print(self) -> None:
        """The key is not in the repr."""
        assert "key=" not in repr(good_slot()).replace("public_key=", "")


class TestTryLeaf:
    """`try_leaf`: also what readiness asks."""

    def test_later(self) -> None:
        """A slot still proves itself as long as it lasts."""
        good_slot().try_leaf(NOW + 30 * DAY - timedelta(seconds=1))

    def test_expired(self) -> None:
        """An expired slot is unavailable."""
        with pytest.raises(Unavailable) as refused:
            good_slot().try_leaf(NOW + 30 * DAY)
        assert refused.value.reason == "signer_expired"

    def test_wrong_key(self) -> None:
        """A slot whose key is not its certificate's is found out."""
        good = good_slot()
        bad = Slot(
            issuer=good.issuer, path=good.path, root_set=good.root_set, templates=good.templates, key=ec_key()
        )
        with pytest.raises(InvariantBroken) as refused:
            bad.try_leaf(NOW)
        assert refused.value.reason == "trial_leaf"
