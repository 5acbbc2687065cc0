"""A plugged-in CA: what is refused at the start, all at once, and how fast a change is seen."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from meshca import durable
from meshca.authority.material import certificate_id
from meshca.authority.slot import Slot
from meshca.config.upstream import FilesConfig
from meshca.errors import ConfigError, InvariantBroken, Refused, Unavailable
from meshca.upstream.files import Files, check, open_
from meshca.upstream.kept_folder import KeptFolder
from tests.fakes.cacerts import Projected, cacerts, tls, write
from tests.fakes.clock import FakeClock
from tests.fakes.logs import captured_logs
from tests.fakes.pki import DAY, NARROW, NOW, TRUST_DOMAIN, Ca, ec_key, make_ca, pem_of, rsa_key
from tests.fakes.upstream import first_offer
from tests.upstream.dying import killed

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


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where an operator puts a CA."""
    made = tmp_path / "ca"
    made.mkdir(mode=0o700)
    return made


async def started(folder: Path, clock: FakeClock | None = None) -> Files:
    """The upstream over a folder, as `open_` gives it; its data directory is `data` beside that."""
    config, data_dir = FilesConfig(kind="files", dir=folder), folder.parent / "data"
    async with open_(config, data_dir=data_dir, trust_domain=TRUST_DOMAIN, clock=clock or FakeClock()) as files:
        return files


def checked(folder: Path) -> None:
    """Check the folder."""
    config, data_dir = FilesConfig(kind="files", dir=folder), folder.parent / "data"
    check(config, data_dir=data_dir, trust_domain=TRUST_DOMAIN, clock=FakeClock())


def id_of(ca: Ca) -> str:
    """What a root is called."""
    return certificate_id(ca.certificate)


def held(folder: Path) -> dict[str, str]:
    """All files of a folder."""
    return {path.name: path.read_text() for path in folder.iterdir()}


async def told(files: Files) -> list[tuple[str, bool, bool]]:
    """The lines: subject, whether it signs, whether it is wanted."""
    return [
        (line.root.subject.rfc4514_string().removeprefix("CN="), line.signs, line.wanted)
        for line in await files.lines()
    ]


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


OTHER = make_ca("other root", begin=NOW)
OTHERS = make_ca("other signer", OTHER)


