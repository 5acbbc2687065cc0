"""What an operator changes in the mount, and which of its roots count."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from meshca.authority.material import certificate_id
from meshca.errors import ConfigError, Unavailable
from meshca.upstream.sound_root import root_of
from meshca.upstream.vault.faults import Fault, failure
from tests.fakes.pki import DAY, NOW, Ca, make_ca
from tests.fakes.vault import SIGN
from tests.fakes.vault_rig import (
    HOUR,
    LIFE,
    ON_FIRST_USE,
    ONE,
    OTHER,
    ROOT,
    SECOND_UPPER,
    TWO,
    UPPER,
    Rig,
    lose,
    told,
    turn,
)


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    """Where nothing was started yet."""
    return Rig(tmp_path)


class TestIssuers:
    """What an operator changes in the mount."""

    async def test_another_below_the_same_root(self, rig: Rig) -> None:
        """Another default issuer below the same root signs at once, and once."""
        rig.vault.issuers = [(UPPER, ROOT), (SECOND_UPPER, ROOT)]
        upstream = rig.open()
        assert UPPER.certificate in (await turn(upstream)).material.others
        rig.vault.default = 1
        for _ in range(2):
            assert SECOND_UPPER.certificate in (await turn(upstream)).material.others
        assert rig.vault.signed == 2

    async def test_another_that_refuses(self, rig: Rig) -> None:
        """While it refuses, what the former one has signed goes on and why is told."""
        rig.vault.issuers = [(UPPER, ROOT), (SECOND_UPPER, ROOT)]
        upstream = rig.open()
        first = await turn(upstream)
        rig.vault.default = 1
        rig.vault.errors[SIGN] = failure(Fault.BAD_REQUEST)
        assert (await turn(upstream)).material.fingerprint == first.material.fingerprint
        assert upstream.problem is not None
        assert upstream.problem.reason == "vault_bad_request"

    async def test_another_root(self, rig: Rig) -> None:
        """A default below another root is a line that signs, while what is below the first goes on unchanged."""
        upstream = rig.open()
        first = await turn(upstream)
        rig.vault.issuers, rig.vault.default = [(ROOT,), (OTHER,)], 1
        assert told(await upstream.lines()) == {ONE: (True, True, False), TWO: (True, True, True)}
        assert (await upstream.obtain(ONE)).material.fingerprint == first.material.fingerprint
        assert root_of((await upstream.obtain(TWO)).material) == OTHER.certificate

    async def test_a_root_that_does_not_sign_yet(self, rig: Rig) -> None:
        """A root that appears in the mount is a line before anything below it signs."""
        rig.vault.issuers = [(ROOT,), (OTHER,)]
        assert told(await rig.open().lines()) == {ONE: (True, True, True), TWO: (False, True, False)}
        assert rig.vault.signed == 1

    async def test_former_default_at_half_life(self, rig: Rig) -> None:
        """No issuer but the configured one is asked, not even below another root that counts; that is told."""
        rig.vault.issuers = [(ROOT,), (OTHER,)]
        upstream = rig.open()
        first = await turn(upstream)
        rig.vault.default = 1
        rig.clock.move((LIFE / 2).total_seconds() + HOUR)
        assert (await turn(upstream)).material.fingerprint == first.material.fingerprint
        assert isinstance(upstream.problem, ConfigError)
        assert {path for path in rig.vault.calls if path.endswith("/sign-intermediate")} == {SIGN}

    async def test_root_is_gone(self, rig: Rig) -> None:
        """A root that is no longer in the mount is not wanted, and what is kept below it signs on."""
        upstream = rig.open()
        first = await turn(upstream)
        rig.vault.issuers = [(OTHER,)]
        assert told(await upstream.lines()) == {ONE: (True, False, False), TWO: (True, True, True)}
        rig.clock.move((LIFE / 2).total_seconds() + HOUR)
        assert (await upstream.obtain(ONE)).material.fingerprint == first.material.fingerprint
        assert isinstance(upstream.problem, ConfigError)

    async def test_below_no_root(self, rig: Rig) -> None:
        """Below a root that is not in the mount nothing is signed, and it is not asked."""
        upstream = rig.open()
        await upstream.lines()
        with pytest.raises(ConfigError, match="it does not sign below the root"):
            await upstream.obtain("f" * 64)
        assert rig.vault.signed == 1


def reissued(issuer: Ca, **changes: Any) -> Ca:
    """Another certificate of the same name and key."""
    return make_ca("upper", ROOT, key=issuer.key, **changes)


async def test_issuer_is_reissued(rig: Rig) -> None:
    """When the issuer has a longer certificate of the same key, another is asked for at half life, and once."""
    brief = make_ca("upper", ROOT, end=NOW + 10 * DAY)
    rig.vault.issuers = [(brief, ROOT)]
    upstream = rig.open()
    first = await turn(upstream)
    assert first.renew_at is None
    rig.vault.issuers = [(reissued(brief), ROOT)]
    rig.clock.move(DAY.total_seconds())
    same = await turn(upstream)
    assert same.material.fingerprint == first.material.fingerprint
    assert same.renew_at is not None
    rig.clock.move(5 * DAY.total_seconds())
    second = await turn(upstream)
    assert second.material.certificate.not_valid_after_utc > brief.certificate.not_valid_after_utc
    assert (await turn(upstream)).material.fingerprint == second.material.fingerprint


class TestTrust:
    """Which roots count."""

    async def test_not_pinned(self, rig: Rig) -> None:
        """Below a root that is not pinned nothing is signed."""
        with pytest.raises(Unavailable, match="vault_root_unpinned"):
            await rig.open({"sha256": [TWO]}).lines()
        assert rig.vault.signed == 0

    async def test_jump_to_a_root_that_is_not_pinned(self, rig: Rig) -> None:
        """When the default is below one that is not pinned, that is told and what is kept signs on."""
        upstream = rig.open({"sha256": [ONE]})
        await upstream.lines()
        rig.vault.issuers = [(OTHER,)]
        assert told(await upstream.lines()) == {ONE: (True, False, True)}
        assert upstream.problem is not None
        assert upstream.problem.reason == "vault_root_unpinned"

    @pytest.mark.parametrize("pinned_by", ["sha256", "file"])
    async def test_pinned_no_more_while_away(self, rig: Rig, tmp_path: Path, pinned_by: str) -> None:
        """A root that is taken out of the pins while Vault is away is not wanted, after a restart too."""
        rig.vault.issuers = [(ROOT,), (OTHER,)]

        def pins(*roots: Ca) -> dict[str, Any]:
            (tmp_path / "roots.pem").write_text("".join(root.pem for root in roots))
            ids = [certificate_id(root.certificate) for root in roots]
            return {"sha256": ids} if pinned_by == "sha256" else {"file": str(tmp_path / "roots.pem")}

        await rig.open(pins(ROOT, OTHER)).lines()
        rig.vault.error = failure(Fault.SEALED)
        assert told(await rig.open(pins(ROOT, OTHER)).lines()) == {
            ONE: (True, True, True),
            TWO: (False, True, False),
        }
        assert told(await rig.open(pins(ROOT)).lines()) == {ONE: (True, True, True)}

    async def test_pins_cannot_be_read_while_away(self, rig: Rig, tmp_path: Path) -> None:
        """Then the roots that counted last go on, and why Vault is away is told."""
        path = tmp_path / "roots.pem"
        path.write_text(ROOT.pem)
        upstream = rig.open({"file": str(path)})
        await upstream.lines()
        path.unlink()
        rig.vault.error = failure(Fault.SEALED)
        assert told(await upstream.lines()) == {ONE: (True, True, True)}
        assert upstream.problem is not None
        assert upstream.problem.reason == "vault_sealed"

    async def test_first_use(self, rig: Rig) -> None:
        """Accepted on first use, the first root is kept to, after a restart too."""
        await rig.open(ON_FIRST_USE).lines()
        rig.vault.issuers = [(OTHER,)]
        again = rig.open(ON_FIRST_USE)
        assert told(await again.lines()) == {ONE: (True, True, True)}
        assert again.problem is not None
        assert again.problem.reason == "vault_root_unpinned"
        assert rig.vault.signed == 1

    @pytest.mark.parametrize("content", [None, "damaged"])
    async def test_first_use_is_lost(self, rig: Rig, content: str | None) -> None:
        """When the list of roots is lost, that of what is kept counts: no other is taken for the first."""
        await rig.open(ON_FIRST_USE).lines()
        lose(rig.folder / "vault/named.pem", content)
        rig.vault.issuers = [(OTHER,)]
        again = rig.open(ON_FIRST_USE)
        assert told(await again.lines()) == {ONE: (True, True, True)}
        assert rig.vault.signed == 1

    async def test_first_use_is_damaged(self, rig: Rig) -> None:
        """When nothing is left but a damaged list, nothing is accepted until it is mended; it is told."""
        await rig.open(ON_FIRST_USE).lines()
        lose(rig.folder / "vault/named.pem", "damaged")
        lose(rig.folder / f"vault/{ONE[:16]}.json", None)
        rig.vault.issuers = [(OTHER,)]
        with pytest.raises(ConfigError, match=r"named\.pem"):
            await rig.open(ON_FIRST_USE).lines()
        assert rig.vault.signed == 1

    async def test_first_use_has_expired(self, rig: Rig) -> None:
        """When the first root has expired another is not accepted in its place."""
        first = make_ca("brief root", end=NOW + DAY)
        rig.vault.issuers = [(first,)]
        upstream = rig.open(ON_FIRST_USE)
        await upstream.lines()
        lose(rig.folder / f"vault/{certificate_id(first.certificate)[:16]}.json", None)
        rig.clock.move(2 * DAY.total_seconds())
        rig.vault.issuers = [(OTHER,)]
        for _ in range(2):
            with pytest.raises(Unavailable, match="vault_root_unpinned"):
                await upstream.lines()
