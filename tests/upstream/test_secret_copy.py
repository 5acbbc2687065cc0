"""What a kill right after the move of a root leaves in the second Secret goes at the next look."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from meshca.authority.material import certificate_id
from meshca.authority.secret_source import Overtaken
from meshca.errors import ConfigError, MeshcaError
from tests.fakes.cacerts import cacerts
from tests.fakes.logs import captured_logs
from tests.fakes.pki import make_ca
from tests.fakes.secret_source import FakeSecrets
from tests.upstream.replicas import FORBIDDEN, ISTIO, SPARE, begun_store, istio_root, upstream_of

MAIN = "istio-ca-secret"


async def copied_store() -> tuple[FakeSecrets, str]:
    """Secrets after the kill, and the root that both hold."""
    store, _ = await begun_store()
    upstream, source = upstream_of(store)
    new = certificate_id((await upstream.make_root()).root)
    await upstream.lines()
    source.writes_left = 1
    with contextlib.suppress(asyncio.CancelledError):
        await upstream.forget({new})
    assert store.held[SPARE].contents == store.held[MAIN].contents
    return store, new


async def test_a_copy_is_emptied() -> None:
    """By the next replica that looks; the root signs on from the first Secret."""
    store, new = await copied_store()
    before = store.held[MAIN]
    replica, _ = upstream_of(store)
    with captured_logs() as logs:
        assert [certificate_id(line.root) for line in await replica.lines()] == [new]
    assert (store.held[MAIN], store.held[SPARE].contents) == (before, {})
    assert [(line["event"], line["secret"]) for line in logs] == [("ca.secret_written", SPARE)]
    assert [certificate_id(line.root) for line in await replica.lines()] == [new]
    await replica.obtain(new)


@pytest.mark.parametrize(
    "error",
    [FORBIDDEN, Overtaken("test", "it is another by now"), ConfigError("Secret", ["immutable"])],
    ids=["forbidden", "overtaken", "immutable"],
)
async def test_a_copy_that_cannot_be_emptied_stops_nothing(error: MeshcaError) -> None:
    """It is told, and tried again."""
    store, new = await copied_store()
    replica, source = upstream_of(store)
    source.errors["replace"] = error
    with captured_logs() as logs:
        assert [certificate_id(line.root) for line in await replica.lines()] == [new]
    assert [(line["event"], line["detail"]) for line in logs] == [("ca.copy_left", error.detail)]
    del source.errors["replace"]
    await replica.lines()
    assert store.held[SPARE].contents == {}


async def test_what_was_written_meanwhile_is_left() -> None:
    """Another replica has emptied the copy and begun the next rotation before we write."""
    store, new = await copied_store()
    (late, source), (quick, _) = upstream_of(store), upstream_of(store)
    source.before_writing.clear()
    looking = asyncio.create_task(late.lines())
    for _ in range(5):
        await asyncio.sleep(0)
    third = certificate_id((await quick.make_root()).root)
    source.before_writing.set()
    await looking
    assert {certificate_id(line.root) for line in await late.lines()} == {new, third}


async def test_a_root_that_is_to_follow_is_left() -> None:
    """Both Secrets stay as they are while they hold two roots."""
    store, _ = await begun_store()
    await upstream_of(store)[0].make_root()
    before = dict(store.held)
    await upstream_of(store)[0].lines()
    assert store.held == before


async def test_the_only_key_is_left() -> None:
    """A first Secret that holds a signer below the root, or nothing, holds no copy of the root's key."""
    root = istio_root()
    store = FakeSecrets()
    store.put(SPARE, {"ca-cert.pem": root.pem, "ca-key.pem": root.key_pem, "root-cert.pem": root.pem}, ISTIO)
    before = store.held[SPARE]
    assert [line.signs for line in await upstream_of(store)[0].lines()] == [True]
    store.put(MAIN, cacerts(make_ca("signer", root), roots=(root,)))
    assert [line.signs for line in await upstream_of(store)[0].lines()] == [True]
    assert store.held[SPARE] == before
