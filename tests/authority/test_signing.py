"""The authority: which slot signs, before, while and after it is replaced."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from cryptography import x509

from meshca.authority.serials import Serials
from meshca.authority.signing import Authority
from meshca.authority.slot import Slot
from meshca.errors import ConfigError, InvariantBroken, Unavailable
from meshca.svid.draft import Draft, Issued
from tests.fakes.pki import (
    DAY,
    NOW,
    TRUST_DOMAIN,
    ec_key,
    good_material,
    grant_of,
    make_ca,
    material_of,
    proven_key,
)
from tests.fakes.profiles import PROFILE

HOUR = timedelta(hours=1)
ROOT = make_ca("root")


def slot() -> Slot:
    """A new signer below the one root."""
    return Slot.prove(good_material(root=ROOT), TRUST_DOMAIN, NOW)


def authority(*slots: Slot) -> Authority:
    """An authority that these slots came to, one after the other; workloads and our own ports share each."""
    made = Authority(Serials(0x0102), PROFILE)
    for each in slots:
        made.replace(each)
    return made


def drafted(by: Authority) -> Draft:
    """A draft for the web shop."""
    return by.draft(grant_of(), proven_key(), HOUR, NOW)


def issuer_of(issued: Issued) -> str:
    """The name of who signed a leaf."""
    return x509.load_pem_x509_certificate(issued.chain[0].encode()).issuer.rfc4514_string()


def test_draft_and_sign() -> None:
    """A draft becomes a certificate whose serial carries our prefix and whose validity is as asked."""
    signs = authority(slot())
    issued = signs.sign(drafted(signs), NOW)
    assert (issued.serial[:3], len(issued.serial)) == ("102", 3 + 32)
    assert (issued.not_before, issued.not_after) == (NOW - timedelta(minutes=2), NOW + HOUR)


def test_serials_differ() -> None:
    """Two drafts never share a serial."""
    signs = authority(slot())
    assert drafted(signs).serial != drafted(signs).serial


@pytest.mark.parametrize(
    "call",
    [
        pytest.param(lambda signs: signs.current(), id="current"),
        pytest.param(drafted, id="draft"),
        pytest.param(lambda signs: signs.draft_serving(ec_key().public_key(), ["localhost"], NOW), id="serving"),
        pytest.param(lambda signs: signs.probe(NOW), id="probe"),
    ],
)
def test_no_signer(call: Callable[[Authority], object]) -> None:
    """Before the first slot everything is unavailable."""
    with pytest.raises(Unavailable) as refused:
        call(authority())
    assert refused.value.reason == "no_signer"


def test_withheld() -> None:
    """Nothing is signed for workloads, and why is told; our own ports are signed for, and readiness goes."""
    signs = Authority(Serials(0x0102), PROFILE)
    signs.replace(slot(), slot())
    waiting, own = drafted(signs), signs.draft_serving(ec_key().public_key(), ["localhost"], NOW)
    signs.withhold("give it the new files")
    calls: list[Callable[[], object]] = [lambda: drafted(signs), lambda: signs.probe(NOW)]
    for call in calls:
        with pytest.raises(Unavailable, match="give it the new files") as refused:
            call()
        assert refused.value.reason == "no_signer"
    with pytest.raises(Unavailable, match="is gone"):
        signs.sign(waiting, NOW)
    assert signs.sign(own, NOW).serial == own.serial


def test_withheld_without_a_line_of_its_own_for_our_ports() -> None:
    """They are signed for by what signed before, but no workload's draft that is under way is."""
    signs = authority(slot())
    before, waiting = signs.current(), drafted(signs)
    signs.withhold("why")
    assert signs.current_serving().path == before.path
    with pytest.raises(Unavailable, match="is gone"):
        signs.sign(waiting, NOW)


def test_withheld_until_there_is_another() -> None:
    """Then everything goes on."""
    signs = authority(slot())
    signs.withhold("why")
    signs.replace(slot())
    assert signs.sign(drafted(signs), NOW).serial


