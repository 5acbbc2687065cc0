"""A root that was made in a Secret is followed by another, in a Secret of its own."""

from __future__ import annotations

import asyncio

import pytest

from meshca.authority.material import certificate_id
from meshca.authority.secret_source import Overtaken
from meshca.errors import ConfigError, Refused, Unavailable
from meshca.upstream import secret_beginning
from tests.fakes.pki import rsa_key
from tests.fakes.secret_source import FakeSecrets
from tests.upstream.replicas import (
    BAD,
    FORBIDDEN,
    ISTIO,
    MAY_CREATE,
    MAY_NOT,
    SPARE,
    begun_store,
    istio_root,
    put_istio,
    upstream_of,
    verifies,
)


class TestFollowing:
    """A root that was made here is followed by another."""

    @pytest.mark.parametrize("put", [True, False], ids=["istio's", "ours"])
    async def test_made(self, put: bool) -> None:  # noqa: FBT001 - a row's part
        """It is made in a Secret of its own with a new key; both sign for every replica, and the first is left."""
        store = FakeSecrets()
        if put:
            put_istio(store, istio_root(key=rsa_key()))
        upstream, _ = upstream_of(store, MAY_NOT if put else MAY_CREATE)
        [old] = await upstream.lines()
        before = dict(store.held)
        made = await upstream.make_root()
        assert (made.signs, made.wanted, made.made) == (True, True, True)
        assert [line.made for line in await upstream.lines()] == [True, True]
        assert store.held["istio-ca-secret"] == before["istio-ca-secret"]
        assert store.held[SPARE].kind == ISTIO
        assert made.root.public_key() != old.root.public_key()
        for replica in (upstream, upstream_of(store)[0]):
            assert {line.root: line.signs for line in await replica.lines()} == {old.root: True, made.root: True}
            for line in await replica.lines():
                assert verifies(await replica.obtain(certificate_id(line.root)), line.root)

    async def test_not_allowed_to(self) -> None:
        """With `rotate` off no root is made, nothing is written, and what to set is said."""
        store = FakeSecrets()
        put_istio(store, istio_root())
        before = dict(store.held)
        with pytest.raises(Refused) as refused:
            await upstream_of(store, MAY_NOT.model_copy(update={"rotate": False}))[0].make_root()
        assert refused.value.reason == "upstream"
        assert refused.value.detail == (
            "upstream.rotate is off, so no root is made to follow another; set it, and let our account create and"
            " update Secret istio-ca-secret-next in namespace istio-system"
        )
        assert store.held == before

    async def test_restart_offers_below_both(self) -> None:
        """A replica that restarts signs below both roots."""
        store, old = await begun_store()
        new = certificate_id((await upstream_of(store)[0].make_root()).root)
        replica, _ = upstream_of(store)
        assert [certificate_id((await replica.obtain(root)).material.roots[0]) for root in (old, new)] == [
            old,
            new,
        ]

    async def test_same_key(self) -> None:
        """Asked to, it uses the key again."""
        store, old = await begun_store()
        upstream, _ = upstream_of(store)
        made = await upstream.make_root(same_key=old)
        [first] = [line for line in await upstream.lines() if certificate_id(line.root) == old]
        assert made.root.public_key() == first.root.public_key()
        assert made.root.subject != first.root.subject

    async def test_same_key_of_nobody(self) -> None:
        """A root that is not there has no key to be used again; the one that is there is named."""
        store, old = await begun_store()
        with pytest.raises(Refused, match=f"no root ffff whose key could be used again; name {old}"):
            await upstream_of(store)[0].make_root(same_key="ffff")

    async def test_race(self) -> None:
        """Replicas that make one at once end with one."""
        store, _ = await begun_store()
        replicas = [upstream_of(store) for _ in range(5)]
        for _, source in replicas:
            source.before_writing.clear()
        tasks = [asyncio.create_task(upstream.make_root()) for upstream, _ in replicas]
        for _ in range(5):
            await asyncio.sleep(0)
        for _, source in replicas:
            source.before_writing.set()
        assert len({line.root for line in await asyncio.gather(*tasks)}) == 1

    @pytest.mark.parametrize("same", [False, True])
    async def test_another_kind_is_there(self, same: bool) -> None:  # noqa: FBT001 - a row's part
        """A root of another kind than was asked for that is there already is not taken for it."""
        store, old = await begun_store()
        upstream, _ = upstream_of(store)
        made = await upstream.make_root(same_key=old if same else "")
        which = "the key of the one before" if same else "a key of its own"
        with pytest.raises(
            Refused, match=f"holds a root already that has {which} .sha256 {certificate_id(made.root)}.; abort"
        ):
            await upstream.make_root(same_key="" if same else old)

    async def test_empty_spare_is_filled(self) -> None:
        """A Secret that somebody made beforehand is filled, so that we need not create one, and emptied again."""
        store, old = await begun_store()
        store.put(SPARE, {})
        upstream, source = upstream_of(store)
        source.errors["create"] = FORBIDDEN
        made = await upstream.make_root()
        assert store.held[SPARE].contents["ca-key.pem"]
        await upstream.lines()
        await upstream.forget({old})
        assert (store.held[SPARE].contents, store.held[SPARE].kind) == ({}, "Opaque")
        assert certificate_id(made.root) not in {certificate_id(line.root) for line in await upstream.lines()}

    async def test_bad_spare(self) -> None:
        """What holds no sound root there is not overwritten, is told, and hides nothing."""
        store, old = await begun_store()
        store.put(SPARE, BAD["half"])
        upstream, _ = upstream_of(store)
        assert [certificate_id(line.root) for line in await upstream.lines()] == [old]
        assert upstream.problem is not None
        assert upstream.problem.source == f"Secret {SPARE} in namespace istio-system"
        with pytest.raises(ConfigError, match=r"root-cert\.pem: is missing"):
            await upstream.make_root()
        assert "root-cert.pem" not in store.held[SPARE].contents

    async def test_both_bad(self) -> None:
        """Problems of both Secrets are told at once."""
        store, _ = await begun_store()
        store.put("istio-ca-secret", {"ca-cert.pem": "damaged"})
        store.put(SPARE, BAD["half"])
        with pytest.raises(ConfigError) as refused:
            await upstream_of(store)[0].lines()
        assert "ca-key.pem: is missing; all of ca-cert.pem, ca-key.pem are needed" in refused.value.problems
        assert any(line.startswith(f"Secret {SPARE}: root-cert.pem") for line in refused.value.problems)

    async def test_main_lost(self) -> None:
        """While the first Secret is lost the one that follows signs, no first root is made, and it is told."""
        store, _ = await begun_store()
        new = (await upstream_of(store)[0].make_root()).root
        store.remove("istio-ca-secret")
        upstream, _ = upstream_of(store)
        assert [line.root for line in await upstream.lines()] == [new]
        assert "no Secret holds a CA any more" in str(upstream.problem)
        with pytest.raises(Unavailable, match=r"no root is there to be followed: .*no Secret holds a CA any more"):
            await upstream.make_root()
        assert list(store.held) == [SPARE]

    async def test_nothing_to_follow(self) -> None:
        """Where there is no root none follows."""
        with pytest.raises(Unavailable, match="no root is there to be followed: none holds a CA"):
            await upstream_of(FakeSecrets())[0].make_root()

    async def test_always_overtaken(self) -> None:
        """Whoever loses every time gives up for now, and nothing is left of it."""
        store, old = await begun_store()
        upstream, source = upstream_of(store)
        source.errors["create"] = Overtaken("test", "it exists")
        with pytest.raises(Unavailable, match="others write the Secrets all the time"):
            await upstream.make_root()
        del source.errors["create"]
        new = certificate_id((await upstream.make_root()).root)
        await upstream.lines()
        source.errors["replace"] = Overtaken("test", "it is another by now")
        with pytest.raises(Unavailable, match="others write the Secrets all the time"):
            await upstream.forget({new})
        assert {certificate_id(line.root) for line in await upstream.lines()} == {old, new}

    async def test_unsound(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A root that is not sound is refused before it is written."""
        store, _ = await begun_store()
        monkeypatch.setattr(secret_beginning, "new_key", lambda _: rsa_key(1024))
        with pytest.raises(ConfigError, match="too weak, or not known"):
            await upstream_of(store)[0].make_root()
        assert SPARE not in store.held
