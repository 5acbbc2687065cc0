"""A CA of our own: made once, kept over restarts, renewed at half life, never silently made anew."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from meshca import csr, durable
from meshca.authority.faults import find_faults
from meshca.authority.keys import key_id
from meshca.authority.material import certificate_id
from meshca.authority.slot import Slot
from meshca.authority.upstream import Offer
from meshca.config.upstream import SelfSignedConfig
from meshca.errors import ConfigError, InvariantBroken, Refused, Unavailable
from meshca.identity.key_type import KeyType
from meshca.identity.spiffe_id import TrustDomain
from meshca.keystore.file import FileKeyStore
from meshca.svid.signature import SigningKey
from meshca.upstream import ca_folder, self_signed
from meshca.upstream.ca_folder import CaFolder
from meshca.upstream.self_signed import SelfSigned, open_
from tests.fakes.clock import FakeClock
from tests.fakes.logs import captured_logs
from tests.fakes.pki import DAY, NARROW, NOW, TRUST_DOMAIN, make_ca, rsa_key
from tests.fakes.upstream import first_offer
from tests.upstream.dying import DUE, killed

MINUTES = timedelta(minutes=2)
CONFIG = SelfSignedConfig()


async def start(
    folder: Path,
    clock: FakeClock | None = None,
    *,
    config: SelfSignedConfig = CONFIG,
    trust_domain: TrustDomain = TRUST_DOMAIN,
) -> SelfSigned:
    """Start over a data directory."""
    keys = FileKeyStore(folder / "keys")
    opened = open_(config, data_dir=folder, keys=keys, trust_domain=trust_domain, clock=clock or FakeClock())
    async with opened as upstream:
        return upstream


async def offered(folder: Path, clock: FakeClock | None = None) -> Offer:
    """What a start over a data directory offers."""
    return await first_offer(await start(folder, clock))


def names(folder: Path) -> list[str]:
    """All that is below a folder."""
    return sorted(path.name for path in folder.rglob("*"))


class TestFirstStart:
    """What is made when nothing is there."""

    async def test_lifetimes(self, tmp_path: Path) -> None:
        """The root lasts ten years, the intermediate thirty days, and it is to be renewed at half of them."""
        offer = await offered(tmp_path)
        [root] = offer.material.roots
        signer = offer.material.certificate
        assert (root.not_valid_before_utc, root.not_valid_after_utc) == (NOW - MINUTES, NOW + 3650 * DAY)
        assert (signer.not_valid_before_utc, signer.not_valid_after_utc) == (NOW - MINUTES, NOW + 30 * DAY)
        assert offer.renew_at == NOW + 15 * DAY

    async def test_short_life_is_no_endless_renewal(self, tmp_path: Path) -> None:
        """An intermediate that lives for seconds is renewed at half of them too, not at once."""
        config = SelfSignedConfig(intermediate_lifetime=timedelta(seconds=8))
        offer = await first_offer(await start(tmp_path, config=config))
        assert offer.renew_at == NOW + timedelta(seconds=4)

    async def test_audited(self, tmp_path: Path) -> None:
        """Every CA certificate that we sign is an event in the log, by its serial number."""
        clock = FakeClock()
        with captured_logs() as logs:
            upstream = await start(tmp_path, clock)
            [root] = (first := await first_offer(upstream)).material.roots
            clock.move((15 * DAY).total_seconds())
            second = await first_offer(upstream)
        expected = [
            ("root", f"{root.serial_number:x}"),
            *(("intermediate", f"{offer.material.certificate.serial_number:x}") for offer in (first, second)),
        ]
        assert [(line["kind"], line["serial"]) for line in logs if line["event"] == "ca.signed"] == expected

    @pytest.mark.parametrize("key_type", list(KeyType))
    async def test_key_types(self, tmp_path: Path, key_type: KeyType) -> None:
        """Root and intermediate are of the configured key type; RSA keys have 3072 bits."""
        offer = await first_offer(await start(tmp_path, config=SelfSignedConfig(key_type=key_type)))
        certificates = (offer.material.certificate, *offer.material.roots)
        keys = [csr.allowed(certificate.public_key()) for certificate in certificates]
        bits = {KeyType.EC_P256: 256, KeyType.EC_P384: 384, KeyType.RSA: 3072}[key_type]
        assert [(key.key_size, kind) for key, kind in keys] == [(bits, key_type)] * 2

    async def test_sound(self, tmp_path: Path) -> None:
        """What is offered has no fault."""
        material = (await offered(tmp_path)).material
        assert find_faults([material.certificate], material.roots, material.key, TRUST_DOMAIN, NOW) == []

    async def test_private(self, tmp_path: Path) -> None:
        """Everything in the data directory is for us alone."""
        await start(tmp_path / "data")
        paths = [tmp_path / "data", *(tmp_path / "data").rglob("*")]
        modes = {(path.is_dir(), f"{path.stat().st_mode & 0o777:03o}") for path in paths}
        assert modes == {(True, "700"), (False, "600")}

    async def test_intermediate_never_outlives_the_root(self, tmp_path: Path) -> None:
        """A root that lasts shorter than intermediates bounds them, and they are not renewed."""
        config = SelfSignedConfig(root_lifetime=10 * DAY)
        offer = await first_offer(await start(tmp_path, config=config))
        assert (offer.material.certificate.not_valid_after_utc, offer.renew_at) == (NOW + 10 * DAY, None)

    async def test_killed_on_the_way(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A first start that is killed before its end is begun anew, and its keys do not stay."""
        monkeypatch.setattr(ca_folder.CaFolder, "publish", _killed)
        with pytest.raises(KeyboardInterrupt):
            await start(tmp_path)
        monkeypatch.undo()
        await start(tmp_path)
        assert len(FileKeyStore(tmp_path / "keys").key_ids()) == 2

    async def test_many_at_once(self, tmp_path: Path) -> None:
        """Processes that start at once over one folder end with one root and one intermediate."""
        starts = [asyncio.to_thread(asyncio.run, offered(tmp_path)) for _ in range(8)]
        offers = await asyncio.gather(*starts)
        assert len({offer.material.fingerprint for offer in offers}) == 1
        assert len(FileKeyStore(tmp_path / "keys").key_ids()) == 2


