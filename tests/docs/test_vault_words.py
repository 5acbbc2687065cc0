"""The words about Vault in its page are those of the program."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from meshca.config.vault import VaultConfig, VaultRoots
from meshca.doctor.vault_checks import LEAF_CHECKS
from tests.docs.vault_faults import PAGE, parts, table

TEXT = PAGE.read_text(encoding="utf-8")
SOURCE = Path(__file__).resolve().parents[2] / "meshca"
CODE = "\n".join(path.read_text(encoding="utf-8") for path in SOURCE.rglob("*.py"))
METRICS = sorted(set(re.findall(r"`(meshca_[a-z_]+)", TEXT)))
EVENTS = ("vault.environment", "upstream.left_behind", "signer.ending")


def test_every_fault_has_its_row() -> None:
    """Meaning, remedy, and whether it passes: `python -m tests.docs.vault_faults` writes them."""
    assert parts(TEXT)[1].strip() == table().strip()


@pytest.mark.parametrize("name", LEAF_CHECKS)
def test_every_check_is_shown(name: str) -> None:
    """With what it says of a server that is well."""
    assert re.search(rf"^(ok|unknown) +{name} ", TEXT, re.MULTILINE)


@pytest.mark.parametrize("key", sorted({*VaultConfig.model_fields, *VaultRoots.model_fields}))
def test_every_key_is_explained(key: str) -> None:
    """What can be configured is named where it is explained."""
    assert re.search(rf"\b{key}\b", TEXT)


@pytest.mark.parametrize("name", METRICS)
def test_every_metric_exists(name: str) -> None:
    """An alarm on it can go off."""
    assert f'"{name.removesuffix("_total")}' in CODE


@pytest.mark.parametrize("event", EVENTS)
def test_every_event_is_named_and_logged(event: str) -> None:
    """Whoever searches the log for what the page names finds it."""
    assert f"`{event}`" in TEXT
    assert f'"{event}"' in CODE
