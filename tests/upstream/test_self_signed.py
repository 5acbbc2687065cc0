"""A CA of our own: made once, kept over restarts, renewed at half life, never silently made anew."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from meshca import csr, durable
from meshca.authority.faults import find_faults
from meshca.authority.upstream import Offer
from meshca.config.upstream import SelfSignedConfig
from meshca.errors import ConfigError, Unavailable
from meshca.identity.key_type import KeyType
from meshca.identity.spiffe_id import TrustDomain
from meshca.keystore.file import FileKeyStore
from meshca.upstream import ca_folder, self_signed
from meshca.upstream.self_signed import SelfSigned, open_
from tests.fakes.clock import FakeClock
from tests.fakes.logs import captured_logs
from tests.fakes.pki import DAY, NOW, TRUST_DOMAIN

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
    return await (await start(folder, clock)).obtain()


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
        offer = await (await start(tmp_path, config=config)).obtain()
        assert offer.renew_at == NOW + timedelta(seconds=4)

    async def test_audited(self, tmp_path: Path) -> None:
        """Every CA certificate that we sign is an event in the log, by its serial number."""
        clock = FakeClock()
        with captured_logs() as logs:
            upstream = await start(tmp_path, clock)
            [root] = (first := await upstream.obtain()).material.roots
            clock.move((15 * DAY).total_seconds())
            second = await upstream.obtain()
        expected = [
            ("root", f"{root.serial_number:x}"),
            *(("intermediate", f"{offer.material.certificate.serial_number:x}") for offer in (first, second)),
        ]
        assert [(line["kind"], line["serial"]) for line in logs if line["event"] == "ca.signed"] == expected

    @pytest.mark.parametrize("key_type", list(KeyType))
    async def test_key_types(self, tmp_path: Path, key_type: KeyType) -> None:
        """Root and intermediate are of the configured key type; RSA keys have 3072 bits."""
        offer = await (await start(tmp_path, config=SelfSignedConfig(key_type=key_type))).obtain()
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
        offer = await (await start(tmp_path, config=config)).obtain()
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


class TestCheck:
    """`check`: what would stop a start, without doing anything."""

    def check(self, folder: Path, clock: FakeClock | None = None) -> list[str]:
        """Check, and tell what is below the folder then."""
        keys = FileKeyStore(folder / "keys")
        self_signed.check(
            CONFIG, data_dir=folder, keys=keys, trust_domain=TRUST_DOMAIN, clock=clock or FakeClock()
        )
        return names(folder)

    def test_nothing_there(self, tmp_path: Path) -> None:
        """Before the first start there is nothing to refuse and nothing is made."""
        assert self.check(tmp_path) == []

    async def test_sound(self, tmp_path: Path) -> None:
        """Sound state passes and stays as it is, even when the intermediate is due or a key is left over."""
        await start(tmp_path)
        FileKeyStore(tmp_path / "keys").create(KeyType.EC_P256)
        before = names(tmp_path)
        assert self.check(tmp_path, FakeClock(NOW + 20 * DAY)) == before

    async def test_clock_was_ahead(self, tmp_path: Path) -> None:
        """An intermediate that the start would make anew passes, and is not made anew."""
        await start(tmp_path)
        await offered(tmp_path, FakeClock(NOW + 16 * DAY))
        before = names(tmp_path)
        assert self.check(tmp_path) == before

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
            self.check(tmp_path)


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
        before = await upstream.obtain()
        clock.move((15 * DAY - MINUTES).total_seconds())
        assert (await upstream.obtain()).material.fingerprint == before.material.fingerprint

    async def test_second_half(self, tmp_path: Path) -> None:
        """In the second half a new one is made under the same root, with its own key and subject, and kept."""
        clock = FakeClock()
        upstream = await start(tmp_path, clock)
        before = (await upstream.obtain()).material
        clock.move((15 * DAY).total_seconds())
        after = (await upstream.obtain()).material
        assert after.roots == before.roots
        assert after.certificate.subject != before.certificate.subject
        assert after.certificate.public_key() != before.certificate.public_key()
        assert (await offered(tmp_path, clock)).material.fingerprint == after.fingerprint

    async def test_two_processes(self, tmp_path: Path) -> None:
        """Of two processes over one folder the first renews and the second takes what it made."""
        clock = FakeClock()
        one, two = await start(tmp_path, clock), await start(tmp_path, clock)
        clock.move((15 * DAY).total_seconds())
        first, second = await one.obtain(), await two.obtain()
        assert first.material.fingerprint == second.material.fingerprint
        assert second.material.key.private_numbers() == first.material.key.private_numbers()

    async def test_old_key_goes(self, tmp_path: Path) -> None:
        """The key of the intermediate before is not kept."""
        clock = FakeClock()
        upstream = await start(tmp_path, clock)
        for _ in range(3):
            clock.move((15 * DAY).total_seconds())
            await upstream.obtain()
        assert len(FileKeyStore(tmp_path / "keys").key_ids()) == 2

    async def test_full_disk(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """An intermediate that cannot be kept is not offered; the old one is, after the disk has room again."""
        clock = FakeClock()
        upstream = await start(tmp_path, clock)
        before = (await upstream.obtain()).material
        clock.move((15 * DAY).total_seconds())
        monkeypatch.setattr(durable, "replace", _no_space)
        with pytest.raises(Unavailable, match="No space"):
            await upstream.obtain()
        assert (await offered(tmp_path)).material.fingerprint == before.fingerprint

    async def test_root_key_lost_meanwhile(self, tmp_path: Path) -> None:
        """Without the root's key no new intermediate is made, and the error says which file is missing."""
        clock = FakeClock()
        upstream = await start(tmp_path, clock)
        clock.move((15 * DAY).total_seconds())
        for path in (tmp_path / "keys").iterdir():
            path.unlink()
        with pytest.raises(ConfigError, match=r"keys/.*\.key\.pem"):
            await upstream.obtain()


def _no_space(*_: object) -> None:
    raise OSError(28, "No space left on device")
