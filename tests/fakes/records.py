"""Ledger records for tests."""

from __future__ import annotations

import itertools
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from meshca.ledger.record import Intent, Outcome, Result

NOW = datetime(2026, 1, 1, tzinfo=UTC)
_serials = itertools.count(0x1000)


def intent(**changes: Any) -> Intent:
    """An intent of `shop/web`, with a serial of its own unless one is given."""
    usual = Intent(
        request_id="0123456789abcdef",
        serial=f"{next(_serials):x}",
        spiffe_id="spiffe://cluster.local/ns/shop/sa/web",
        proven_by="jwks",
        issuer="dev",
        namespace="shop",
        service_account="web",
        pod_name="web-1",
        pod_uid="pod-uid-1",
        node_name="node-1",
        node_uid="node-uid-1",
        token_id="token-1",
        proven_at=NOW,
        labels={"app": "web"},
        key_type="ec-p256",
        key_sha256="aa" * 32,
        csr_sha256="bb" * 32,
        signer="signer-1",
        rule="own-identity",
        intended_at=NOW,
        not_before=NOW - timedelta(minutes=2),
        not_after=NOW + timedelta(hours=24),
    )
    return replace(usual, **changes)


def issued(of: Intent, **changes: Any) -> Outcome:
    """The outcome of an intent that went well."""
    outcome = Outcome(
        serial=of.serial, result=Result.ISSUED, finished_at=of.intended_at + timedelta(milliseconds=2)
    )
    return replace(outcome, **changes)


def failed(of: Intent, reason: str = "no_signer") -> Outcome:
    """The outcome of an intent that failed."""
    return issued(of, result=Result.FAILED, reason=reason)
