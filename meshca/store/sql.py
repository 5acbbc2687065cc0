"""The statements that workers run, as text: SQLAlchemy would cost every worker 28 MB and half a second at start.

A test compares each with what SQLAlchemy makes of the schema. Rare ones that are put together from filters are
in `statements`. Parameters go by position, in the order of `rows`.
"""

from __future__ import annotations

from typing import Final

_INTENT_COLUMNS: Final = (
    "serial",
    "request_id",
    "spiffe_id",
    "proven_by",
    "issuer",
    "namespace",
    "service_account",
    "pod_name",
    "pod_uid",
    "node_name",
    "node_uid",
    "token_id",
    "proven_at",
    "parent_serial",
    "labels",
    "key_type",
    "key_sha256",
    "csr_sha256",
    "signer",
    "rule",
    "intended_at",
    "not_before",
    "not_after",
    "requested_by",
)
_OUTCOME_COLUMNS: Final = ("result", "reason", "finished_at")
_ADOPTION_COLUMNS: Final = (
    "agent",
    "node_id",
    "kind",
    "pod",
    "sent_version",
    "adopted_version",
    "grade",
    "pending_pids",
    "error",
    "seen_at",
    "connected",
    "worker",
    "stream",
    "leaf",
    "pod_uid",
    "instance",
)
_ADOPTION_KEY: Final = ("agent", "node_id", "kind", "worker", "stream")
_ADOPTION_NEWS: Final = tuple(name for name in _ADOPTION_COLUMNS if name not in _ADOPTION_KEY)

_LIVE_COLUMNS: Final = (
    "serial",
    "spiffe_id",
    "pod_name",
    "pod_uid",
    "node_name",
    "requested_by",
    "parent_serial",
    "signer",
    "intended_at",
    "not_after",
)
_LIFECYCLE_COLUMNS: Final = ("generation", "body")
_CHANGE_COLUMNS: Final = (
    "generation",
    "ordinal",
    "authority",
    "kind",
    "act",
    "state_before",
    "state_after",
    "guard",
    "forced",
    "asked_by",
    "reason",
    "changed_at",
)


def _list(names: tuple[str, ...], table: str = "") -> str:
    return ", ".join(f"{table}.{name}" if table else name for name in names)


def _insert(table: str, columns: tuple[str, ...]) -> str:
    return f"INSERT INTO {table} ({_list(columns)}) VALUES ({', '.join('?' * len(columns))})"  # noqa: S608 - our names


def _replace(columns: tuple[str, ...]) -> str:
    return ", ".join(f"{name} = excluded.{name}" for name in columns)


INTEND: Final = _insert("issuance_intent", _INTENT_COLUMNS)
# Nothing for a serial without an intent. The first outcome counts: a group that is written again must not fail on
# what is there already.
FINISH: Final = (
    f"INSERT INTO issuance_outcome (serial, {_list(_OUTCOME_COLUMNS)}) "  # noqa: S608 - our names
    "SELECT issuance_intent.serial, ?, ?, ? FROM issuance_intent WHERE issuance_intent.serial = ? "
    "ON CONFLICT DO NOTHING"
)
FIND: Final = (
    f"SELECT {_list(_INTENT_COLUMNS, 'issuance_intent')}, "  # noqa: S608 - our names
    f"{_list(_OUTCOME_COLUMNS, 'issuance_outcome')} "
    "FROM issuance_intent LEFT OUTER JOIN issuance_outcome ON issuance_outcome.serial = issuance_intent.serial "
    "WHERE issuance_intent.serial = ?"
)
LIVE: Final = (
    f"SELECT {_list(_LIVE_COLUMNS, 'issuance_intent')} "  # noqa: S608 - our names
    "FROM issuance_intent LEFT OUTER JOIN issuance_outcome ON issuance_outcome.serial = issuance_intent.serial "
    "WHERE issuance_intent.not_after >= ? AND (issuance_outcome.result IS NULL OR issuance_outcome.result != ?)"
)
FORGET_OUTCOME: Final = "DELETE FROM issuance_outcome WHERE issuance_outcome.serial = ?"
FORGET_INTENT: Final = "DELETE FROM issuance_intent WHERE issuance_intent.serial = ?"

# What was said later is right, in whichever order it is written.
ADOPT: Final = (
    f"{_insert('adoption', _ADOPTION_COLUMNS)} "
    f"ON CONFLICT ({_list(_ADOPTION_KEY)}) DO UPDATE SET {_replace(_ADOPTION_NEWS)} "
    "WHERE excluded.seen_at >= adoption.seen_at"
)
ADOPTIONS: Final = (
    f"SELECT {_list(_ADOPTION_COLUMNS, 'adoption')} FROM adoption "  # noqa: S608 - our names
    f"ORDER BY {_list(_ADOPTION_KEY, 'adoption')}"
)
# What a speaker said earlier, on streams that have ended.
REPLACE: Final = (
    "DELETE FROM adoption WHERE adoption.agent = ? AND adoption.node_id = ? AND adoption.pod = ? "
    "AND adoption.pod_uid = ? AND adoption.instance = ? AND adoption.kind = ? "
    "AND adoption.connected = 0 AND adoption.seen_at < ?"
)
CROWD_OUT: Final = (
    "DELETE FROM adoption WHERE adoption.agent = ? AND adoption.pod = ? AND adoption.pod_uid = ? "
    "AND adoption.kind = ? AND (adoption.node_id, adoption.worker, adoption.stream) IN "
    "(SELECT every.node_id, every.worker, every.stream FROM adoption AS every "
    "WHERE every.agent = ? AND every.pod = ? AND every.pod_uid = ? AND every.kind = ? "
    "ORDER BY every.connected DESC, every.seen_at DESC LIMIT -1 OFFSET ?)"
)
DISCONNECT_STREAM: Final = "UPDATE adoption SET connected=0 WHERE adoption.worker = ? AND adoption.stream = ?"
DISCONNECT_WORKER: Final = "UPDATE adoption SET connected=0 WHERE adoption.worker = ?"
DISCONNECT_EVERYONE: Final = "UPDATE adoption SET connected=0"
FORGET_ADOPTIONS: Final = "DELETE FROM adoption WHERE adoption.connected = 0 AND adoption.seen_at < ?"

PROBE_WRITE: Final = (
    f"{_insert('probe', ('instance', 'sequence', 'written_at'))} "
    f"ON CONFLICT (instance) DO UPDATE SET {_replace(('sequence', 'written_at'))}"
)
PROBE_READ: Final = "SELECT probe.sequence FROM probe WHERE probe.instance = ?"
FORGET_PROBES: Final = "DELETE FROM probe WHERE probe.written_at < ?"

LIFECYCLE: Final = f"SELECT {_list(_LIFECYCLE_COLUMNS, 'lifecycle')} FROM lifecycle"  # noqa: S608 - our names
GENERATION: Final = "SELECT lifecycle.generation FROM lifecycle"
PUT_LIFECYCLE: Final = (
    f"{_insert('lifecycle', ('id', *_LIFECYCLE_COLUMNS))} "
    f"ON CONFLICT (id) DO UPDATE SET {_replace(_LIFECYCLE_COLUMNS)}"
)
ADD_CHANGE: Final = _insert("lifecycle_change", _CHANGE_COLUMNS)
CHANGES: Final = (
    f"SELECT {_list(_CHANGE_COLUMNS, 'lifecycle_change')} FROM lifecycle_change "  # noqa: S608 - our names
    "ORDER BY lifecycle_change.generation DESC, lifecycle_change.ordinal DESC LIMIT ? OFFSET 0"
)
