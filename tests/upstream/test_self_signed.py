"""A CA of our own: made once, renewed at half its intermediate's life, checked without doing anything."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from meshca import durable
from meshca.authority.faults import find_faults
from meshca.config.upstream import SelfSignedConfig
from meshca.errors import ConfigError, Unavailable
from meshca.identity.key_type import KeyType
from meshca.keystore.file import FileKeyStore
from meshca.public_key import allowed
from meshca.upstream import ca_folder
from tests.fakes.clock import FakeClock
from tests.fakes.logs import captured_logs
from tests.fakes.pki import DAY, NOW, TRUST_DOMAIN
from tests.fakes.upstream import first_offer
from tests.upstream.own_ca import MINUTES, check, names, offered, roots, start


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
        keys = [allowed(certificate.public_key()) for certificate in certificates]
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


def _no_space(*_: object) -> None:
    raise OSError(28, "No space left on device")
