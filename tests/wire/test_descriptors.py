"""The limit of open files is what the administrator allows, not what select(2) could bear."""

from __future__ import annotations

import resource

import pytest

from meshca.wire.descriptors import raise_limit


class Limits:
    """Stands in for the kernel."""

    def __init__(self, soft: int, hard: int, *, grants: bool = True) -> None:
        self.now, self.grants = (soft, hard), grants

    def get(self, _: int) -> tuple[int, int]:
        """As getrlimit."""
        return self.now

    def set(self, _: int, wanted: tuple[int, int]) -> None:
        """As setrlimit."""
        if not self.grants:
            raise ValueError("not allowed to raise maximum limit")
        self.now = wanted


def raised(monkeypatch: pytest.MonkeyPatch, limits: Limits) -> int:
    """What the subject says, in front of these."""
    monkeypatch.setattr(resource, "getrlimit", limits.get)
    monkeypatch.setattr(resource, "setrlimit", limits.set)
    return raise_limit()


def test_raised_to_the_hard_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both are the same afterwards."""
    limits = Limits(1024, 524_288)
    assert (raised(monkeypatch, limits), limits.now) == (524_288, (524_288, 524_288))


@pytest.mark.parametrize("limits", [Limits(1024, 1024), Limits(1024, 4096, grants=False)], ids=["same", "refused"])
def test_what_cannot_be_raised_stays(monkeypatch: pytest.MonkeyPatch, limits: Limits) -> None:
    """And is what counts."""
    assert raised(monkeypatch, limits) == 1024
