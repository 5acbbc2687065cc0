"""A plugged-in CA: what is refused at the start, all at once, and when a change of the folder is seen."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from meshca.config.upstream import FilesConfig
from meshca.errors import ConfigError
from meshca.upstream.files import Files, check
from meshca.upstream.kept_folder import KeptFolder
from tests.fakes.cacerts import Projected, cacerts, tls, write
from tests.fakes.clock import FakeClock
from tests.fakes.pki import DAY, NOW, TRUST_DOMAIN, ec_key, make_ca, pem_of, rsa_key
from tests.fakes.upstream import first_offer
from tests.upstream.operators_folder import GOOD, NEXT, OLD_ROOT, ROOT, SIGNER, UPPER, id_of, started

SECRET = tls(SIGNER, UPPER, roots=(ROOT, OLD_ROOT))
EXPIRED = make_ca("signer", ROOT, end=NOW)
FUTURE = make_ca("signer", ROOT, begin=NOW + DAY)
LEAF = make_ca("signer", ROOT, constraints=None)


def checked(folder: Path) -> None:
    """Check the folder."""
    config, data_dir = FilesConfig(kind="files", dir=folder), folder.parent / "data"
    check(config, data_dir=data_dir, trust_domain=TRUST_DOMAIN, clock=FakeClock())


@pytest.mark.parametrize(
    "files",
    [
        pytest.param(GOOD, id="cacerts"),
        pytest.param(SECRET, id="tls"),
        pytest.param(cacerts(ROOT, roots=(ROOT,)), id="the-root-signs"),
        pytest.param({**cacerts(ROOT, roots=(ROOT,)), "cert-chain.pem": ""}, id="empty-chain"),
        pytest.param({**GOOD, "cert-chain.pem": UPPER.pem + SIGNER.pem}, id="chain-in-any-order"),
        pytest.param(cacerts(make_ca("signer", ROOT, key=rsa_key()), roots=(ROOT,)), id="rsa"),
        pytest.param({**GOOD, "ca-crl.pem": "not read"}, id="revocation-list"),
    ],
)
async def test_sound(folder: Path, files: dict[str, str]) -> None:
    """Sound folders in either layout are taken."""
    write(folder, files)
    offer = await first_offer(await started(folder))
    assert offer.renew_at is None
    assert offer.material.key.public_key() == offer.material.certificate.public_key()


async def test_roots(folder: Path) -> None:
    """All roots of the folder are taken, in their order."""
    write(folder, GOOD)
    offer = await first_offer(await started(folder))
    assert offer.material.roots == (ROOT.certificate, OLD_ROOT.certificate)


@pytest.mark.parametrize(
    ("files", "problem"),
    [
        *[
            pytest.param(
                {k: v for k, v in GOOD.items() if k != name}, f"{name}: cannot be read", id=f"without-{name}"
            )
            for name in GOOD
        ],
        *[pytest.param({**GOOD, name: "damaged"}, f"{name}: expected one", id=f"damaged-{name}") for name in GOOD],
        *[
            pytest.param(
                {k: v for k, v in SECRET.items() if k != name}, f"{name}: cannot be read", id=f"without-{name}"
            )
            for name in ("tls.key", "ca.crt")
        ],
        pytest.param({**GOOD, "root-cert.pem": ""}, "root-cert.pem: expected one", id="empty-roots"),
        pytest.param({**GOOD, "ca-key.pem": pem_of(ec_key())}, "private key is not its own", id="key-of-another"),
        pytest.param(
            {**GOOD, "ca-key.pem": pem_of(SIGNER.key, b"word")},
            "ca-key.pem: the private key is encr",
            id="encrypted",
        ),
        pytest.param(
            {**GOOD, "ca-cert.pem": UPPER.pem}, "private key is not its own", id="certificate-of-another"
        ),
        pytest.param({**GOOD, "cert-chain.pem": ""}, "no chain of signatures", id="chain-missing"),
        pytest.param({**GOOD, "root-cert.pem": OLD_ROOT.pem}, "no chain of signatures", id="another-root"),
        pytest.param(cacerts(EXPIRED, roots=(ROOT,)), "expired at", id="expired"),
        pytest.param(cacerts(FUTURE, roots=(ROOT,)), "not valid before", id="not-yet-valid"),
        pytest.param(cacerts(LEAF, roots=(ROOT,)), "not a CA", id="not-a-ca"),
    ],
)
async def test_refused_at_start(folder: Path, files: dict[str, str], problem: str) -> None:
    """An incomplete, mismatched, expired or non-CA set stops the start, naming file or certificate."""
    write(folder, files)
    with pytest.raises(ConfigError) as refused:
        await started(folder)
    assert any(problem in line for line in refused.value.problems), refused.value.problems


async def test_all_at_once(folder: Path) -> None:
    """Faults of several files and of their contents are listed together."""
    bad = make_ca("signer", ROOT, end=NOW, constraints=None)
    write(folder, {"ca-cert.pem": bad.pem, "ca-key.pem": "damaged", "root-cert.pem": ROOT.pem})
    with pytest.raises(ConfigError) as refused:
        await started(folder)
    found = "\n".join(refused.value.problems)
    assert all(part in found for part in ("cert-chain.pem", "ca-key.pem", "expired", "not a CA")), found


async def test_open_key(folder: Path) -> None:
    """A key that everyone can read stops the start."""
    write(folder, GOOD)
    (folder / "ca-key.pem").chmod(0o644)
    with pytest.raises(ConfigError, match="chmod 600"):
        await started(folder)


async def test_no_part_of_a_key_is_told(folder: Path) -> None:
    """A damaged key does not appear in the error."""
    write(folder, {**GOOD, "ca-key.pem": GOOD["ca-key.pem"].replace("M", "N")})
    with pytest.raises(ConfigError) as refused:
        await started(folder)
    assert GOOD["ca-key.pem"].splitlines()[2] not in str(refused.value)


async def until_changed(folder: Path, change: Callable[[], object], seconds: float) -> bool:
    """Whether a change is seen within so many seconds of the fake clock."""
    clock = FakeClock()
    files = await started(folder, clock)
    task = asyncio.create_task(files.changed())
    await clock.advance(10)
    assert not task.done()
    change()
    await clock.advance(seconds)
    seen = task.done()
    task.cancel()
    return seen


class TestChanged:
    """`changed`: polling, by content."""

    async def test_files_written(self, folder: Path) -> None:
        """Files that were written over are seen within a second, once they are at rest."""
        write(folder, GOOD)
        assert await until_changed(folder, lambda: write(folder, NEXT), 0.75)

    async def test_volume_swapped(self, folder: Path) -> None:
        """A swapped volume is seen at the next look."""
        volume = Projected(folder / "v")
        volume.swap(GOOD)
        assert await until_changed(volume.folder, lambda: volume.swap(NEXT), 0.25)

    async def test_volume_swapped_again(self, folder: Path) -> None:
        """The second and later swaps are seen too (istio #44824)."""
        volume = Projected(folder / "v")
        volume.swap(GOOD)
        for files in (NEXT, GOOD, NEXT):
            assert await until_changed(volume.folder, partial(volume.swap, files), 0.25)

    async def test_same_contents(self, folder: Path) -> None:
        """A swap to the same contents is no change."""
        volume = Projected(folder / "v")
        volume.swap(GOOD)
        assert not await until_changed(volume.folder, lambda: volume.swap(GOOD), 10)

    async def test_file_gone(self, folder: Path) -> None:
        """A file that is gone is a change, which `obtain` then refuses."""
        write(folder, GOOD)
        assert await until_changed(folder, (folder / "ca-key.pem").unlink, 1)

    async def test_another_looks(self, folder: Path) -> None:
        """What somebody else has read meanwhile is a change all the same, before and while it is watched for."""
        write(folder, GOOD)
        for watched in (False, True):
            clock = FakeClock()
            files = await started(folder, clock)
            task = asyncio.create_task(files.changed())
            if watched:
                await clock.advance(10)
            write(folder, NEXT)
            await files.lines()
            await clock.advance(1)
            assert task.done()
            write(folder, GOOD)

    async def test_still_being_written(self, folder: Path) -> None:
        """Files that change from look to look are left until they are at rest."""
        write(folder, GOOD)
        clock = FakeClock()
        files = await started(folder, clock)
        task = asyncio.create_task(files.changed())
        for count in range(8):
            (folder / "cert-chain.pem").write_text("#" * count)
            await clock.advance(0.25)
        assert not task.done()
        await clock.advance(0.5)
        assert task.done()

    async def test_after_a_refusal(self, folder: Path) -> None:
        """After a bad state was refused, only a new change counts, and it does."""
        write(folder, {**GOOD, "ca-key.pem": "damaged"})
        clock = FakeClock()
        files = Files(folder, KeptFolder(folder.parent / "data"), TRUST_DOMAIN, clock)
        with pytest.raises(ConfigError):
            await files.lines()
        task = asyncio.create_task(files.changed())
        await clock.advance(10)
        assert not task.done()
        write(folder, GOOD)
        await clock.advance(1)
        assert task.done()

    async def test_only_lines_count(self, folder: Path) -> None:
        """A change that `obtain` has seen, and `lines` not, is still told."""
        write(folder, GOOD)
        clock = FakeClock()
        files = await started(folder, clock)
        write(folder, NEXT)
        await files.obtain(id_of(ROOT))
        task = asyncio.create_task(files.changed())
        await clock.advance(1)
        assert task.done()


class TestCheck:
    """`check`: what is wrong, without keeping anything."""

    def test_good(self, folder: Path) -> None:
        """A sound folder passes, and nothing is kept."""
        write(folder, GOOD)
        checked(folder)
        assert not (folder.parent / "data").exists()

    async def test_bad(self, folder: Path) -> None:
        """A bad folder is told, although what is kept would go on."""
        write(folder, GOOD)
        await started(folder)
        write(folder, {})
        with pytest.raises(ConfigError, match=r"ca-cert\.pem"):
            checked(folder)
