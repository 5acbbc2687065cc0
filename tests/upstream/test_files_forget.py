"""A plugged-in CA: what goes when a root is not needed any more, also where the process is killed."""

from __future__ import annotations

from pathlib import Path

import pytest

from meshca.config.upstream import FilesConfig
from meshca.errors import InvariantBroken
from meshca.upstream.files import open_
from tests.fakes.cacerts import cacerts, write
from tests.fakes.clock import FakeClock
from tests.fakes.logs import captured_logs
from tests.fakes.pki import TRUST_DOMAIN
from tests.fakes.upstream import told
from tests.upstream.dying import killed
from tests.upstream.operators_folder import (
    GOOD,
    OLD_ROOT,
    OTHER,
    OTHERS,
    ROOT,
    SIGNER,
    UPPER,
    id_of,
    started,
)


def held(folder: Path) -> dict[str, str]:
    """All files of a folder."""
    return {path.name: path.read_text() for path in folder.iterdir()}


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
