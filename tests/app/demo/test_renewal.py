"""The load goes on until every certificate is another one."""

from __future__ import annotations

import pytest

from meshca.app.demo.load import Callers
from meshca.app.demo.renewal import renewed_under_load
from meshca.app.demo.telling import Step
from meshca.errors import InvariantBroken, Unavailable
from tests.fakes.hurried_clock import HurriedClock


class Mesh:
    """Two certificates that change when they are looked at often enough, and a service."""

    def __init__(self, *, first_after: int = 3, second_after: int = 6, status: int = 200) -> None:
        self.looks = 0
        self.status = status
        self._after = (first_after, second_after)

    async def serials(self) -> frozenset[str]:
        """The serial numbers in use."""
        self.looks += 1
        return frozenset(f"{index}-{self.looks > after}" for index, after in enumerate(self._after))

    async def call(self) -> int:
        """One call."""
        return self.status

    def rows(self) -> list[Callers]:
        """A few callers."""
        return [Callers(name="web", call=self.call, expected=200, count=2)]


def a_step(notes: list[str]) -> Step:
    """A step that remembers its notes."""
    return Step(title="renewal", note=notes.append)


async def test_it_ends_when_all_are_renewed() -> None:
    """The calls made are returned and told."""
    mesh, notes = Mesh(), list[str]()
    step = a_step(notes)
    requests = await renewed_under_load(step, mesh.rows(), mesh.serials, HurriedClock())
    assert requests > 0
    assert step.facts == {"renewed": 2, "requests": requests, "failed": 0}
    assert any("0 of 2 certificates renewed" in note for note in notes)
    assert any("1 of 2 certificates renewed" in note for note in notes)


async def test_a_certificate_that_is_not_renewed_is_a_failure() -> None:
    """One of two is not enough."""
    mesh = Mesh(second_after=100_000)
    with pytest.raises(Unavailable, match="1 certificates outlived their lifetime"):
        await renewed_under_load(a_step([]), mesh.rows(), mesh.serials, HurriedClock())


async def test_a_failed_call_is_a_failure() -> None:
    """Renewal alone is not what is shown."""
    mesh = Mesh(status=503)
    with pytest.raises(InvariantBroken, match="calls failed: web: 503, expected 200"):
        await renewed_under_load(a_step([]), mesh.rows(), mesh.serials, HurriedClock())