def check(folder: Path, clock: FakeClock | None = None) -> list[str]:
    """Check, and tell what is below the folder then."""
    keys = FileKeyStore(folder / "keys")
    self_signed.check(CONFIG, data_dir=folder, keys=keys, trust_domain=TRUST_DOMAIN, clock=clock or FakeClock())
    return names(folder)


class TestCheck:
    """`check`: what would stop a start, without doing anything."""

    def test_nothing_there(self, tmp_path: Path) -> None:
        """Before the first start there is nothing to refuse and nothing is made."""
        assert check(tmp_path) == []

    async def test_sound(self, tmp_path: Path) -> None:
        """Sound state passes and stays as it is, even when the intermediate is due or a key is left over."""
        await start(tmp_path)
        FileKeyStore(tmp_path / "keys").create(KeyType.EC_P256)
        before = names(tmp_path)
        assert check(tmp_path, FakeClock(NOW + 20 * DAY)) == before

    async def test_clock_was_ahead(self, tmp_path: Path) -> None:
        """An intermediate that the start would make anew passes, and is not made anew."""
        await start(tmp_path)
        await offered(tmp_path, FakeClock(NOW + 16 * DAY))
        before = names(tmp_path)
        assert check(tmp_path) == before

    @pytest.mark.parametrize(
        "damage",
        [
            pytest.param(lambda d: (d / "ca/root.pem").unlink(), id="root-missing"),
            pytest.param(lambda d: (d / "ca").rename(d / "lost"), id="certificates-gone"),
        ],
    )
    async def test_damage(self, tmp_path: Path, damage: Callable[[Path], object]) -> None:
        """Damaged state is refused."""
        await start(tmp_path)
        damage(tmp_path)
        with pytest.raises(ConfigError):
            check(tmp_path)