def test_replaced_between_draft_and_signature() -> None:
    """A draft is signed by the slot that drafted it, although another one signs new ones."""
    old, new = slot(), slot()
    signs = authority(old)
    waiting = drafted(signs)
    signs.replace(new)
    assert issuer_of(signs.sign(waiting, NOW)) == old.issuer.certificate.subject.rfc4514_string()
    assert signs.current() is new


def test_replaced_twice() -> None:
    """A draft whose slot is gone cannot be signed and says so."""
    signs = authority(slot())
    waiting = drafted(signs)
    signs.replace(slot())
    signs.replace(slot())
    with pytest.raises(Unavailable) as refused:
        signs.sign(waiting, NOW)
    assert refused.value.reason == "signer_replaced"


def test_draft_of_another_authority() -> None:
    """A draft that this authority did not make cannot be signed by it."""
    with pytest.raises(Unavailable, match="signer_replaced"):
        authority(slot()).sign(drafted(authority(slot())), NOW)


def test_draft_kept_too_long() -> None:
    """A draft whose certificate would have ended is not signed."""
    signs = authority(slot())
    waiting = drafted(signs)
    with pytest.raises(Unavailable) as refused:
        signs.sign(waiting, NOW + HOUR)
    assert refused.value.reason == "signer_expired"


def test_signed_once() -> None:
    """A draft is signed once."""
    signs = authority(slot())
    waiting = drafted(signs)
    signs.sign(waiting, NOW)
    with pytest.raises(InvariantBroken, match="draft_spent"):
        signs.sign(waiting, NOW)


def test_serving() -> None:
    """The serving certificate is for a day unless told otherwise."""
    signs = authority(slot())
    issued = signs.sign(signs.draft_serving(ec_key().public_key(), ["localhost", "127.0.0.1"], NOW), NOW)
    assert (issued.not_after, len(issued.chain)) == (NOW + DAY, 2)


def test_serving_names() -> None:
    """A wrong name is refused."""
    with pytest.raises(ConfigError):
        authority(slot()).draft_serving(ec_key().public_key(), ["not a name"], NOW)


def test_probe() -> None:
    """A sound slot passes the probe."""
    authority(slot()).probe(NOW)


def draft_serving(by: Authority) -> Draft:
    """A draft for our own ports."""
    return by.draft_serving(ec_key().public_key(), ["localhost"], NOW)


def test_two_lines() -> None:
    """Workloads get what the active slot signs, our own ports what the serving slot signs."""
    active, serving = slot(), Slot.prove(good_material(root=make_ca("old root")), TRUST_DOMAIN, NOW)
    signs = authority()
    signs.replace(active, serving)
    assert (signs.current(), signs.current_serving()) == (active, serving)
    assert signs.sign(drafted(signs), NOW).signer == active.issuer.signer_id
    shown = signs.sign(draft_serving(signs), NOW)
    assert shown.signer == serving.issuer.signer_id
    assert x509.load_pem_x509_certificate(serving.root.encode()).subject.rfc4514_string() == "CN=old root"


def test_one_line() -> None:
    """Without a serving slot the active one signs for both."""
    active = slot()
    signs = authority(active)
    assert signs.current_serving() is active
    assert signs.sign(draft_serving(signs), NOW).signer == active.issuer.signer_id


def test_serving_slot_replaced_between_draft_and_signature() -> None:
    """Its draft is signed by it, also when both lines become one."""
    signs = authority()
    signs.replace(slot(), old := slot())
    waiting = draft_serving(signs)
    signs.replace(slot())
    assert signs.sign(waiting, NOW).signer == old.issuer.signer_id


def test_probe_tries_both_lines() -> None:
    """A serving slot that has ended is found, although the active one is sound."""
    root = make_ca("root")
    ending = material_of(make_ca("signer", root, end=NOW + DAY), roots=[root])
    signs = authority()
    signs.replace(slot(), Slot.prove(ending, TRUST_DOMAIN, NOW))
    signs.probe(NOW)
    with pytest.raises(Unavailable, match="signer_expired"):
        signs.probe(NOW + 2 * DAY)
