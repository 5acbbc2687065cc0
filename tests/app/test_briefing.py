"""Facts about what a fresh worker is told."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

import pytest

from meshca.app.briefing import read_briefing
from meshca.app.control import Configure, Message, Probe, UseAdmission, UseAuthority, UseOrder, UsePolicies
from meshca.config.server import ServerConfig

CONFIGURE = Configure(
    config=ServerConfig().model_dump_json(),
    token_address="127.0.0.1:1",
    mtls_address="127.0.0.1:2",
    name="w0",
    prefix=5,
)
AUTHORITY = UseAuthority(chain="c", roots="r", key="k")
RULES = UseAdmission(text="rules", source="file")
POLICIES = UsePolicies(files={})
ALL: Sequence[Message] = (CONFIGURE, AUTHORITY, RULES, POLICIES)


async def say(*messages: Message) -> AsyncIterator[Message]:
    """What a parent says before it is gone."""
    for message in messages:
        yield message


@pytest.mark.parametrize("messages", [ALL, ALL[::-1], (*ALL, Probe(id=1))], ids=["in order", "reversed", "more"])
async def test_complete(messages: Sequence[Message]) -> None:
    """Once everything was said, in whatever order, the briefing is complete."""
    briefing = await read_briefing(say(*messages))
    assert briefing is not None
    assert briefing.config == ServerConfig()
    assert (briefing.name, briefing.prefix) == ("w0", 5)
    assert (briefing.token_address, briefing.mtls_address) == ("127.0.0.1:1", "127.0.0.1:2")
    assert (briefing.authority, briefing.admission, briefing.policies) == (AUTHORITY, RULES, POLICIES)


async def test_last_of_a_kind_counts() -> None:
    """News that come before the briefing is complete replace what was said."""
    newer = UseAdmission(text="newer", source="file")
    briefing = await read_briefing(say(RULES, newer, CONFIGURE, AUTHORITY, POLICIES))
    assert briefing is not None
    assert briefing.admission == newer


async def test_an_order_may_be_part_of_it() -> None:
    """A parent that says nothing of it orders nothing."""
    order = UseOrder(signers=("aa",), begun_at="2026-01-01T00:00:00+00:00", window=300.0)
    for messages, told in ((ALL, UseOrder()), ((order, *ALL), order)):
        briefing = await read_briefing(say(*messages))
        assert briefing is not None
        assert briefing.order == told


@pytest.mark.parametrize("missing", range(4))
async def test_parent_gone_before_the_end(missing: int) -> None:
    """Without all four there is nothing to start from."""
    assert await read_briefing(say(*(message for index, message in enumerate(ALL) if index != missing))) is None


async def test_key_does_not_print() -> None:
    """A briefing does not show the signing key."""
    briefing = await read_briefing(
        say(CONFIGURE, UseAuthority(chain="", roots="", key="PRIVATE"), RULES, POLICIES)
    )
    assert "PRIVATE" not in repr(briefing)
