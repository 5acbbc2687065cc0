"""A plugged-in CA: what is refused at the start, all at once, and how fast a change is seen."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from meshca.config.upstream import FilesConfig
from meshca.errors import ConfigError
from meshca.upstream.files import Files, open_
from tests.fakes.cacerts import Projected, cacerts, tls, write
from tests.fakes.clock import FakeClock
from tests.fakes.pki import DAY, NOW, TRUST_DOMAIN, ec_key, make_ca, pem_of, rsa_key

ROOT = make_ca("root")
OLD_ROOT = make_ca("old root")
UPPER = make_ca("upper", ROOT)
SIGNER = make_ca("signer", UPPER)
GOOD = cacerts(SIGNER, UPPER, roots=(ROOT, OLD_ROOT))
NEXT = cacerts(make_ca("next signer", ROOT), roots=(ROOT, OLD_ROOT))
SECRET = tls(SIGNER, UPPER, roots=(ROOT, OLD_ROOT))
EXPIRED = make_ca("signer", ROOT, end=NOW)
FUTURE = make_ca("signer", ROOT, begin=NOW + DAY)
LEAF = make_ca("signer", ROOT, constraints=None)


async def started(folder: Path) -> Files:
    """The upstream over a folder, as `open_` gives it."""
    async with open_(FilesConfig(kind="files", dir=folder), trust_domain=TRUST_DOMAIN, clock=FakeClock()) as files:
        return files


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
async def test_sound(tmp_path: Path, files: dict[str, str]) -> None:
    """Sound folders in either layout are taken."""
    write(tmp_path, files)
    offer = await (await started(tmp_path)).obtain()
    assert offer.renew_at is None
    assert offer.material.key.public_key() == offer.material.certificate.public_key()


async def test_roots(tmp_path: Path) -> None:
    """All roots of the folder are taken, in their order."""
    write(tmp_path, GOOD)
    offer = await (await started(tmp_path)).obtain()
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
async def test_refused_at_start(tmp_path: Path, files: dict[str, str], problem: str) -> None:
    """An incomplete, mismatched, expired or non-CA set stops the start, naming file or certificate."""
    write(tmp_path, files)
    with pytest.raises(ConfigError) as refused:
        await started(tmp_path)
    assert any(problem in line for line in refused.value.problems), refused.value.problems


async def test_all_at_once(tmp_path: Path) -> None:
    """Faults of several files and of their contents are listed together."""
    bad = make_ca("signer", ROOT, end=NOW, constraints=None)
    write(tmp_path, {"ca-cert.pem": bad.pem, "ca-key.pem": "damaged", "root-cert.pem": ROOT.pem})
    with pytest.raises(ConfigError) as refused:
        await started(tmp_path)
    found = "\n".join(refused.value.problems)
    assert all(part in found for part in ("cert-chain.pem", "ca-key.pem", "expired", "not a CA")), found


async def test_open_key(tmp_path: Path) -> None:
    """A key that everyone can read stops the start."""
    write(tmp_path, GOOD)
    (tmp_path / "ca-key.pem").chmod(0o644)
    with pytest.raises(ConfigError, match="chmod 600"):
        await started(tmp_path)


async def test_no_part_of_a_key_is_told(tmp_path: Path) -> None:
    """A damaged key does not appear in the error."""
    write(tmp_path, {**GOOD, "ca-key.pem": GOOD["ca-key.pem"].replace("M", "N")})
    with pytest.raises(ConfigError) as refused:
        await started(tmp_path)
    assert GOOD["ca-key.pem"].splitlines()[2] not in str(refused.value)


async def until_changed(folder: Path, change: Callable[[], object], seconds: float) -> bool:
    """Whether a change is seen within so many seconds of the fake clock."""
    clock = FakeClock()
    files = Files(folder, TRUST_DOMAIN, clock)
    await files.obtain()
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

    async def test_files_written(self, tmp_path: Path) -> None:
        """Files that were written over are seen within a second, once they are at rest."""
        write(tmp_path, GOOD)
        assert await until_changed(tmp_path, lambda: write(tmp_path, NEXT), 0.75)

    async def test_volume_swapped(self, tmp_path: Path) -> None:
        """A swapped volume is seen at the next look."""
        volume = Projected(tmp_path / "v")
        volume.swap(GOOD)
        assert await until_changed(volume.folder, lambda: volume.swap(NEXT), 0.25)

    async def test_volume_swapped_again(self, tmp_path: Path) -> None:
        """The second and later swaps are seen too (istio #44824)."""
        volume = Projected(tmp_path / "v")
        volume.swap(GOOD)
        for files in (NEXT, GOOD, NEXT):
            assert await until_changed(volume.folder, partial(volume.swap, files), 0.25)

    async def test_same_contents(self, tmp_path: Path) -> None:
        """A swap to the same contents is no change."""
        volume = Projected(tmp_path / "v")
        volume.swap(GOOD)
        assert not await until_changed(volume.folder, lambda: volume.swap(GOOD), 10)

    async def test_file_gone(self, tmp_path: Path) -> None:
        """A file that is gone is a change, which `obtain` then refuses."""
        write(tmp_path, GOOD)
        assert await until_changed(tmp_path, (tmp_path / "ca-key.pem").unlink, 1)

    async def test_still_being_written(self, tmp_path: Path) -> None:
        """Files that change from look to look are left until they are at rest."""
        write(tmp_path, GOOD)
        clock = FakeClock()
        files = Files(tmp_path, TRUST_DOMAIN, clock)
        await files.obtain()
        task = asyncio.create_task(files.changed())
        for count in range(8):
            (tmp_path / "cert-chain.pem").write_text("#" * count)
            await clock.advance(0.25)
        assert not task.done()
        await clock.advance(0.5)
        assert task.done()

    async def test_after_a_refusal(self, tmp_path: Path) -> None:
        """After a bad state was refused, only a new change counts, and it does."""
        write(tmp_path, {**GOOD, "ca-key.pem": "damaged"})
        clock = FakeClock()
        files = Files(tmp_path, TRUST_DOMAIN, clock)
        with pytest.raises(ConfigError):
            await files.obtain()
        task = asyncio.create_task(files.changed())
        await clock.advance(10)
        assert not task.done()
        write(tmp_path, GOOD)
        await clock.advance(1)
        assert task.done()
