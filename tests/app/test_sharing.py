"""What a configuration says about a store that replicas share."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from meshca.app.sharing import sharing
from meshca.config.server import LedgerConfig, ServerConfig, SpoolConfig
from meshca.store.spool.terms import SpoolTerms


def test_the_spool_is_in_the_data_directory() -> None:
    """With the bounds of the configuration."""
    ledger = LedgerConfig(spool=SpoolConfig(max_age=timedelta(minutes=1), max_records=7))
    made = sharing(ServerConfig(data_dir=Path("/data"), ledger=ledger))
    assert made.spool == SpoolTerms(folder=Path("/data/spool"), max_age=timedelta(minutes=1), max_records=7)
