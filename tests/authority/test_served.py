"""Whether a serving certificate that was given away still says what it should."""

from __future__ import annotations

from dataclasses import replace

import pytest

from meshca.authority.serials import Serials
from meshca.authority.served import fault, validity
from meshca.authority.signing import Authority
from meshca.authority.slot import Slot
from meshca.csr import fresh_key
from meshca.errors import ConfigError
from meshca.identity.key_type import KeyType
from meshca.secret import Secret
from meshca.svid.draft import Issued
from tests.fakes.certificates import leaf
from tests.fakes.pki import DAY, NOW, TRUST_DOMAIN, good_slot, make_ca, material_of
from tests.fakes.profiles import PROFILE

NAMES = ("istiod.istio-system.svc", "127.0.0.1")
KEY, PUBLIC = fresh_key(KeyType.EC_P256)
SLOT = good_slot()


def issued(slot: Slot = SLOT, *names: str) -> Issued:
    """A certificate below a slot."""
    authority = Authority(Serials(1), PROFILE)
    authority.replace(slot)
    return authority.sign(authority.draft_serving(PUBLIC.public_key, names or NAMES, NOW), NOW)


def found(made: Issued, slot: Slot = SLOT, key: Secret[str] = KEY, roots: str | None = None) -> str:
    """What is wrong with it."""
    return fault("".join(made.chain), key, made.roots if roots is None else roots, NAMES, slot)


def test_good() -> None:
    """What we have just made is good."""
    assert found(issued()) == ""


def test_another_key() -> None:
    """The key must be its own."""
    assert found(issued(), key=fresh_key(KeyType.EC_P256)[0]) == "key of another certificate"


def test_another_signer() -> None:
    """After a renewal of the signer it is made anew, also below the same root."""
    root = make_ca("root")
    one, two = (
        Slot.prove(material_of(make_ca("signer", root, end=NOW + 30 * DAY), roots=[root]), TRUST_DOMAIN, NOW)
        for _ in range(2)
    )
    assert found(issued(one), two) == "another signer"


def test_forged() -> None:
    """A leaf of somebody else under our chain is noticed."""
    forged = leaf().decode() + "".join(issued().chain[1:])
    private = fresh_key(KeyType.EC_P256)[0]
    assert fault(forged, private, SLOT.issuer.roots, NAMES, SLOT) == "key of another certificate"


def test_signature() -> None:
    """So is one with our key in it that another signed."""
    made, others = issued(good_slot()), issued()
    assert found(replace(others, chain=(made.chain[0], *others.chain[1:]))) == "another signer"


def test_other_roots() -> None:
    """The roots beside it must be those in force."""
    assert found(issued(), roots="") == "other roots"


@pytest.mark.parametrize("names", [NAMES[:1], (*NAMES, "more.example"), NAMES[::-1]])
def test_other_names(names: tuple[str, ...]) -> None:
    """Exactly the configured names, in their order."""
    assert found(issued(SLOT, *names)) == "other names"


@pytest.mark.parametrize(("chain", "key"), [("", KEY), ("garbage", KEY), ("".join(issued().chain), Secret(""))])
def test_damaged(chain: str, key: Secret[str]) -> None:
    """A half of it is no certificate."""
    assert fault(chain, key, SLOT.issuer.roots, NAMES, SLOT) == "damaged"


def test_wrong_names_in_the_configuration() -> None:
    """They are the operator's error, not the certificate's."""
    with pytest.raises(ConfigError):
        fault("", KEY, "", ("not a name",), SLOT)


def test_validity() -> None:
    """Read from the leaf."""
    made = issued()
    assert validity("".join(made.chain)) == (made.not_before, made.not_after)