def _killed(*_: object) -> None:
    raise KeyboardInterrupt


class TestRestart:
    """What a later start finds."""

    async def test_keeps_all(self, tmp_path: Path) -> None:
        """A restart offers the same root, intermediate and key."""
        before, after = await offered(tmp_path), await offered(tmp_path)
        assert after.material.fingerprint == before.material.fingerprint
        assert after.material.key.private_numbers() == before.material.key.private_numbers()

    async def test_after_a_long_pause(self, tmp_path: Path) -> None:
        """When the intermediate has expired meanwhile, a new one is made under the same root."""
        before = await offered(tmp_path)
        clock = FakeClock(NOW + 100 * DAY)
        after = await offered(tmp_path, clock)
        assert after.material.roots == before.material.roots
        assert after.material.certificate.not_valid_after_utc == NOW + 130 * DAY

    @pytest.mark.parametrize(
        ("damage", "problem"),
        [
            pytest.param(
                lambda d: (d / "ca/root.pem").unlink(), "directory); restore it from a backup", id="root-missing"
            ),
            pytest.param(
                lambda d: (d / "ca/intermediate.pem").unlink(), "intermediate.pem", id="intermediate-missing"
            ),
            pytest.param(lambda d: (d / "ca/root.pem").write_text("damaged"), "root.pem", id="root-damaged"),
            pytest.param(
                lambda d: [p.unlink() for p in (d / "keys").iterdir()],
                "cannot be read (No such file or directory); restore it from a backup",
                id="keys-missing",
            ),
            pytest.param(lambda d: [p.write_text("x") for p in (d / "keys").iterdir()], "PEM", id="keys-damaged"),
            pytest.param(
                lambda d: [p.chmod(0o644) for p in (d / "keys").iterdir()],
                "chmod 600",
                id="keys-readable-by-others",
            ),
            pytest.param(
                lambda d: [p.chmod(0o640) for p in (d / "keys").iterdir()],
                "chmod 600",
                id="keys-readable-by-group",
            ),
            pytest.param(lambda d: (d / "ca").rename(d / "lost"), "there are CA keys", id="certificates-gone"),
        ],
    )
    async def test_damage(self, tmp_path: Path, damage: Callable[[Path], object], problem: str) -> None:
        """Partial or damaged state stops the start; nothing is made in its place."""
        await start(tmp_path)
        damage(tmp_path)
        before = names(tmp_path)
        with pytest.raises(ConfigError) as refused:
            await start(tmp_path)
        assert any(problem in line for line in refused.value.problems), refused.value.problems
        assert names(tmp_path) == before

    async def test_intermediate_of_another_root(self, tmp_path: Path) -> None:
        """An intermediate that the root did not sign stops the start."""
        await start(tmp_path / "one")
        await start(tmp_path / "two")
        for name in ("one", "two"):
            for key in (tmp_path / name / "keys").iterdir():
                if not (tmp_path / "one" / "keys" / key.name).exists():
                    key.rename(tmp_path / "one" / "keys" / key.name)
        (tmp_path / "two/ca/intermediate.pem").rename(tmp_path / "one/ca/intermediate.pem")
        with pytest.raises(ConfigError, match="no chain of signatures"):
            await start(tmp_path / "one")

    async def test_another_trust_domain(self, tmp_path: Path) -> None:
        """A CA that was made for another trust domain stops the start."""
        await start(tmp_path)
        with pytest.raises(ConfigError, match=r"spiffe://other\.example"):
            await start(tmp_path, trust_domain=TrustDomain("other.example"))

    async def test_expired_root(self, tmp_path: Path) -> None:
        """An expired root stops the start."""
        await start(tmp_path)
        with pytest.raises(ConfigError, match="the root has expired"):
            await start(tmp_path, FakeClock(NOW + 3650 * DAY))

    async def test_clock_was_ahead(self, tmp_path: Path) -> None:
        """An intermediate made by a clock that was ahead is made anew under the same root, and its key goes."""
        root = (await offered(tmp_path)).material.roots
        ahead = await offered(tmp_path, FakeClock(NOW + 16 * DAY))
        mended = await offered(tmp_path)
        signer = mended.material.certificate
        assert ahead.material.certificate.not_valid_before_utc > NOW
        assert mended.material.roots == root
        assert (signer.not_valid_before_utc, signer.not_valid_after_utc) == (NOW - MINUTES, NOW + 30 * DAY)
        assert find_faults([signer], mended.material.roots, mended.material.key, TRUST_DOMAIN, NOW) == []
        assert (await offered(tmp_path)).material.fingerprint == mended.material.fingerprint
        assert len(FileKeyStore(tmp_path / "keys").key_ids()) == 2

    async def test_clock_was_ahead_near_the_end_of_the_root(self, tmp_path: Path) -> None:
        """So is one that lasts as long as its root and is never renewed otherwise."""
        await start(tmp_path, config=SelfSignedConfig(root_lifetime=20 * DAY))
        await offered(tmp_path, FakeClock(NOW + 16 * DAY))
        mended = await offered(tmp_path)
        assert mended.material.certificate.not_valid_before_utc == NOW - MINUTES

    async def test_clock_before_the_root(self, tmp_path: Path) -> None:
        """A clock that stands before the root began stops the start."""
        await start(tmp_path)
        with pytest.raises(ConfigError, match="check the clocks"):
            await start(tmp_path, FakeClock(NOW - DAY))


