"""Checks run in order, and none stops another."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping

from meshca.doctor.examine import examine
from meshca.doctor.finding import Finding, Said, Unseen, Verdict, ok, wrong
from meshca.errors import MeshcaError, Unavailable

Check = Callable[[str], Awaitable[Said]]


async def found(checks: Mapping[str, Check], seconds: float = 10) -> list[Finding]:
    """What they find."""
    return [finding async for finding in examine(checks, "site", seconds)]


def saying(said: Said | Exception) -> Check:
    """A check that says so, or fails so."""

    async def check(_: str) -> Said:
        if isinstance(said, Exception):
            raise said
        return said

    return check


async def test_in_order() -> None:
    """Each finding carries its check's name."""
    checks: Mapping[str, Check] = {"one": saying(ok("good")), "two": saying(wrong("bad", "mend it"))}
    assert await found(checks) == [
        Finding(name="one", verdict=Verdict.OK, found="good"),
        Finding(name="two", verdict=Verdict.WRONG, found="bad", mend=("mend it",)),
    ]


async def test_site_is_handed_on() -> None:
    """To each."""

    async def check(site: str) -> Said:
        return ok(site)

    assert (await found({"one": check}))[0].found == "site"


async def test_failures_are_unknown_and_the_next_is_asked() -> None:
    """Whatever is raised."""
    faults: Mapping[str, MeshcaError | Exception] = {
        "unseen": Unseen("not there", "look there"),
        "ours": Unavailable("reason", "the detail"),
        "bug": ZeroDivisionError("secret"),
    }
    checks = {name: saying(fault) for name, fault in faults.items()}
    findings = await found({**checks, "last": saying(ok("good"))})
    assert [(one.verdict.value, one.found) for one in findings] == [
        ("unknown", "not there"),
        ("unknown", "the detail"),
        ("unknown", "the check itself failed (ZeroDivisionError); please report it"),
        ("ok", "good"),
    ]
    assert findings[0].mend == ("look there",)


async def test_each_has_its_own_time() -> None:
    """One that hangs is unknown, the next has its whole time."""

    async def hang(_: str) -> Said:
        await asyncio.Event().wait()
        raise AssertionError

    findings = await found({"hanging": hang, "last": saying(ok("good"))}, 0.01)
    assert findings[0].found == "not known after 0.01 s"
    assert findings[1].verdict is Verdict.OK
