"""Intermediates in memory: one below each root, made anew at half life."""

from __future__ import annotations

from datetime import timedelta

from meshca.authority.material import SigningMaterial, certificate_id
from meshca.config.upstream import SecretConfig
from meshca.upstream.intermediates import Intermediates
from tests.fakes.clock import FakeClock
from tests.fakes.pki import DAY, NOW, TRUST_DOMAIN, Ca, make_ca, material_of

CONFIG = SecretConfig(kind="secret")
ONE, TWO = make_ca("one"), make_ca("two")


def itself(root: Ca) -> SigningMaterial:
    """A root with its key."""
    return material_of(root, roots=[root])


def test_one_below_each_root() -> None:
    """Each root has its own, signed by it, and it is the same when it is asked for again."""
    intermediates = Intermediates(CONFIG, TRUST_DOMAIN, FakeClock())
    first = [intermediates.below(itself(root)) for root in (ONE, TWO)]
    assert [intermediates.below(itself(root)) for root in (ONE, TWO)] == first
    for root, offer in zip((ONE, TWO), first, strict=True):
        offer.material.certificate.verify_directly_issued_by(root.certificate)


def test_half_life() -> None:
    """In the second half of its life another is made."""
    clock = FakeClock()
    intermediates = Intermediates(CONFIG, TRUST_DOMAIN, clock)
    first = intermediates.below(itself(ONE))
    assert first.renew_at == NOW + 15 * DAY
    clock.move((15 * DAY).total_seconds())
    assert intermediates.below(itself(ONE)).renew_at == NOW + 30 * DAY


def test_clock_was_ahead() -> None:
    """One that begins later, by a clock that was ahead, is made anew."""
    clock = FakeClock(NOW + DAY)
    intermediates = Intermediates(CONFIG, TRUST_DOMAIN, clock)
    intermediates.below(itself(ONE))
    clock.move(-DAY.total_seconds())
    made = intermediates.below(itself(ONE))
    assert made.material.certificate.not_valid_before_utc == NOW - timedelta(minutes=2)


def test_forget() -> None:
    """What is below other roots is dropped."""
    intermediates = Intermediates(CONFIG, TRUST_DOMAIN, FakeClock())
    kept, dropped = (intermediates.below(itself(root)) for root in (ONE, TWO))
    intermediates.forget({certificate_id(ONE.certificate)})
    assert intermediates.below(itself(ONE)) == kept
    assert intermediates.below(itself(TWO)) != dropped
