"""The fast way of making a leaf gives the very bytes of the plain way."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from meshca.authority.slot import Slot
from meshca.errors import InvariantBroken
from meshca.identity.key_type import KeyType
from meshca.identity.spiffe_id import SpiffeId
from meshca.svid import blueprint, signature, template
from meshca.svid.wanted import Wanted
from tests.fakes.pki import NOW, TRUST_DOMAIN, ec_key, make_ca, material_of, proven_key, rsa_key

END = datetime(2099, 1, 1, tzinfo=UTC)  # beyond 2050, where dates change their form
KEYS = {key_type: proven_key(key_type) for key_type in KeyType}


def long_slot(key: signature.SigningKey) -> Slot:
    """A signer that lasts for the rest of the century."""
    root = make_ca("root", end=END)
    return Slot.prove(material_of(make_ca("signer", root, key=key, end=END), roots=[root]), TRUST_DOMAIN, NOW)


SLOTS = [long_slot(ec_key()), long_slot(ec_key(ec.SECP384R1())), long_slot(rsa_key())]
segments = st.from_regex(r"[a-zA-Z0-9_-][a-zA-Z0-9._-]{0,80}", fullmatch=True)
identities = st.lists(segments, min_size=1, max_size=8).map(lambda s: SpiffeId(TRUST_DOMAIN, "/" + "/".join(s)))
instants = st.integers(0, int((END - NOW).total_seconds()) - 1).map(lambda s: NOW + timedelta(seconds=s))


@given(
    st.sampled_from(SLOTS),
    st.sampled_from(list(KeyType)),
    identities,
    st.integers(1 << 127, (1 << 159) - 1),
    instants,
    instants,
)
def test_same_bytes(
    slot: Slot, key_type: KeyType, identity: SpiffeId, serial: int, begin: datetime, end: datetime
) -> None:
    """For any facts, template and builder agree on every to-be-signed byte."""
    wanted = Wanted(
        key=KEYS[key_type],
        issuer=slot.issuer,
        serial=serial,
        not_before=min(begin, end),
        not_after=max(begin, end) + timedelta(seconds=1),
    )
    plain = blueprint.svid(wanted, identity, signature.throw_away(slot.issuer.public_key))
    assert slot.templates[key_type].fill(wanted, identity) == plain.tbs_certificate_bytes


def test_a_template_that_differs_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """A template that does not give back its own sample stops the signer."""
    fill = template.Template.fill
    monkeypatch.setattr(template.Template, "fill", lambda *args: fill(*args) + b"\0")
    with pytest.raises(InvariantBroken) as broken:
        template.learn(SLOTS[0].issuer, KeyType.EC_P256)
    assert broken.value.reason == "template"


def test_a_sample_that_the_lint_refuses_is_not_used() -> None:
    """The sample that a template is cut from is linted first."""
    issuer = replace(SLOTS[0].issuer, algorithm=SLOTS[2].issuer.algorithm)
    with pytest.raises(InvariantBroken) as broken:
        template.learn(issuer, KeyType.EC_P256)
    assert broken.value.reason == "lint"
