"""The end of a change of roots in Secrets: what goes, what moves, and what a kill leaves."""

from __future__ import annotations

import asyncio
import contextlib

import pytest
from cryptography import x509

from meshca.authority.material import certificate_id
from meshca.errors import ConfigError, InvariantBroken
from tests.fakes.cacerts import cacerts
from tests.fakes.logs import captured_logs
from tests.fakes.secret_source import FakeSecrets
from tests.upstream.replicas import ISTIO, ROOT, SIGNER, SPARE, begun_store, istio_root, upstream_of, verifies


class TestForget:
    """The end of a change: what follows takes the place of the first."""

    @pytest.mark.parametrize("name", ["istio-ca-secret", "cacerts"])
    async def test_moves(self, name: str) -> None:
        """The new root moves to where the old one was, with Istio's marks, and the other Secret is empty."""
        store, root = FakeSecrets(), istio_root()
        contents = {"ca-cert.pem": root.pem, "ca-key.pem": root.key_pem, "istio-generated": ""}
        store.put(name, contents, ISTIO)
        upstream, _ = upstream_of(store)
        new = (await upstream.make_root()).root
        await upstream.lines()
        with captured_logs() as logs:
            await upstream.forget({certificate_id(new)})
        assert x509.load_pem_x509_certificate(store.held[name].contents["ca-cert.pem"]) == new
        assert ("istio-generated" in store.held[name].contents) == (name == "cacerts")
        assert (store.held[name].kind, store.held[SPARE].contents) == (ISTIO, {})
        for replica in (upstream, upstream_of(store)[0]):
            assert [line.root for line in await replica.lines()] == [new]
            assert verifies(await replica.obtain(certificate_id(new)), new)
        assert [(line["secret"], line["emptied"]) for line in logs] == [(name, False), (SPARE, True)]

    async def test_intermediate_stays(self) -> None:
        """The move changes nothing of what signs."""
        store, _ = await begun_store()
        upstream, _ = upstream_of(store)
        new = certificate_id((await upstream.make_root()).root)
        before = await upstream.obtain(new)
        await upstream.lines()
        await upstream.forget({new})
        assert (await upstream.obtain(new)).material.fingerprint == before.material.fingerprint

    async def test_aborted(self) -> None:
        """A root that shall not follow after all goes, and the first is left as it is."""
        store, old = await begun_store()
        upstream, _ = upstream_of(store)
        before = store.held["istio-ca-secret"]
        new = certificate_id((await upstream.make_root()).root)
        await upstream.obtain(new)
        await upstream.lines()
        await upstream.forget({old})
        assert (store.held["istio-ca-secret"], store.held[SPARE].contents) == (before, {})
        assert [certificate_id(line.root) for line in await upstream.lines()] == [old]
        with pytest.raises(ConfigError):
            await upstream.obtain(new)

    async def test_both_kept(self) -> None:
        """While both are to be kept nothing is written."""
        store, old = await begun_store()
        upstream, _ = upstream_of(store)
        new = certificate_id((await upstream.make_root()).root)
        before = dict(store.held)
        await upstream.lines()
        await upstream.forget({old, new})
        assert store.held == before

    @pytest.mark.parametrize("between", [False, True], ids=["before", "between"])
    async def test_made_by_another_meanwhile(self, between: bool) -> None:  # noqa: FBT001 - a row's part
        """A replica that tidies up late leaves the root that another has made since, and both see it."""
        store, _ = await begun_store()
        (late, source), (quick, _) = upstream_of(store), upstream_of(store)
        new = certificate_id((await quick.make_root()).root)
        for replica in (late, quick):
            await replica.lines()
        source.before_writing.clear()
        tidying = asyncio.create_task(late.forget({new}))
        if between:  # it has read, and is about to write
            for _ in range(5):
                await asyncio.sleep(0)
        await quick.forget({new})
        third = certificate_id((await quick.make_root()).root)
        source.before_writing.set()
        await tidying
        for replica in (late, quick):
            assert {certificate_id(line.root) for line in await replica.lines()} == {new, third}
            await replica.obtain(third)

    async def test_made_before_it_is_told(self) -> None:
        """Nothing is forgotten that nobody was told of; once it is, it can be."""
        store, old = await begun_store()
        upstream, _ = upstream_of(store)
        new = certificate_id((await upstream.make_root()).root)
        await upstream.forget({old})
        assert {certificate_id(line.root) for line in await upstream.lines()} == {old, new}
        await upstream.forget({old})
        assert {certificate_id(line.root) for line in await upstream.lines()} == {old}

    async def test_never_the_last(self) -> None:
        """Asked to keep none that signs, it keeps all."""
        store, _ = await begun_store()
        before = dict(store.held)
        with pytest.raises(InvariantBroken) as refused:
            await upstream_of(store)[0].forget({"ffff"})
        assert (refused.value.reason, store.held) == ("forget", before)

    async def test_again(self) -> None:
        """After it, another root can be made and follow in the same way."""
        store, _ = await begun_store()
        upstream, _ = upstream_of(store)
        for _ in range(2):
            new = (await upstream.make_root()).root
            await upstream.lines()
            await upstream.forget({certificate_id(new)})
            assert [line.root for line in await upstream.lines()] == [new]

    async def test_plugged_in_meanwhile(self) -> None:
        """What an operator plugged in meanwhile is not overwritten; what follows stays where it is."""
        store, _ = await begun_store()
        upstream, _ = upstream_of(store)
        new = certificate_id((await upstream.make_root()).root)
        await upstream.lines()
        store.put("cacerts", cacerts(SIGNER, roots=(ROOT,)))
        before = dict(store.held)
        await upstream.forget({new})
        assert store.held == before

    @pytest.mark.parametrize("keep_new", [True, False])
    @pytest.mark.parametrize("writes", [0, 1, 2])
    async def test_killed(self, keep_new: bool, writes: int) -> None:  # noqa: FBT001 - a row's part
        """A replica that is killed before any of its writes is followed by one that ends with the same."""
        store, old = await begun_store()
        new = certificate_id((await upstream_of(store)[0].make_root()).root)
        keep = new if keep_new else old
        doomed, source = upstream_of(store)
        await doomed.lines()
        source.writes_left = writes
        with contextlib.suppress(asyncio.CancelledError):
            await doomed.forget({keep})
        replica, _ = upstream_of(store)
        assert keep in {certificate_id(line.root) for line in await replica.lines()}
        await replica.forget({keep})
        assert [certificate_id(line.root) for line in await replica.lines()] == [keep]
        assert store.held[SPARE].contents == {}

    async def test_killed_before_the_second_change(self) -> None:
        """What was left in the second Secret by one who was killed after the move makes room for the next root."""
        store, _ = await begun_store()
        upstream, source = upstream_of(store)
        new = certificate_id((await upstream.make_root()).root)
        await upstream.lines()
        source.writes_left = 1
        with contextlib.suppress(asyncio.CancelledError):
            await upstream.forget({new})
        assert store.held[SPARE].contents
        replica, _ = upstream_of(store)
        third = certificate_id((await replica.make_root()).root)
        assert third != new
        assert {certificate_id(line.root) for line in await replica.lines()} == {new, third}
