"""What keeps a root from being trusted beside others."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from meshca.authority.material import certificate_id
from meshca.upstream.ca_set import CaSet
from meshca.upstream.sound_root import root_faults, root_of, sound, trial_faults
from tests.fakes.pki import (
    DAY,
    NARROW,
    NOW,
    TRUST_DOMAIN,
    Ca,
    ec_key,
    good_material,
    make_ca,
    material_of,
    rsa_key,
)

ROOT, OTHER = make_ca("root"), make_ca("other")
UPPER = make_ca("upper", ROOT)
SIGNER = make_ca("signer", UPPER)


def sound_of(ca: Ca, *above: Ca, roots: tuple[Ca, ...], apart: bool = True) -> tuple[bool, list[str]]:
    """Whether there is material, and the problems."""
    problems: list[str] = []
    certificates = tuple(one.certificate for one in (ca, *above))
    parts = CaSet(certificates=certificates, roots=tuple(root.certificate for root in roots), key=ca.key)
    found = sound(parts, problems, company=(), trust_domain=TRUST_DOMAIN, now=NOW, root_keeps_apart=apart)
    return found is not None, problems


def test_root_of() -> None:
    """The root of material is the one at the end of its path, wherever it stands among the roots."""
    assert root_of(material_of(SIGNER, UPPER, roots=[OTHER, ROOT])) == ROOT.certificate


class TestRootFaults:
    """`root_faults`."""

    def test_none(self) -> None:
        """Subjects of their own, a root that is there already, and one of the same key are no fault."""
        twin = make_ca("root", key=ROOT.key)
        assert root_faults([ROOT.certificate, OTHER.certificate], [ROOT.certificate, twin.certificate]) == []

    @pytest.mark.parametrize("key", [rsa_key(1024), ec_key(ec.SECP224R1())], ids=["rsa", "ec"])
    def test_weak(self, key: ec.EllipticCurvePrivateKey) -> None:
        """A root with a weak key is named."""
        [fault] = root_faults([make_ca("weak", key=key).certificate], [])
        assert fault.startswith("certificate 'CN=weak': too weak, or not known, for a root: a key of type ")

    def test_subject_in_use(self) -> None:
        """A subject that another root has with another key is named, with that root."""
        [fault] = root_faults([make_ca("root").certificate], [OTHER.certificate, ROOT.certificate])
        assert fault == (
            "certificate 'CN=root': its subject is in use by another root with another key (sha256"
            f" {certificate_id(ROOT.certificate)}); make it with a subject of its own"
        )

    def test_subject_twice(self) -> None:
        """So are two new roots of one subject, once."""
        assert len(root_faults([ROOT.certificate, make_ca("root").certificate], [])) == 1


class TestSound:
    """`sound`."""

    def test_good(self) -> None:
        """Sound material is given, below a root or by the root itself."""
        assert sound_of(SIGNER, UPPER, roots=(ROOT,)) == (True, [])
        assert sound_of(ROOT, roots=(ROOT,)) == (True, [])
        assert sound_of(ROOT, roots=(ROOT,), apart=False) == (True, [])

    def test_nothing(self) -> None:
        """Where nothing was read there is nothing, and what was found on reading is kept."""
        problems = ["ca-cert.pem: is missing"]
        parts = CaSet(certificates=(), roots=(), key=None)
        assert sound(parts, problems, company=(), trust_domain=TRUST_DOMAIN, now=NOW) is None
        assert problems == ["ca-cert.pem: is missing"]

    @pytest.mark.parametrize("apart", [False, True])
    def test_trial(self, apart: bool) -> None:  # noqa: FBT001 - a row's part
        """Material below which no leaf verifies is refused, of a root too."""
        narrow = make_ca("narrow", extra=[NARROW])
        found, [problem] = sound_of(narrow, roots=(narrow,), apart=apart)
        assert (found, "a trial certificate does not verify" in problem) == (False, True)

    def test_faults_first(self) -> None:
        """What has a fault is not tried."""
        found, problems = sound_of(make_ca("signer", ROOT, end=NOW - DAY), roots=(ROOT,))
        assert (found, len(problems), "expired at" in problems[0]) == (False, 1, True)


def test_trial_faults() -> None:
    """Good material has none."""
    assert trial_faults(good_material(), TRUST_DOMAIN, NOW) == ()
