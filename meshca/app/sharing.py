"""How a configuration lets replicas share a store; nothing of it matters to a server that is alone."""

from __future__ import annotations

from meshca.config.server import ServerConfig
from meshca.store.sharing import SPOOL, Sharing
from meshca.store.spool.terms import SpoolTerms


def sharing(config: ServerConfig) -> Sharing:
    """How the store is shared with other replicas, and what may be kept here while it is out of reach."""
    spool = config.ledger.spool
    terms = SpoolTerms(folder=config.data_dir / SPOOL, max_age=spool.max_age, max_records=spool.max_records)
    return Sharing(replica=config.replica or "", spool=terms)