class TestRenewal:
    """`obtain` in the second half of the intermediate's life."""

    async def test_first_half(self, tmp_path: Path) -> None:
        """In the first half the intermediate stays."""
        clock = FakeClock()
        upstream = await start(tmp_path, clock)
        before = await first_offer(upstream)
        clock.move((15 * DAY - MINUTES).total_seconds())
        assert (await first_offer(upstream)).material.fingerprint == before.material.fingerprint

    async def test_second_half(self, tmp_path: Path) -> None:
        """In the second half a new one is made under the same root, with its own key and subject, and kept."""
        clock = FakeClock()
        upstream = await start(tmp_path, clock)
        before = (await first_offer(upstream)).material
        clock.move((15 * DAY).total_seconds())
        after = (await first_offer(upstream)).material
        assert after.roots == before.roots
        assert after.certificate.subject != before.certificate.subject
        assert after.certificate.public_key() != before.certificate.public_key()
        assert (await offered(tmp_path, clock)).material.fingerprint == after.fingerprint

    async def test_two_processes(self, tmp_path: Path) -> None:
        """Of two processes over one folder the first renews and the second takes what it made."""
        clock = FakeClock()
        one, two = await start(tmp_path, clock), await start(tmp_path, clock)
        [root] = await roots(one)
        clock.move((15 * DAY).total_seconds())
        first, second = await one.obtain(root), await two.obtain(root)
        assert first.material.fingerprint == second.material.fingerprint
        assert second.material.key.private_numbers() == first.material.key.private_numbers()

    async def test_old_key_goes(self, tmp_path: Path) -> None:
        """The key of the intermediate before is not kept."""
        clock = FakeClock()
        upstream = await start(tmp_path, clock)
        for _ in range(3):
            clock.move((15 * DAY).total_seconds())
            await first_offer(upstream)
        assert len(FileKeyStore(tmp_path / "keys").key_ids()) == 2

    async def test_full_disk(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """An intermediate that cannot be kept is not offered; the old one is, after the disk has room again."""
        clock = FakeClock()
        upstream = await start(tmp_path, clock)
        before = (await first_offer(upstream)).material
        clock.move((15 * DAY).total_seconds())
        monkeypatch.setattr(durable, "replace", _no_space)
        with pytest.raises(Unavailable, match="No space"):
            await first_offer(upstream)
        assert (await offered(tmp_path)).material.fingerprint == before.fingerprint

    async def test_root_key_lost_meanwhile(self, tmp_path: Path) -> None:
        """Without the root's key no new intermediate is made, and the error says which file is missing."""
        clock = FakeClock()
        upstream = await start(tmp_path, clock)
        clock.move((15 * DAY).total_seconds())
        for path in (tmp_path / "keys").iterdir():
            path.unlink()
        with pytest.raises(ConfigError, match=r"keys/.*\.key\.pem"):
            await first_offer(upstream)


async def roots(upstream: SelfSigned) -> list[str]:
    """The ids of all roots, each of which signs."""
    lines = await upstream.lines()
    assert all(line.signs and line.wanted for line in lines)
    return [certificate_id(line.root) for line in lines]


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


class TestKilled:
    """A real process is killed at each point of each act; then a start finds the state before or after it."""

    async def ends(self, folder: Path, deed: str, argument: str = "") -> list[tuple[str, ...]]:
        """The roots that a start finds after each death, with nothing left over; checking finds nothing wrong."""
        found = []
        copies = killed(folder / "data", folder / "copies", deed, argument)
        for copy in copies:
            before = names(copy)
            check(copy)
            assert names(copy) == before
            upstream = await start(copy, FakeClock(DUE))
            certificates = [one for pair in CaFolder(copy).load() for one in (pair.root, pair.intermediate)]
            assert FileKeyStore(copy / "keys").key_ids() == {key_id(one.public_key()) for one in certificates}
            assert list(copy.rglob(".*")) == []
            ids = await roots(upstream)
            for root in ids:
                slot = Slot.prove((await upstream.obtain(root)).material, TRUST_DOMAIN, DUE)
                assert certificate_id(slot.path[-1]) == root
            found.append(tuple(ids))
        return found

    async def test_first_start(self, tmp_path: Path) -> None:
        """A first start ends with one root, whenever the one before was killed."""
        (tmp_path / "data").mkdir(mode=0o700)
        ends = await self.ends(tmp_path, "first_start")
        assert {len(ids) for ids in ends} == {1}
        assert len(ends) > 10

    @pytest.mark.parametrize("same", [False, True], ids=["new-key", "same-key"])
    async def test_make_root(self, tmp_path: Path, same: bool) -> None:  # noqa: FBT001 - a row's part
        """A further root is there whole or not at all."""
        [old] = await roots(await start(tmp_path / "data"))
        ends = await self.ends(tmp_path, "make_root", old if same else "")
        assert [len(ids) for ids in ends] == sorted(len(ids) for ids in ends)
        assert {len(ids) for ids in ends} == {1, 2}
        assert all(old in ids for ids in ends)

    @pytest.mark.parametrize("place", [0, 1])
    async def test_renew(self, tmp_path: Path, place: int) -> None:
        """A new intermediate is there with its key, or the old one still is; no root is lost."""
        upstream = await start(tmp_path / "data")
        await upstream.make_root()
        both = await roots(upstream)
        ends = await self.ends(tmp_path, "renew", both[place])
        assert len(ends) > 3
        assert set(ends) == {tuple(both)}

    @pytest.mark.parametrize("place", [0, 1, 2])
    async def test_forget(self, tmp_path: Path, place: int) -> None:
        """Roots are there with their keys or not at all, wherever their files are."""
        upstream = await start(tmp_path / "data")
        first = await roots(upstream)
        made = [certificate_id((await upstream.make_root()).root) for _ in range(2)]
        keep = [*first, *made][place]
        ends = await self.ends(tmp_path, "forget", keep)
        assert [len(ids) for ids in ends] == sorted((len(ids) for ids in ends), reverse=True)
        assert {len(ids) for ids in ends} == {1, 2, 3}
        assert all(keep in ids for ids in ends)


def _unavailable(*_: object) -> None:
    raise Unavailable("ca_folder", "No space left on device")


def _no_space(*_: object) -> None:
    raise OSError(28, "No space left on device")
