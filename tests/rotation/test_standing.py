"""What is in force, as a value: equal standings are not published twice."""

from __future__ import annotations

from dataclasses import replace

from meshca.rotation.standing import NO_ORDER, Order, Standing
from tests.fakes.pki import NOW, good_material, make_ca
from tests.fakes.roots import MINUTE

ROOT = make_ca("root")
FIRST, SECOND = good_material(root=ROOT), good_material(root=ROOT)
STANDING = Standing(signer=FIRST, serving=FIRST)
ORDER = Order(signers=("a",), begun_at=NOW, window=MINUTE)


def test_nothing_is_ordered_by_default() -> None:
    """No signer, no beginning."""
    assert (STANDING.order, NO_ORDER.signers, NO_ORDER.begun_at) == (NO_ORDER, (), None)


def test_equal_standings_have_one_fingerprint() -> None:
    """Made twice from the same parts."""
    assert STANDING.fingerprint == Standing(signer=FIRST, serving=FIRST).fingerprint


def test_each_part_makes_another_fingerprint() -> None:
    """Signer, who vouches for the server, the bundle, who is ordered, since when, and within which window."""
    others = [
        STANDING,
        Standing(signer=SECOND, serving=FIRST),
        Standing(signer=FIRST, serving=SECOND),
        Standing(signer=replace(FIRST, roots=(ROOT.certificate, make_ca("more").certificate)), serving=FIRST),
        replace(STANDING, order=ORDER),
        replace(STANDING, order=replace(ORDER, signers=("b",))),
        replace(STANDING, order=replace(ORDER, begun_at=NOW + MINUTE)),
        replace(STANDING, order=replace(ORDER, window=2 * MINUTE)),
    ]
    assert len({one.fingerprint for one in others}) == len(others)


def test_a_key_is_never_shown() -> None:
    """Nor the material that holds one."""
    assert "key" not in repr(STANDING)
