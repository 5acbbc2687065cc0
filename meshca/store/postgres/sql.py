"""The statements that workers run on PostgreSQL, as text; the plain ones are SQLite's (`store.sql`), respelled.

What comes in groups goes as one JSON text and is taken apart by the server: one message, however many rows, and no
work for each in this process. `COLLATE "C"` orders as Python does, whatever the database's own order is.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

import orjson

from meshca.errors import InvariantBroken
from meshca.store import sql
from meshca.store.postgres.text import kept_row
from meshca.store.rows import Row


def respelled(statement: str) -> str:
    """A statement of SQLite's with psycopg's marks for parameters; all of them are ours, none holds a value."""
    return statement.replace("?", "%s")


def encoded(columns: Sequence[str], row: Row) -> bytes:
    """A row as a part of a group.

    Raises:
        InvariantBroken: reason `store_value`: it holds what is no text, which no database could keep.
    """
    try:
        return orjson.dumps(dict(zip(columns, kept_row(row), strict=True)))
    except orjson.JSONEncodeError:
        raise InvariantBroken("store_value", "a record holds what is no text") from None


def group(rows: Iterable[bytes]) -> str:
    """Encoded rows as the one parameter of a statement that takes a group."""
    return f"[{b','.join(rows).decode()}]"


def _list(names: Sequence[str], table: str = "") -> str:
    return ", ".join(f"{table}.{name}" if table else name for name in names)


def _insert(table: str, columns: Sequence[str]) -> str:
    return (
        f"INSERT INTO {table} ({_list(columns)}) SELECT {_list(columns, 'given')} "  # noqa: S608 - our names
        f"FROM json_populate_recordset(NULL::{table}, %s::json) AS given"
    )


INTENT_COLUMNS: Final = sql._INTENT_COLUMNS  # noqa: SLF001 - the same tables, of the same room
OUTCOME_ORDER: Final = (*sql._OUTCOME_COLUMNS, "serial")  # noqa: SLF001 - as above; the order of `rows.outcome_row`
ADOPTION_COLUMNS: Final = sql._ADOPTION_COLUMNS  # noqa: SLF001 - as above

# Gives the serials that were new: a serial that is recorded already refuses its own intent, not its neighbours'.
INTEND: Final = (
    f"{_insert('issuance_intent', INTENT_COLUMNS)} ON CONFLICT DO NOTHING RETURNING issuance_intent.serial"
)
FINISH: Final = (
    f"{_insert('issuance_outcome', OUTCOME_ORDER)} "
    "JOIN issuance_intent ON issuance_intent.serial = given.serial ON CONFLICT DO NOTHING"
)
FIND: Final = respelled(sql.FIND)
LIVE: Final = respelled(sql.LIVE) + ' ORDER BY issuance_intent.intended_at, issuance_intent.serial COLLATE "C"'
# Replicas prune at the same time: none waits for rows that another removes.
PRUNE: Final = (
    "WITH gone AS (DELETE FROM issuance_intent WHERE serial IN (SELECT serial FROM issuance_intent "
    "WHERE intended_at < %s AND not_after < %s LIMIT %s FOR UPDATE SKIP LOCKED) RETURNING serial), "
    "outcomes AS (DELETE FROM issuance_outcome USING gone WHERE issuance_outcome.serial = gone.serial) "
    "SELECT count(*) FROM gone"
)

# Rows come in the order of their key, so that two writers lock them in the same order.
ADOPT: Final = (
    f"{_insert('adoption', ADOPTION_COLUMNS)} ON CONFLICT ({_list(sql._ADOPTION_KEY)}) "  # noqa: SLF001 - as above
    f"DO UPDATE SET {', '.join(f'{name} = excluded.{name}' for name in sql._ADOPTION_NEWS)} "  # noqa: SLF001 - as above
    "WHERE excluded.seen_at >= adoption.seen_at"
)
ADOPTIONS: Final = (
    f"SELECT {_list(ADOPTION_COLUMNS)} FROM adoption "  # noqa: S608 - our names
    'ORDER BY agent COLLATE "C", node_id COLLATE "C", kind COLLATE "C", worker COLLATE "C", stream COLLATE "C"'
)
REPLACE: Final = respelled(sql.REPLACE)
CROWD_OUT: Final = respelled(sql.CROWD_OUT.replace("LIMIT -1 ", ""))
DISCONNECT_STREAM: Final = respelled(sql.DISCONNECT_STREAM)
DISCONNECT_WORKER: Final = respelled(sql.DISCONNECT_WORKER)
DISCONNECT_REPLICA: Final = "UPDATE adoption SET connected = 0 WHERE starts_with(worker, %s)"
FORGET_ADOPTIONS: Final = (
    "DELETE FROM adoption WHERE seen_at < %s AND (connected = 0 OR split_part(worker, '/', 1) NOT IN "
    "(SELECT split_part(instance, '/', 1) FROM probe WHERE written_at >= %s))"
)

PROBE_WRITE: Final = respelled(sql.PROBE_WRITE)
PROBE_READ: Final = respelled(sql.PROBE_READ)
# Not what says when a replica was last heard: who died long ago may have issued what still lives.
FORGET_PROBES: Final = "DELETE FROM probe WHERE written_at < %s AND instance NOT LIKE '%%/alive'"
HEARD: Final = "SELECT DISTINCT split_part(instance, '/', 1) FROM probe WHERE written_at >= %s"

LIFECYCLE: Final = respelled(sql.LIFECYCLE)
GENERATION: Final = respelled(sql.GENERATION)
FIRST_LIFECYCLE: Final = "INSERT INTO lifecycle (id, generation, body) VALUES (1, %s, %s) ON CONFLICT DO NOTHING"
# Waits for another replica's commit, and then finds that the row is no longer the one that it wanted.
NEXT_LIFECYCLE: Final = "UPDATE lifecycle SET generation = %s, body = %s WHERE generation = %s"
ADD_CHANGE: Final = respelled(sql.ADD_CHANGE)
CHANGES: Final = respelled(sql.CHANGES)
CHANNEL: Final = "meshca_lifecycle"
NOTIFY: Final = f"NOTIFY {CHANNEL}"
LISTEN: Final = f"LISTEN {CHANNEL}"
