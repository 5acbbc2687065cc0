"""A plugged-in CA in a Secret: an operator changes its root, and nothing of it is written by us."""

from __future__ import annotations

import pytest

from meshca.authority.material import certificate_id
from meshca.errors import ConfigError, Refused
from tests.fakes.cacerts import cacerts, tls
from tests.fakes.clock import FakeClock
from tests.fakes.pki import DAY, NARROW, NOW, Ca, make_ca, rsa_key
from tests.fakes.secret_source import FakeSecrets
from tests.fakes.upstream import first_offer, told
from tests.upstream.replicas import BAD, NEXT, ROOT, SIGNER, upstream_of

OTHER, THIRD = make_ca("other root", begin=NOW - DAY / 2), make_ca("third root", begin=NOW - DAY / 3)
OTHERS = make_ca("other signer", OTHER)


class TestPluggedIn:
    """An operator changes the root of a plugged-in CA."""

    async def test_current(self) -> None:
        """The line of the Secret's own signer is the current one, not one that is kept in memory."""
        store = FakeSecrets()
        store.put("cacerts", cacerts(SIGNER, roots=(ROOT,)))
        upstream, _ = upstream_of(store)
        assert [line.current for line in await upstream.lines()] == [True]
        store.put("cacerts", cacerts(OTHERS, roots=(OTHER, ROOT)))
        assert [line.current for line in await upstream.lines()] == [False, True]

    async def test_old_line_in_memory(self) -> None:
        """What was plugged in before signs here until it is forgotten; a restart has what the Secret holds."""
        store = FakeSecrets()
        store.put("cacerts", cacerts(SIGNER, roots=(ROOT,)))
        upstream, _ = upstream_of(store)
        await upstream.lines()
        store.put("cacerts", cacerts(OTHERS, roots=(OTHER, THIRD)))
        assert await told(upstream) == [
            ("root", True, False),
            ("other root", True, True),
            ("third root", False, True),
        ]
        assert (await upstream.obtain(certificate_id(ROOT.certificate))).material.certificate == SIGNER.certificate
        restarted, _ = upstream_of(store)
        assert await told(restarted) == [("other root", True, True), ("third root", False, True)]
        with pytest.raises(ConfigError, match=r"nothing signs below the root .*; put its CA back"):
            await restarted.obtain(certificate_id(ROOT.certificate))
        await upstream.forget({certificate_id(OTHER.certificate)})
        assert await told(upstream) == await told(restarted)

    async def test_bad(self) -> None:
        """A bad Secret hides nothing: what it named last is there and signs, and the problem is told."""
        store = FakeSecrets()
        store.put("cacerts", cacerts(SIGNER, roots=(ROOT, OTHER)))
        upstream, _ = upstream_of(store)
        before = await told(upstream)
        store.put("cacerts", BAD["half"])
        assert await told(upstream) == before == [("root", True, True), ("other root", False, True)]
        assert "root-cert.pem: is missing" in str(upstream.problem)
        assert (await upstream.obtain(certificate_id(ROOT.certificate))).material.certificate == SIGNER.certificate
        store.put("cacerts", cacerts(NEXT, roots=(ROOT,)))
        await upstream.lines()
        assert upstream.problem is None

    async def test_kept_has_expired(self) -> None:
        """What is in memory and has expired signs nothing any more, and says so with what is wrong now."""
        store, clock = FakeSecrets(), FakeClock()
        store.put("cacerts", cacerts(make_ca("short", ROOT, end=NOW + DAY), roots=(ROOT,)))
        upstream, _ = upstream_of(store, clock=clock)
        await upstream.lines()
        store.put("cacerts", BAD["half"])
        clock.move((2 * DAY).total_seconds())
        with pytest.raises(ConfigError, match=r"root-cert\.pem: is missing"):
            await upstream.lines()
        with pytest.raises(ConfigError, match=r"(?s)expired at .*root-cert\.pem: is missing"):
            await upstream.obtain(certificate_id(ROOT.certificate))

    @pytest.mark.parametrize(
        ("root", "problem"),
        [
            pytest.param(make_ca("next root", end=NOW), "expired at", id="expired"),
            pytest.param(make_ca("next root", constraints=None), "a root but not a CA", id="not-a-ca"),
            pytest.param(make_ca("next root", key=rsa_key(1024)), "too weak, or not known", id="weak"),
            pytest.param(make_ca("root"), "its subject is in use by another root", id="subject-in-use"),
            pytest.param(
                make_ca("next root", extra=[NARROW]), "a trial certificate does not verify", id="no-trial-leaf"
            ),
        ],
    )
    @pytest.mark.parametrize("with_key", [False, True], ids=["signer", "root"])
    async def test_bad_new_root(self, root: Ca, problem: str, with_key: bool) -> None:  # noqa: FBT001 - a row's part
        """A new root that is unsound is refused before anything changes, with its key or without."""
        store = FakeSecrets()
        store.put("cacerts", cacerts(SIGNER, roots=(ROOT,)))
        upstream, _ = upstream_of(store)
        before = await told(upstream)
        assert not any(line.made for line in await upstream.lines())
        store.put("cacerts", cacerts(root if with_key else make_ca("next", root), roots=(root,)))
        assert await told(upstream) == before
        assert problem in str(upstream.problem)

    @pytest.mark.parametrize("contents", [cacerts(SIGNER, roots=(ROOT,)), tls(ROOT, roots=(ROOT,))])
    async def test_roots_are_not_made_beside_it(self, contents: dict[str, str]) -> None:
        """Asked to make a root it says where to put one, and writes nothing; with a root's key too."""
        store = FakeSecrets()
        store.put("cacerts", contents)
        before = dict(store.held)
        with pytest.raises(Refused) as refused:
            await upstream_of(store)[0].make_root()
        assert refused.value.reason == "upstream"
        assert refused.value.detail == (
            "the CA in Secret cacerts in namespace istio-system is plugged in, and no root is made beside it; put"
            " a signing certificate below the new root there, and name both roots there"
        )
        assert store.held == before

    async def test_it_is_left(self) -> None:
        """What an operator plugged in is left where it is, though it is not to be kept."""
        store = FakeSecrets()
        upstream, _ = upstream_of(store)
        old = certificate_id((await first_offer(upstream)).material.roots[0])
        store.put("cacerts", cacerts(SIGNER, roots=(ROOT,)))
        before = dict(store.held)
        for keep in (old, certificate_id(ROOT.certificate)):
            await upstream.forget({keep})
        assert store.held == before
