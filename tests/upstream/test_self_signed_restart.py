"""A CA of our own that starts again: what is kept, what is lost and said, what is never overwritten."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from meshca.authority.faults import find_faults
from meshca.config.upstream import SelfSignedConfig
from meshca.errors import ConfigError
from meshca.identity.spiffe_id import TrustDomain
from meshca.keystore.file import FileKeyStore
from tests.fakes.clock import FakeClock
from tests.fakes.pki import DAY, NOW, TRUST_DOMAIN
from tests.upstream.own_ca import MINUTES, names, offered, start


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
