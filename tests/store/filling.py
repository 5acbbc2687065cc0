"""Files of every schema, empty or with a row in every table, for tests of migrations and copies."""

from __future__ import annotations

import contextlib
from pathlib import Path

from meshca.store import migrate as subject
from meshca.store.connection import connect
from meshca.store.location import prepare
from meshca.store.rows import Row, adoption_row, intent_row, outcome_row
from meshca.store.sql import ADD_CHANGE, ADOPT, FINISH, INTEND, PROBE_WRITE, PUT_LIFECYCLE
from tests.contract.test_adoption_store import adoption
from tests.fakes.records import intent, issued
from tests.store.opening import migrated

ONE = intent()
# What each schema brought, as rows of the newest: table -> the statement, its row, and how wide it was at first.
BROUGHT: dict[str, tuple[tuple[str, str, Row, int], ...]] = {
    "0001": (
        ("issuance_intent", INTEND, intent_row(ONE), len(intent_row(ONE)) - 1),
        ("issuance_outcome", FINISH, outcome_row(issued(ONE)), 4),
        ("adoption", ADOPT, adoption_row(adoption()), 13),
        ("probe", PROBE_WRITE, ("x", 1, 1), 3),
    ),
    "0002": (),
    "0003": (
        ("lifecycle", PUT_LIFECYCLE, (1, 1, "{}"), 3),
        ("lifecycle_change", ADD_CHANGE, (1, 0, *"abcdef", 0, *"gh", 1), 12),
    ),
    "0004": (),
    "0005": (),
}


def at(folder: Path, revision: str) -> Path:
    """A file with an earlier schema, made by its own steps; no rows."""
    path = folder / f"at-{revision}.db"
    prepare(path)
    with contextlib.closing(connect(path)) as connection:
        subject._upgrade(connection, revision)
    return path


def filled(folder: Path) -> Path:
    """A file of this version with a row in every table."""
    path = migrated(folder)
    with contextlib.closing(connect(path)) as connection:
        for brought in BROUGHT.values():
            for _, statement, row, _ in brought:
                connection.execute(statement, row)
    return path


def known_to(revision: str) -> list[tuple[str, int]]:
    """The tables that a schema has, and how many columns of them it had at first."""
    return [(table, wide) for at, those in BROUGHT.items() if at <= revision for table, _, _, wide in those]
