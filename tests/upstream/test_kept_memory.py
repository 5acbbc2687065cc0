"""What is kept in memory."""

from __future__ import annotations

from meshca.authority.material import certificate_id
from meshca.upstream.kept_memory import KeptMemory
from tests.fakes.pki import NOW, make_ca, material_of

ROOT, LATER = make_ca("root"), make_ca("later", begin=NOW)
FIRST = material_of(make_ca("first", ROOT), roots=[LATER, ROOT])
NEXT = material_of(make_ca("next", ROOT), roots=[ROOT])
SECOND = material_of(make_ca("second", LATER), roots=[LATER])
ONE, TWO = certificate_id(ROOT.certificate), certificate_id(LATER.certificate)


def test_nothing() -> None:
    """To begin with there is nothing."""
    kept = KeptMemory()
    assert (kept.load([]), kept.named([]), kept.forget(())) == ({}, (), ())


def test_keep() -> None:
    """A newer material replaces the one below the same root only, and its roots are named."""
    kept = KeptMemory()
    for material in (FIRST, SECOND, NEXT):
        kept.keep(material)
    assert kept.load([]) == {ONE: NEXT, TWO: SECOND}
    assert kept.named([]) == NEXT.roots


def test_forget() -> None:
    """What is below other roots goes."""
    kept = KeptMemory()
    kept.keep(FIRST)
    kept.keep(SECOND)
    assert kept.forget({TWO}) == (ONE[:16],)
    assert kept.load([]) == {TWO: SECOND}
