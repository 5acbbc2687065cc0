"""The contract of every `SecretSource`: run over the fake here, and over a real API server in tests/e2e/kube."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Protocol

import pytest

from meshca.authority.secret_source import Overtaken, SecretSource, StoredSecret

FIRST, SECOND = "cacerts", "istio-ca-secret"
SECONDS = 10.0  # in which a watch must tell; a test that waits longer has failed
PRIVATE = b"-----BEGIN PRIVATE KEY-----"


class Place(Protocol):
    """Where the Secrets are, as an operator sees it."""

    def source(self) -> SecretSource:
        """The source of one replica, for the two names; it is followed already."""
        ...

    async def put(self, name: str, contents: Mapping[str, bytes], kind: str = "Opaque") -> None:
        """Write a Secret, whatever is there."""
        ...

    async def label(self, name: str) -> None:
        """Change something of a Secret that is not its contents."""
        ...

    async def remove(self, name: str) -> None:
        """Delete a Secret."""
        ...

    async def told(self, source: SecretSource) -> bool:
        """Whether the source tells of a change, once all that was done before had its time."""
        ...


def new(name: str = SECOND, value: bytes = b"1", version: str = "") -> StoredSecret:
    """A Secret to be written."""
    return StoredSecret(name=name, kind="istio.io/ca-root", contents={"a": value, "b": b""}, version=version)


class SecretSourceContract:
    """Subclasses bring the fixture `place`."""

    async def test_none(self, place: Place) -> None:
        """Where there are no Secrets none are read."""
        assert await place.source().read() == []

    async def test_created(self, place: Place) -> None:
        """What was created is read as it was written, by another source too."""
        await place.source().create(new(value=b"\x00\xff"))
        [found] = await place.source().read()
        assert (found.name, found.kind) == (SECOND, "istio.io/ca-root")
        assert found.contents == {"a": b"\x00\xff", "b": b""}
        assert found.version

    async def test_order(self, place: Place) -> None:
        """Secrets are read in the order of their names; others are never read."""
        for name in (SECOND, "other", FIRST):
            await place.put(name, {"a": b"1"})
        assert [found.name for found in await place.source().read()] == [FIRST, SECOND]

    async def test_without_contents(self, place: Place) -> None:
        """A Secret that holds nothing is there."""
        await place.put(FIRST, {})
        [found] = await place.source().read()
        assert (found.contents, found.kind) == ({}, "Opaque")

    async def test_one_creator(self, place: Place) -> None:
        """Of many that create at once one wins, and the others are told."""
        writers = [place.source().create(new(value=b"%d" % number)) for number in range(8)]
        results = await asyncio.gather(*writers, return_exceptions=True)
        won = [number for number, result in enumerate(results) if result is None]
        assert len(won) == 1
        assert all(result is None or isinstance(result, Overtaken) for result in results)
        [found] = await place.source().read()
        assert found.contents["a"] == b"%d" % won[0]

    async def test_replaced(self, place: Place) -> None:
        """What was read can be replaced; the same version does not do twice."""
        source = place.source()
        await source.create(new())
        [found] = await source.read()
        await source.replace(new(value=b"2", version=found.version))
        with pytest.raises(Overtaken):
            await source.replace(new(value=b"3", version=found.version))
        [after] = await source.read()
        assert after.contents["a"] == b"2"

    async def test_replacing_what_is_gone(self, place: Place) -> None:
        """A Secret that was deleted meanwhile is not made again by replacing it."""
        source = place.source()
        await source.create(new())
        [found] = await source.read()
        await place.remove(SECOND)
        with pytest.raises(Overtaken):
            await source.replace(new(version=found.version))
        assert await source.read() == []

    @pytest.mark.parametrize("change", ["put", "changed", "removed"])
    async def test_changes_are_told(self, place: Place, change: str) -> None:
        """What is put, changed or removed after a read is told."""
        source = place.source()
        if change != "put":
            await place.put(FIRST, {"a": b"1"})
        await quiet(place, source)
        if change == "removed":
            await place.remove(FIRST)
        else:
            await place.put(FIRST, {"a": b"2"})
        await asyncio.wait_for(source.changed(), SECONDS)

    async def test_labels_are_no_change(self, place: Place) -> None:
        """What does not touch the contents is not told; nor is another Secret."""
        source = place.source()
        await place.put(FIRST, {"a": b"1"})
        await quiet(place, source)
        await place.label(FIRST)
        await place.put("other", {"a": b"1"})
        assert not await place.told(source)

    async def test_contents_do_not_print(self, place: Place) -> None:
        """Contents are in no repr."""
        await place.put(FIRST, {"ca-key.pem": PRIVATE})
        [found] = await place.source().read()
        assert "PRIVATE" not in repr(found)
        assert found.contents["ca-key.pem"] == PRIVATE


async def quiet(place: Place, source: SecretSource) -> None:
    """Read until nothing of before is told any more."""
    await source.read()
    while await place.told(source):
        await source.read()