class TestLines:
    """Which roots there are, and below which is signed."""

    async def test_named(self, folder: Path) -> None:
        """The root above the signing certificate signs, every other root of the root file is only named."""
        write(folder, GOOD)
        assert await told(await started(folder)) == [("root", True, True), ("old root", False, True)]

    async def test_another_root_plugged_in(self, folder: Path) -> None:
        """After the folder moved to another root, the old line still signs; it is wanted while it is named."""
        write(folder, cacerts(SIGNER, UPPER, roots=(ROOT,)))
        files = await started(folder)
        write(folder, cacerts(OTHERS, roots=(OTHER, ROOT)))
        assert await told(files) == [("root", True, True), ("other root", True, True)]
        write(folder, cacerts(OTHERS, roots=(OTHER,)))
        assert await told(files) == [("root", True, False), ("other root", True, True)]
        assert (await files.obtain(id_of(ROOT))).material.certificate == SIGNER.certificate
        assert (await files.obtain(id_of(OTHER))).material.certificate == OTHERS.certificate

    async def test_current(self, folder: Path) -> None:
        """The line of the folder's own signer is the current one, not one that is kept; in a bad one none is."""
        write(folder, cacerts(SIGNER, UPPER, roots=(ROOT,)))
        files = await started(folder)
        write(folder, cacerts(OTHERS, roots=(OTHER, ROOT)))
        assert [line.current for line in await files.lines()] == [False, True]
        write(folder, {})
        assert [line.current for line in await files.lines()] == [False, False]

    async def test_restart(self, folder: Path) -> None:
        """A restart has the same lines and offers the same."""
        write(folder, cacerts(SIGNER, UPPER, roots=(ROOT,)))
        await started(folder)
        write(folder, cacerts(OTHERS, roots=(OTHER,)))
        await started(folder)
        files = await started(folder)
        assert await told(files) == [("root", True, False), ("other root", True, True)]
        offer = await files.obtain(id_of(ROOT))
        assert offer.material.key.private_numbers() == SIGNER.key.private_numbers()
        assert Slot.prove(offer.material, TRUST_DOMAIN, NOW).path[-1] == ROOT.certificate

    async def test_new_intermediate(self, folder: Path) -> None:
        """An intermediate that is replaced below the same root is new material of the same line at once."""
        write(folder, GOOD)
        files = await started(folder)
        write(folder, NEXT)
        assert (await files.obtain(id_of(ROOT))).material.certificate.subject.rfc4514_string() == "CN=next signer"
        write(folder, {})
        again = await started(folder)
        assert (await again.obtain(id_of(ROOT))).material.certificate.subject.rfc4514_string() == "CN=next signer"

    @pytest.mark.parametrize("files", [{}, {**GOOD, "ca-key.pem": "damaged"}], ids=["empty", "damaged"])
    async def test_bad_folder(self, folder: Path, files: dict[str, str]) -> None:
        """A bad folder hides nothing: what it named last is there, signs as before, and the problem is told."""
        write(folder, GOOD)
        upstream = await started(folder)
        before = await told(upstream)
        write(folder, files)
        assert await told(upstream) == before
        assert upstream.problem is not None
        assert any("ca-key.pem" in line for line in upstream.problem.problems)
        assert (await upstream.obtain(id_of(ROOT))).material.certificate == SIGNER.certificate

    async def test_restart_over_a_bad_folder(self, folder: Path) -> None:
        """A restart over a bad folder goes on with what is kept, and tells the problem."""
        write(folder, GOOD)
        await started(folder)
        write(folder, {})
        upstream = await started(folder)
        assert await told(upstream) == [("root", True, True), ("old root", False, True)]
        assert upstream.problem is not None

    async def test_mended(self, folder: Path) -> None:
        """Once the folder is good again there is no problem any more."""
        write(folder, GOOD)
        upstream = await started(folder)
        write(folder, {})
        await upstream.lines()
        write(folder, NEXT)
        await upstream.lines()
        assert upstream.problem is None

    async def test_kept_has_expired(self, folder: Path) -> None:
        """What is kept and has expired is a line that signs nothing; asked for, it says so."""
        write(folder, cacerts(make_ca("short", ROOT, end=NOW + DAY), roots=(ROOT,)))
        clock = FakeClock()
        upstream = await started(folder, clock)
        write(folder, cacerts(OTHERS, roots=(OTHER,)))
        await upstream.lines()
        clock.move((2 * DAY).total_seconds())
        assert await told(upstream) == [("root", False, False), ("other root", True, True)]
        with pytest.raises(ConfigError, match="expired at"):
            await upstream.obtain(id_of(ROOT))

    async def test_nothing_signs_any_more(self, folder: Path) -> None:
        """When all has expired, `lines` says so."""
        write(folder, cacerts(make_ca("short", ROOT, end=NOW + DAY), roots=(ROOT,)))
        clock = FakeClock()
        upstream = await started(folder, clock)
        clock.move((2 * DAY).total_seconds())
        with pytest.raises(ConfigError, match="expired at"):
            await upstream.lines()

    async def test_only_named(self, folder: Path) -> None:
        """Nothing signs below a root that is only named; it says where to put what would."""
        write(folder, GOOD)
        with pytest.raises(ConfigError, match=f"nothing signs below the root {id_of(OLD_ROOT)}; put a signing"):
            await (await started(folder)).obtain(id_of(OLD_ROOT))

    async def test_cannot_be_kept(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """What cannot be kept is not offered."""
        write(folder, GOOD)
        upstream = await started(folder)
        write(folder, NEXT)
        monkeypatch.setattr(durable, "replace", _no_space)
        for ask in (upstream.lines(), upstream.obtain(id_of(ROOT))):
            with pytest.raises(Unavailable, match="No space"):
                await ask

    async def test_full_disk_and_nothing_new(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A full disk does not stop what is kept already."""
        write(folder, GOOD)
        upstream = await started(folder)
        monkeypatch.setattr(durable, "replace", _no_space)
        await upstream.lines()
        await upstream.obtain(id_of(ROOT))


@pytest.mark.parametrize(
    ("root", "problem"),
    [
        pytest.param(make_ca("next root", end=NOW), "expired at", id="expired"),
        pytest.param(make_ca("next root", constraints=None), "a root but not a CA", id="not-a-ca"),
        pytest.param(make_ca("next root", key=rsa_key(1024)), "too weak, or not known", id="weak"),
        pytest.param(make_ca("root"), f"another key (sha256 {id_of(ROOT)})", id="subject-in-use"),
        pytest.param(
            make_ca("next root", extra=[NARROW]), "a trial certificate does not verify", id="no-trial-leaf"
        ),
    ],
)
async def test_bad_new_root(folder: Path, root: Ca, problem: str) -> None:
    """A new root that is unsound is refused before anything changes: it is no line, and nothing of it is kept."""
    write(folder, GOOD)
    upstream = await started(folder)
    before, kept = await told(upstream), sorted((folder.parent / "data").rglob("*"))
    write(folder, cacerts(make_ca("next", root), roots=(root,)))
    assert await told(upstream) == before
    assert upstream.problem is not None
    assert any(problem in line for line in upstream.problem.problems), upstream.problem.problems
    assert sorted((folder.parent / "data").rglob("*")) == kept
    with pytest.raises(ConfigError, match="nothing signs below the root"):
        await upstream.obtain(id_of(root))


async def test_roots_are_not_made(folder: Path) -> None:
    """Asked to make a root it says where to put one."""
    write(folder, GOOD)
    with pytest.raises(
        Refused, match=f"put a signing certificate .* into {folder}, and name both roots"
    ) as refused:
        await (await started(folder)).make_root()
    assert refused.value.reason == "upstream"


class TestForget:
    """What goes, and what stays."""

    async def test_old_line(self, folder: Path) -> None:
        """What is kept below a root that is not wanted any more goes; the folder is left as it is."""
        write(folder, GOOD)
        upstream = await started(folder)
        files = cacerts(OTHERS, roots=(OTHER,))
        write(folder, files)
        await upstream.lines()
        with captured_logs() as logs:
            await upstream.forget({id_of(OTHER)})
        assert await told(upstream) == [("other root", True, True)]
        assert held(folder) == files
        assert [(line["event"], line["sha256"]) for line in logs] == [("ca.forgotten", id_of(ROOT)[:16])]

    async def test_plugged_in_stays(self, folder: Path) -> None:
        """The operator's line stays, and stays kept, though it is not among those to be kept."""
        write(folder, cacerts(SIGNER, UPPER, roots=(ROOT,)))
        upstream = await started(folder)
        write(folder, cacerts(OTHERS, roots=(OTHER,)))
        await upstream.lines()
        await upstream.forget({id_of(ROOT)})
        write(folder, {})
        assert await told(upstream) == [("root", True, False), ("other root", True, True)]

    async def test_never_the_last(self, folder: Path) -> None:
        """Asked to keep none that signs, it keeps all."""
        write(folder, GOOD)
        upstream = await started(folder)
        before = sorted((folder.parent / "data").rglob("*"))
        with pytest.raises(InvariantBroken) as refused:
            await upstream.forget({id_of(OLD_ROOT)})
        assert (refused.value.reason, sorted((folder.parent / "data").rglob("*"))) == ("forget", before)


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


class TestKilled:
    """A real process is killed at each point; then a start finds the state before or after, and nothing half."""

    async def ends(self, tmp_path: Path, deed: str, argument: str) -> list[tuple[str, ...]]:
        """The roots that sign, after each death."""
        found, empty = [], tmp_path / "empty"
        empty.mkdir()
        for copy in killed(tmp_path / "data", tmp_path / "copies", deed, argument):
            config = FilesConfig(kind="files", dir=empty)
            async with open_(config, data_dir=copy, trust_domain=TRUST_DOMAIN, clock=FakeClock()) as files:
                lines = await told(files)
            assert list(copy.rglob(".*")) == []
            found.append(tuple(name for name, signs, _ in lines if signs))
        return found

    async def test_keep(self, folder: Path, tmp_path: Path) -> None:
        """A new line is kept whole or not at all, and the old one always."""
        write(folder, cacerts(SIGNER, UPPER, roots=(ROOT,)))
        await started(folder)
        write(folder, cacerts(OTHERS, roots=(OTHER,)))
        ends = await self.ends(tmp_path, "keep", str(folder))
        assert set(ends) == {("root",), ("root", "other root")}

    async def test_forget(self, folder: Path, tmp_path: Path) -> None:
        """A line that is forgotten is there whole or not at all, and the other always."""
        write(folder, cacerts(SIGNER, UPPER, roots=(ROOT,)))
        await started(folder)
        write(folder, cacerts(OTHERS, roots=(OTHER,)))
        await started(folder)
        ends = await self.ends(tmp_path, "forget_kept", f"{folder}:{id_of(OTHER)}")
        assert set(ends) == {("root", "other root"), ("other root",)}


def _no_space(*_: object) -> None:
    raise OSError(28, "No space left on device")
