"""A CA of our own whose process is killed at each point of each act."""

from __future__ import annotations

from pathlib import Path

import pytest

from meshca.authority.keys import key_id
from meshca.authority.material import certificate_id
from meshca.authority.slot import Slot
from meshca.keystore.file import FileKeyStore
from meshca.upstream.ca_folder import CaFolder
from tests.fakes.clock import FakeClock
from tests.fakes.pki import TRUST_DOMAIN
from tests.upstream.dying import DUE, killed
from tests.upstream.own_ca import check, names, roots, start


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
