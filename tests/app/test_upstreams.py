"""Facts about the table of upstreams."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest

from meshca.app.upstreams import UPSTREAMS, check_upstream, open_upstream
from meshca.config.server import ServerConfig
from meshca.config.upstream import FilesConfig, UpstreamConfig
from meshca.errors import ConfigError
from tests.fakes.clock import FakeClock


def config(folder: Path, **changes: object) -> ServerConfig:
    """A configuration whose data directory is there."""
    (folder / "data").mkdir(mode=0o700, exist_ok=True)
    return ServerConfig(data_dir=folder / "data").model_copy(update=changes)


def test_every_kind_can_be_opened() -> None:
    """Each kind that can be configured has a row in the table."""
    kinds = get_args(get_args(UpstreamConfig)[0])
    assert set(UPSTREAMS) == set(kinds)


async def test_self_signed_is_made_once(tmp_path: Path) -> None:
    """The first opening makes a root in the data directory, the next finds it."""
    clock, found = FakeClock(), []
    for _ in range(2):
        async with open_upstream(config(tmp_path), clock) as upstream:
            found.append((await upstream.obtain()).material.fingerprint)
    assert found[0] == found[1]


async def test_checking_makes_nothing(tmp_path: Path) -> None:
    """Checking before the first start makes no root."""
    await check_upstream(config(tmp_path), FakeClock())
    assert list((tmp_path / "data").iterdir()) == []


async def test_checking_looks_at_what_is_there(tmp_path: Path) -> None:
    """Checking finds damage of a CA that exists."""
    async with open_upstream(config(tmp_path), FakeClock()):
        pass
    (tmp_path / "data" / "ca" / "root.pem").write_text("damaged")
    with pytest.raises(ConfigError, match=r"root\.pem"):
        await check_upstream(config(tmp_path), FakeClock())


async def test_files_that_are_not_there(tmp_path: Path) -> None:
    """A folder of files that does not exist is found by checking and by opening."""
    missing = config(tmp_path, upstream=FilesConfig(kind="files", dir=tmp_path / "none"))
    with pytest.raises(ConfigError):
        await check_upstream(missing, FakeClock())
    with pytest.raises(ConfigError):
        async with open_upstream(missing, FakeClock()):
            pass
