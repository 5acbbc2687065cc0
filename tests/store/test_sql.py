"""The statements as text are those that SQLAlchemy makes of the schema, and workers do without it."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import (
    ClauseElement,
    Integer,
    bindparam,
    delete,
    insert,
    literal_column,
    or_,
    select,
    tuple_,
    update,
)
from sqlalchemy.dialects.sqlite import insert as sqlite_insert

from meshca.store import sql
from meshca.store.connection import connect
from meshca.store.schema import adoption, intent, lifecycle, lifecycle_change, outcome, probe
from meshca.store.statements import compiled
from tests.store.opening import migrated, url_of

ZERO = literal_column("0", Integer)
_adopt = sqlite_insert(adoption)
_probe = sqlite_insert(probe)
_outcome = (outcome.c.result, outcome.c.reason, outcome.c.finished_at)
_every = adoption.alias("every")
_key = list(adoption.primary_key.columns)
_crowd = ("agent", "pod", "pod_uid", "kind")
_stream = ("node_id", "worker", "stream")
_lifecycle = sqlite_insert(lifecycle)
_leaf = ("serial", "spiffe_id", "pod_name", "pod_uid", "node_name", "requested_by", "parent_serial", "signer")

STATEMENTS: dict[str, ClauseElement] = {
    "INTEND": insert(intent),
    "FINISH": sqlite_insert(outcome)
    .from_select(
        ["serial", "result", "reason", "finished_at"],
        select(intent.c.serial, bindparam("a"), bindparam("b"), bindparam("c")).where(
            intent.c.serial == bindparam("d")
        ),
    )
    .on_conflict_do_nothing(),
    "FIND": select(intent, *_outcome)
    .select_from(intent.outerjoin(outcome, outcome.c.serial == intent.c.serial))
    .where(intent.c.serial == bindparam("a")),
    "LIVE": select(*(intent.c[name] for name in _leaf), intent.c.intended_at, intent.c.not_after)
    .select_from(intent.outerjoin(outcome, outcome.c.serial == intent.c.serial))
    .where(
        intent.c.not_after >= bindparam("a"),
        or_(outcome.c.result.is_(None), outcome.c.result != bindparam("b")),
    ),
    "FORGET_OUTCOME": delete(outcome).where(outcome.c.serial == bindparam("a")),
    "FORGET_INTENT": delete(intent).where(intent.c.serial == bindparam("a")),
    "ADOPT": _adopt.on_conflict_do_update(
        index_elements=_key,
        set_={name: _adopt.excluded[name] for name in sql._ADOPTION_NEWS},
        where=_adopt.excluded.seen_at >= adoption.c.seen_at,
    ),
    "ADOPTIONS": select(adoption).order_by(*_key),
    "REPLACE": delete(adoption).where(
        *(
            adoption.c[name] == bindparam(name)
            for name in ("agent", "node_id", "pod", "pod_uid", "instance", "kind")
        ),
        adoption.c.connected == ZERO,
        adoption.c.seen_at < bindparam("a"),
    ),
    "CROWD_OUT": delete(adoption).where(
        *(adoption.c[name] == bindparam(f"a_{name}") for name in _crowd),
        tuple_(*(adoption.c[name] for name in _stream)).in_(
            select(*(_every.c[name] for name in _stream))
            .where(*(_every.c[name] == bindparam(f"b_{name}") for name in _crowd))
            .order_by(_every.c.connected.desc(), _every.c.seen_at.desc())
            .limit(literal_column("-1", Integer))
            .offset(bindparam("c"))
        ),
    ),
    "DISCONNECT_STREAM": update(adoption)
    .where(adoption.c.worker == bindparam("a"), adoption.c.stream == bindparam("b"))
    .values(connected=ZERO),
    "DISCONNECT_WORKER": update(adoption).where(adoption.c.worker == bindparam("a")).values(connected=ZERO),
    "DISCONNECT_EVERYONE": update(adoption).values(connected=ZERO),
    "FORGET_ADOPTIONS": delete(adoption).where(adoption.c.connected == ZERO, adoption.c.seen_at < bindparam("a")),
    "PROBE_WRITE": _probe.on_conflict_do_update(
        index_elements=[probe.c.instance],
        set_={name: _probe.excluded[name] for name in ("sequence", "written_at")},
    ),
    "PROBE_READ": select(probe.c.sequence).where(probe.c.instance == bindparam("a")),
    "FORGET_PROBES": delete(probe).where(probe.c.written_at < bindparam("a")),
    "LIFECYCLE": select(lifecycle.c.generation, lifecycle.c.body),
    "GENERATION": select(lifecycle.c.generation),
    "PUT_LIFECYCLE": _lifecycle.on_conflict_do_update(
        index_elements=[lifecycle.c.id],
        set_={name: _lifecycle.excluded[name] for name in ("generation", "body")},
    ),
    "ADD_CHANGE": insert(lifecycle_change),
    "CHANGES": select(lifecycle_change)
    .order_by(lifecycle_change.c.generation.desc(), lifecycle_change.c.ordinal.desc())
    .limit(bindparam("a"))
    .offset(ZERO),
}


@pytest.mark.parametrize("name", STATEMENTS)
def test_text_is_what_the_schema_says(name: str) -> None:
    """Columns, order and conditions; line breaks and names of unnamed columns aside."""
    text, _ = compiled(STATEMENTS[name])
    words = " ".join(text.replace(" AS anon_1", "").replace(" AS anon_2", "").replace(" AS anon_3", "").split())
    assert getattr(sql, name) == words


def test_every_statement_is_compared() -> None:
    """None is forgotten here."""
    assert {name for name in vars(sql) if name.isupper() and name[0] != "_"} == set(STATEMENTS)


def test_what_lives_is_found_by_its_end(tmp_path: Path) -> None:
    """However many records there are of certificates that have ended."""
    with contextlib.closing(connect(migrated(tmp_path))) as connection:
        plan = connection.execute(f"EXPLAIN QUERY PLAN {sql.LIVE}", (0, "failed")).fetchall()
    assert plan[0][-1] == "SEARCH issuance_intent USING INDEX issuance_intent_by_end (not_after>?)"


WORKER = """
import asyncio, sys
from meshca.clock import SystemClock
from meshca.store.engine import open_store

async def work(url):
    async with open_store(url, SystemClock()) as store:
        await store.probe()
        await store.ledger.find("ab")
        await store.ledger.live(SystemClock().now())
        await store.adoption.list()
        await store.lifecycle.load()

asyncio.run(work(sys.argv[1]))
print(sorted({name.partition(".")[0] for name in sys.modules} & {"sqlalchemy", "alembic", "mako"}))
"""


def test_a_worker_does_without_sqlalchemy(tmp_path: Path) -> None:
    """It would cost each 28 MB and half a second at start."""
    run = [sys.executable, "-c", WORKER, url_of(migrated(tmp_path))]
    assert subprocess.run(run, check=True, capture_output=True, text=True).stdout == "[]\n"
