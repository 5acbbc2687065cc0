"""Facts about the server's own TLS certificate."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from itertools import pairwise
from typing import cast

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from meshca.app.serving_certificate import FLOOR, RETRY, ServingCertificate
from meshca.authority.serials import Serials
from meshca.authority.signing import Authority
from meshca.authority.slot import Slot
from meshca.errors import ConfigError, Unavailable
from meshca.ledger.record import Intent, Result
from meshca.svid.draft import Draft, Issued
from meshca.wire.tls import Serving, ServingMaterial
from tests.fakes.clock import FakeClock
from tests.fakes.ledger import FakeLedger
from tests.fakes.logs import captured_logs
from tests.fakes.pki import DAY, NOW, TRUST_DOMAIN, good_slot, make_ca, material_of
from tests.fakes.profiles import PROFILE

LIFETIME = timedelta(hours=24)
HALF = LIFETIME.total_seconds() / 2


class FakeServing:
    """Remembers what the ports were given."""

    def __init__(self) -> None:
        self.shown: list[ServingMaterial] = []

    def replace(self, material: ServingMaterial) -> None:
        """Remember."""
        self.shown.append(material)


class Rig:
    """A certificate that renews itself on a fake clock."""

    def __init__(self, *names: str) -> None:
        self.clock = FakeClock()
        self.ledger = FakeLedger(self.clock)
        self.authority = Authority(Serials(5), PROFILE)
        self.authority.replace(good_slot())
        self.serving = FakeServing()
        self.certificate = ServingCertificate(
            authority=self.authority,
            ledger=self.ledger,
            names=names or ("ca.example", "127.0.0.1", "::1"),
            lifetime=LIFETIME,
            clock=self.clock,
            request_id="w0",
        )


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    """A rig whose first certificate is made and whose renewal runs."""
    made = Rig()
    await made.certificate.make()
    task = asyncio.create_task(made.certificate.run(cast("Serving", made.serving)))
    await asyncio.sleep(0)
    with captured_logs():
        yield made
    task.cancel()


def leaf(material: ServingMaterial) -> x509.Certificate:
    """The first certificate of the chain."""
    return x509.load_pem_x509_certificates(material.chain.encode())[0]


async def test_names_and_key() -> None:
    """The certificate has the configured names and belongs to the key; it names no SPIFFE ID."""
    material = await Rig().certificate.make()
    names = leaf(material).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    key = load_pem_private_key(material.key.reveal().encode(), None)
    assert [str(name.value) for name in names] == ["ca.example", "127.0.0.1", "::1"]
    assert key.public_key() == leaf(material).public_key()


async def test_chain_ends_with_the_root() -> None:
    """Leaf, intermediate and root are shown, so that a client can pin the root."""
    rig = Rig()
    material = await rig.certificate.make()
    shown = x509.load_pem_x509_certificates(material.chain.encode())
    assert shown[1:] == list(rig.authority.current().path)
    assert material.client_roots == rig.authority.current().issuer.roots


async def test_recorded() -> None:
    """It is in the ledger like every signature, as our own."""
    rig = Rig()
    material = await rig.certificate.make()
    (intent,) = rig.ledger.intents.values()
    assert intent.serial == f"{leaf(material).serial_number:x}"
    assert (intent.proven_by, intent.rule, intent.spiffe_id) == ("self", "serving", "spiffe://cluster.local")
    assert rig.ledger.outcomes[intent.serial].result is Result.ISSUED


async def test_nothing_is_signed_that_is_not_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    """When the intent cannot be recorded, the signing key is not used."""
    rig = Rig()
    rig.ledger.down = True
    signed: list[Draft] = []
    monkeypatch.setattr(Draft, "sign", lambda draft, _: signed.append(draft))
    with pytest.raises(Unavailable, match="store"):
        await rig.certificate.make()
    assert signed == []


async def test_recorded_before_it_is_signed(monkeypatch: pytest.MonkeyPatch) -> None:
    """At the moment of the signature its intent is in the ledger."""
    rig = Rig()
    sign = Draft.sign

    def recorded(draft: Draft, key: Callable[[bytes], bytes]) -> Issued:
        assert rig.ledger.intents[draft.serial].signer == rig.authority.current().issuer.signer_id
        return sign(draft, key)

    monkeypatch.setattr(Draft, "sign", recorded)
    await rig.certificate.make()


async def test_signature_that_fails_is_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A signer that was replaced twice meanwhile is an outcome with its reason, and a renewal to repeat."""
    rig = Rig()
    intend = rig.ledger.intend

    async def replaced(intent: Intent) -> None:
        await intend(intent)
        rig.authority.replace(good_slot())
        rig.authority.replace(good_slot())

    monkeypatch.setattr(rig.ledger, "intend", replaced)
    with pytest.raises(Unavailable, match="signer_replaced"):
        await rig.certificate.make()
    (outcome,) = rig.ledger.outcomes.values()
    assert (outcome.result, outcome.reason) == (Result.FAILED, "signer_replaced")


