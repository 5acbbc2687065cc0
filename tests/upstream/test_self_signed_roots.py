"""Further roots of a CA of our own: one follows another, and the old one goes."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from meshca.authority.material import certificate_id
from meshca.authority.slot import Slot
from meshca.config.upstream import SelfSignedConfig
from meshca.errors import ConfigError, InvariantBroken, Refused, Unavailable
from meshca.keystore.file import FileKeyStore
from meshca.svid.signature import SigningKey
from meshca.upstream import ca_folder, self_signed
from tests.fakes.clock import FakeClock
from tests.fakes.logs import captured_logs
from tests.fakes.pki import DAY, NARROW, NOW, TRUST_DOMAIN, make_ca, rsa_key
from tests.upstream.own_ca import MINUTES, names, roots, start


def keys_of(folder: Path) -> int:
    """How many keys there are."""
    return len(FileKeyStore(folder / "keys").key_ids())


class TestFurtherRoots:
    """`make_root`, and what signs then."""

    async def test_new_key(self, tmp_path: Path) -> None:
        """A further root has a new key and a subject of its own, and both roots sign, each by its own."""
        clock = FakeClock()
        upstream = await start(tmp_path, clock)
        clock.move(1)
        line = await upstream.make_root()
        first, second = [(await upstream.obtain(root)).material for root in await roots(upstream)]
        assert second.roots == (line.root,)
        assert first.roots[0].public_key() != line.root.public_key()
        assert first.roots[0].subject != line.root.subject
        assert {Slot.prove(each, TRUST_DOMAIN, NOW).path[-1] for each in (first, second)} == {
            first.roots[0],
            line.root,
        }
        assert keys_of(tmp_path) == 4

    async def test_in_the_order_of_their_making(self, tmp_path: Path) -> None:
        """Also those of one second, and after a clock was set back a little; a restart sees the same."""
        clock = FakeClock()
        upstream = await start(tmp_path, clock)
        made = await roots(upstream)
        for seconds in (0.0, 0.0, 0.4, 0.0, -30.0):
            clock.move(seconds)
            made.append(certificate_id((await upstream.make_root()).root))
        assert await roots(upstream) == await roots(await start(tmp_path, clock)) == made

    async def test_none_begins_in_the_future(self, tmp_path: Path) -> None:
        """Even if the clock was set back to where another begins: it must sign at once."""
        clock = FakeClock()
        upstream = await start(tmp_path, clock)
        clock.move(-MINUTES.total_seconds())
        assert (await upstream.make_root()).root.not_valid_before_utc == clock.now()

    async def test_same_key(self, tmp_path: Path) -> None:
        """Asked to, it uses the key of another root again, with a subject of its own."""
        upstream = await start(tmp_path)
        [old] = await roots(upstream)
        line = await upstream.make_root(same_key=old)
        was = (await upstream.obtain(old)).material.roots[0]
        assert line.root.public_key() == was.public_key()
        assert line.root.subject != was.subject
        assert keys_of(tmp_path) == 3

    async def test_same_key_stays(self, tmp_path: Path) -> None:
        """When one of two roots of one key is forgotten, the key stays for the other."""
        upstream = await start(tmp_path)
        [old] = await roots(upstream)
        new = certificate_id((await upstream.make_root(same_key=old)).root)
        await upstream.forget({new})
        await upstream.obtain(new)
        assert (await roots(await start(tmp_path)), keys_of(tmp_path)) == ([new], 2)

    async def test_same_key_of_nobody(self, tmp_path: Path) -> None:
        """A root that is not there has no key to be used again; those that are there are named."""
        upstream = await start(tmp_path)
        [root] = await roots(upstream)
        with pytest.raises(Refused, match=f"no root ffff whose key could be used again; name one of {root}") as no:
            await upstream.make_root(same_key="ffff")
        assert no.value.reason == "upstream"

    async def test_restart(self, tmp_path: Path) -> None:
        """A restart offers both as before."""
        clock = FakeClock()
        upstream = await start(tmp_path, clock)
        clock.move(1)
        await upstream.make_root()
        before = {root: (await upstream.obtain(root)).material.fingerprint for root in await roots(upstream)}
        again = await start(tmp_path)
        assert {r: (await again.obtain(r)).material.fingerprint for r in await roots(again)} == before

    async def test_each_renewed(self, tmp_path: Path) -> None:
        """Each has its own half life, and renewing one leaves the keys of the other."""
        clock = FakeClock()
        upstream = await start(tmp_path, clock)
        clock.move((10 * DAY).total_seconds())
        await upstream.make_root()
        one, two = await roots(upstream)
        before = await upstream.obtain(two)
        clock.move((6 * DAY).total_seconds())
        assert (await upstream.obtain(one)).renew_at == NOW + 31 * DAY
        assert (await upstream.obtain(two)).material.fingerprint == before.material.fingerprint
        assert keys_of(tmp_path) == 4

    async def test_another_process(self, tmp_path: Path) -> None:
        """A root that another process over the same folder made signs here too."""
        one, two = await start(tmp_path), await start(tmp_path)
        made = certificate_id((await one.make_root()).root)
        assert (await two.obtain(made)).material.fingerprint == (await one.obtain(made)).material.fingerprint

    async def test_unknown_root(self, tmp_path: Path) -> None:
        """Nothing signs below a root that is not there."""
        upstream = await start(tmp_path)
        with pytest.raises(ConfigError, match="there is no root ffff; name one of "):
            await upstream.obtain("ffff")

    async def test_expired_beside_another(self, tmp_path: Path) -> None:
        """A root that has expired is a line that signs nothing, and stops nothing, while another lives."""
        clock = FakeClock()
        config = SelfSignedConfig(root_lifetime=20 * DAY)
        upstream = await start(tmp_path, clock, config=config)
        clock.move((10 * DAY).total_seconds())
        await upstream.make_root()
        clock.move((10 * DAY).total_seconds())
        again = await start(tmp_path, clock, config=config)
        lines = await again.lines()
        assert [line.signs for line in lines] == [False, True]
        with pytest.raises(ConfigError, match="has expired; sign below another"):
            await again.obtain(certificate_id(lines[0].root))

    async def test_audited(self, tmp_path: Path) -> None:
        """A further root and its intermediate are events in the log, and so is a root that is forgotten."""
        upstream = await start(tmp_path)
        [old] = await roots(upstream)
        with captured_logs() as logs:
            new = certificate_id((await upstream.make_root()).root)
            await upstream.forget({new})
        assert [(line["event"], line["kind"]) for line in logs] == [
            ("ca.signed", "root"),
            ("ca.signed", "intermediate"),
            ("ca.forgotten", "root"),
        ]
        assert (logs[0]["sha256"], logs[2]["sha256"]) == (new, old)

    async def test_full_disk(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A root that cannot be kept is not offered, and nothing is left of it."""
        upstream = await start(tmp_path)
        before = names(tmp_path)
        monkeypatch.setattr(ca_folder.CaFolder, "publish", _unavailable)
        with pytest.raises(Unavailable, match="No space"):
            await upstream.make_root()
        assert names(tmp_path) == before

    @pytest.mark.parametrize(
        ("change", "problem"),
        [
            pytest.param({"end": NOW}, "expired at", id="expired"),
            pytest.param({"constraints": None}, "not a CA", id="not-a-ca"),
            pytest.param({"subject": "taken"}, "its subject is in use by another root", id="subject-in-use"),
            pytest.param({"extra": [NARROW]}, "a trial certificate does not verify", id="no-trial-leaf"),
        ],
    )
    async def test_unsound(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: dict[str, Any], problem: str
    ) -> None:
        """A root that is not sound is refused before it is there, and nothing is left of it."""

        def make(key: SigningKey, *_: object) -> x509.Certificate:
            return make_ca(**({"subject": f"root {next(numbers)}", "key": key} | change)).certificate

        numbers = itertools.count()
        monkeypatch.setattr(self_signed, "make_root", lambda key, *_: make_ca("taken", key=key).certificate)
        upstream = await start(tmp_path)
        before = names(tmp_path)
        monkeypatch.setattr(self_signed, "make_root", make)
        with pytest.raises(ConfigError) as refused:
            await upstream.make_root()
        assert any(problem in line for line in refused.value.problems), refused.value.problems
        assert names(tmp_path) == before

    async def test_weak(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """So is a root whose key is weak."""
        upstream = await start(tmp_path)
        before = names(tmp_path)
        monkeypatch.setattr("meshca.keystore.file.new_key", lambda _: rsa_key(1024))
        with pytest.raises(ConfigError, match="RSA-1024 is not supported"):
            await upstream.make_root()
        assert names(tmp_path) == before


class TestForget:
    """What goes, and what stays."""

    async def test_first(self, tmp_path: Path) -> None:
        """The files of the first root go, with all keys below it; the others stay where they are."""
        upstream = await start(tmp_path)
        new = certificate_id((await upstream.make_root()).root)
        await upstream.forget({new})
        assert (await roots(upstream), await roots(await start(tmp_path))) == ([new], [new])
        assert [name for name in names(tmp_path) if "key" not in name] == sorted(
            ["ca", new[:16], "intermediate.pem", "root.pem"]
        )
        assert keys_of(tmp_path) == 2

    async def test_further(self, tmp_path: Path) -> None:
        """The folder of a further root goes, and the first stays where it is."""
        upstream = await start(tmp_path)
        before = names(tmp_path)
        [old] = await roots(upstream)
        await upstream.make_root()
        await upstream.forget({old})
        assert (await roots(upstream), names(tmp_path)) == ([old], before)

    async def test_none_to_go(self, tmp_path: Path) -> None:
        """When all are kept nothing goes; ids of no root of ours do not matter."""
        upstream = await start(tmp_path)
        before = names(tmp_path)
        await upstream.forget({*await roots(upstream), "ffff"})
        assert names(tmp_path) == before

    async def test_never_the_last(self, tmp_path: Path) -> None:
        """Asked to keep none, it keeps all: a CA is not deleted by mistake."""
        upstream = await start(tmp_path)
        before = names(tmp_path)
        with pytest.raises(InvariantBroken) as refused:
            await upstream.forget({"ffff"})
        assert (refused.value.reason, names(tmp_path)) == ("forget", before)

    async def test_cannot_be_deleted(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Keys that cannot be removed now are told, and go when it is asked again."""
        upstream = await start(tmp_path)
        new = certificate_id((await upstream.make_root()).root)
        with monkeypatch.context() as broken:
            broken.setattr(FileKeyStore, "keep_only", _unavailable)
            with pytest.raises(Unavailable):
                await upstream.forget({new})
        await upstream.forget({new})
        assert (await roots(upstream), keys_of(tmp_path)) == ([new], 2)


def _unavailable(*_: object) -> None:
    raise Unavailable("ca_folder", "No space left on device")
