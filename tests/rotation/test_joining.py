"""Which new roots may become known."""

from __future__ import annotations

from dataclasses import replace

import pytest

from meshca.authority.history import EMPTY, Kind, Lifecycle, Record
from meshca.authority.lifecycle import State
from meshca.authority.material import certificate_id, to_pem
from meshca.authority.upstream import Line
from meshca.errors import ConfigError
from meshca.rotation.joining import may_join
from tests.fakes.pki import NOW, make_ca

ONE, TWO = make_ca("one").certificate, make_ca("two").certificate
LINE = Line(root=TWO, signs=True)


def mesh(state: State) -> Lifecycle:
    """With one root."""
    root = Record(id=certificate_id(ONE), kind=Kind.ROOT, state=state, pem=to_pem(ONE), since=NOW)
    return Lifecycle(generation=1, records=(root,))


def test_named() -> None:
    """A root that an operator named may join a mesh, or begin one."""
    for kept in (EMPTY, mesh(State.ACTIVE)):
        may_join(kept, LINE, NOW, is_over=False)


def test_first_use() -> None:
    """One that nobody named may begin a mesh."""
    may_join(EMPTY, replace(LINE, first_use=True), NOW, is_over=False)


@pytest.mark.parametrize("state", [State.ACTIVE, State.RETIRED])
def test_first_use_is_over(state: State) -> None:
    """It never joins one that has had a root, whatever became of that."""
    with pytest.raises(ConfigError, match="first_use is for the first only; pin this one"):
        may_join(mesh(state), replace(LINE, first_use=True), NOW, is_over=False)


def test_ended() -> None:
    """One that has ended is needed by nobody."""
    with pytest.raises(ConfigError, match="nobody needs to trust it; take it out"):
        may_join(EMPTY, LINE, NOW, is_over=True)


def test_no_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that would make the bundle too large does not join."""
    monkeypatch.setattr("meshca.rotation.judge.LARGEST_BUNDLE", 1000)
    with pytest.raises(ConfigError, match="take it out, or others that end"):
        may_join(mesh(State.ACTIVE), LINE, NOW, is_over=False)