async def test_bad_name() -> None:
    """A name that is neither DNS name nor address is refused."""
    with pytest.raises(ConfigError):
        await Rig("not a name").certificate.make()


async def test_renewed_at_half_life(rig: Rig) -> None:
    """A fresh key and certificate are shown at half of the life, again and again."""
    await rig.clock.advance(HALF - 1)
    assert rig.serving.shown == []
    await rig.clock.advance(1)
    await rig.clock.advance(HALF)
    first, second = rig.serving.shown
    assert leaf(first).public_key() != leaf(second).public_key()
    assert leaf(second).not_valid_after_utc == rig.clock.now() + LIFETIME


@pytest.mark.parametrize("days", [2, -0.5], ids=["set forward", "set back"])
async def test_clock_set_right(rig: Rig, days: float) -> None:
    """What is over, or has not begun, by a clock that was set right is renewed within a minute, once."""
    rig.clock._now += timedelta(days=days)
    await rig.clock.advance(60)
    (material,) = rig.serving.shown
    assert leaf(material).not_valid_after_utc == rig.clock.now() + LIFETIME
    await rig.clock.advance(600)
    assert len(rig.serving.shown) == 1


async def test_renewed_at_once_for_another_signer(rig: Rig) -> None:
    """When the signer changes, the next certificate is made at once, below the new one."""
    slot = good_slot()
    rig.authority.replace(slot)
    rig.certificate.signer_changed()
    await rig.clock.advance(0)
    (material,) = rig.serving.shown
    assert leaf(material).issuer == slot.path[0].subject
    assert material.client_roots == slot.issuer.roots


async def test_renewed_at_once_when_only_the_serving_line_changes(rig: Rig) -> None:
    """What workloads are signed by stays; the ports show the other line with its root, and trust all roots."""
    old, new = make_ca("old root"), make_ca("new root")
    active, first, second = (
        Slot.prove(material_of(make_ca(name, root, end=NOW + 30 * DAY), roots=[old, new]), TRUST_DOMAIN, NOW)
        for name, root in (("b", new), ("a", old), ("b2", new))
    )
    for serving, root in ((first, old), (second, new)):
        rig.authority.replace(active, serving)
        rig.certificate.signer_changed()
        await rig.clock.advance(0)
        material = rig.serving.shown[-1]
        shown = x509.load_pem_x509_certificates(material.chain.encode())
        assert shown[1:] == [serving.path[0], root.certificate]
        assert material.client_roots == old.pem + new.pem
    assert len(rig.serving.shown) == 2
    assert [intent.signer for intent in rig.ledger.intents.values()][1:] == [
        slot.issuer.signer_id for slot in (first, second)
    ]


async def test_end_of_the_signer_is_not_hurried(rig: Rig) -> None:
    """Near the end of a signer, which cuts every lifetime short, a minute passes between renewals."""
    root = make_ca("root")
    signer = make_ca("signer", root, end=NOW + timedelta(minutes=10))
    rig.authority.replace(Slot.prove(material_of(signer, roots=[root]), TRUST_DOMAIN, NOW))
    rig.certificate.signer_changed()
    await rig.clock.advance(timedelta(minutes=9, seconds=59).total_seconds())
    made = sorted(intent.intended_at for intent in rig.ledger.intents.values())[1:]  # below this signer
    assert len(made) > 2
    assert min(later - earlier for earlier, later in pairwise(made)) >= FLOOR


async def test_failed_renewal_keeps_the_old_and_tries_again(rig: Rig) -> None:
    """While the ledger cannot be written nothing new is shown; afterwards it is."""
    rig.ledger.down = True
    await rig.clock.advance(HALF + 3 * RETRY.total_seconds())
    assert rig.serving.shown == []
    rig.ledger.down = False
    await rig.clock.advance(RETRY.total_seconds())
    assert len(rig.serving.shown) == 1


async def test_no_signer() -> None:
    """Without a signer there is no certificate."""
    rig = Rig()
    certificate = ServingCertificate(
        authority=Authority(Serials(5), PROFILE),
        ledger=rig.ledger,
        names=("ca.example",),
        lifetime=LIFETIME,
        clock=rig.clock,
        request_id="w0",
    )
    with pytest.raises(Unavailable, match="no_signer"):
        await certificate.make()
    assert certificate.leaf == ""
