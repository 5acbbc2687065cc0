"""A plugged-in CA: which roots there are, and below which is signed, while the folder changes."""

from __future__ import annotations

from pathlib import Path

import pytest

from meshca import durable
from meshca.authority.slot import Slot
from meshca.errors import ConfigError, Refused, Unavailable
from tests.fakes.cacerts import cacerts, write
from tests.fakes.clock import FakeClock
from tests.fakes.pki import DAY, NARROW, NOW, TRUST_DOMAIN, Ca, make_ca, rsa_key
from tests.fakes.upstream import told
from tests.upstream.operators_folder import (
    GOOD,
    NEXT,
    OLD_ROOT,
    OTHER,
    OTHERS,
    ROOT,
    SIGNER,
    UPPER,
    id_of,
    started,
)


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


def _no_space(*_: object) -> None:
    raise OSError(28, "No space left on device")
