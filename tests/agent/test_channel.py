"""Channels to the CA; that they verify is shown in test_ca_client.py."""

from __future__ import annotations

import asyncio

import pytest

from meshca.agent.channel import Lent, open_channel
from meshca.agent.target import Target
from tests.fakes.agent_values import fake_ca, svid_of

NOWHERE = Target(host="127.0.0.1", port=1)


def test_a_channel_without_roots_is_never_opened() -> None:
    """The library would use the web's roots instead."""
    with pytest.raises(ValueError, match="roots"):
        open_channel(NOWHERE, roots=b"", server_name="")


async def test_only_who_asks_with_its_certificate_borrows_a_channel() -> None:
    """Another certificate needs a channel of its own; so does everybody once it was taken back."""
    ca, lent = fake_ca(), Lent()
    svid, other = svid_of(ca), svid_of(ca)
    async with open_channel(NOWHERE, roots=ca.root.pem.encode(), server_name="", svid=svid) as channel:
        lent.offer(channel, svid)
        async with lent.borrowed(svid) as borrowed:
            assert borrowed is channel
        async with lent.borrowed(other) as borrowed:
            assert borrowed is None
        await lent.take_back()
        async with lent.borrowed(svid) as borrowed:
            assert borrowed is None


async def test_a_channel_in_use_is_waited_for() -> None:
    """To close it would cancel the call, and with it the loop that renews."""
    ca, lent = fake_ca(), Lent()
    svid = svid_of(ca)
    async with open_channel(NOWHERE, roots=ca.root.pem.encode(), server_name="", svid=svid) as channel:
        lent.offer(channel, svid)
        async with lent.borrowed(svid):
            taking = asyncio.create_task(lent.take_back())
            for _ in range(10):
                await asyncio.sleep(0)
            assert not taking.done()
        await taking
