"""What a fault of PostgreSQL means for a person, and what to do about it.

PostgreSQL's own text stays out: it can hold values and names of ours. The words go by its documented codes
(postgresql.org/docs/current/errcodes-appendix.html) and, where a connection is refused and libpq tells no code,
by the fixed English part of its text.
"""

from __future__ import annotations

from typing import Final

import psycopg
from psycopg import errors

from meshca.errors import Unavailable

REASON: Final = "store"
_READ_ONLY: Final = (
    "the server only reads: it is a standby or set to read-only; name the primary in ledger.url, or both hosts"
)
_FULL: Final = (
    "the server has no connections left; raise max_connections, or run fewer workers (4 for each process)"
)
_GRANTS: Final = "the role lacks rights; make it the owner of the database and of its tables"
_TABLES: Final = "the tables are not those of this version; was the database replaced? restart the server"
_AWAY: Final = (
    "the connection was lost; is the server running, and nothing in between? it is tried again by itself"
)
_SHUTDOWN: Final = "the server is shutting down or starting; it is tried again by itself"
_DISK: Final = "the server's disk is full; make room, writing goes on by itself"
_SLOW: Final = "the server did not answer in time; look for long transactions, locks and a slow disk there"
_DAMAGED: Final = "the server's disk failed or its data are damaged; look into its log, restore a backup"
_OTHER: Final = "the server refused in an unexpected way; its log says why"
_PASSWORD: Final = "the password is wrong or missing; see password_file in ledger.url, PGPASSFILE and the role"  # noqa: S105 - words
_DATABASE: Final = "the database does not exist; make it: createdb --owner ROLE NAME"
_ROLE: Final = "the role does not exist or may not log in; make it: createuser --login NAME"

_BY_STATE: Final = {
    "08": _AWAY,
    "22": "the server cannot keep a value of ours; this is a fault of meshca, please report it",
    "25006": _READ_ONLY,
    "28": _PASSWORD,
    "3D000": _DATABASE,
    "40": "another transaction was in the way; it is tried again",
    "42501": _GRANTS,
    "42": _TABLES,
    "3F": "the role has no schema to make tables in; make it the owner of the database",
    "53100": _DISK,
    "53200": "the server has no memory left",
    "53300": _FULL,
    "53": "the server lacks resources; its log says which",
    "55P03": _SLOW,
    "57014": _SLOW,
    "57P": _SHUTDOWN,
    "58": _DAMAGED,
    "XX": _DAMAGED,
}
# The first that is found counts.
_BY_TEXT: Final = (
    ("no pg_hba.conf entry", "the server's pg_hba.conf does not let this role in from here, or not without TLS"),
    ("password authentication failed", _PASSWORD),
    ("no password supplied", _PASSWORD),
    (
        "peer authentication failed",
        "the server lets in the Unix user of that name only; connect by TCP, or map it",
    ),
    ("too many clients", _FULL),
    ("remaining connection slots", _FULL),
    ("too many connections", _FULL),
    ("not permitted to log in", _ROLE),
    ('role "', _ROLE),
    ('database "', _DATABASE),
    ("session is read-only", _READ_ONLY),
    ("is not read-only", _READ_ONLY),
    ("hot standby", _READ_ONLY),
    ("starting up", _SHUTDOWN),
    ("shutting down", _SHUTDOWN),
    ("recovery", _SHUTDOWN),
    ("certificate verify failed", "the server's certificate is not of an authority we trust; see sslrootcert"),
    ("does not match host name", "the server's certificate is of another name; use that name in ledger.url"),
    ("root certificate file", "sslrootcert names a file that cannot be used"),
    (
        "server does not support SSL",
        "the server has no TLS; turn it on there, or say sslmode=disable if that is meant",
    ),
    ("certificate", "the client certificate or its key cannot be used; see sslcert and sslkey"),
    ("definition of service", "the service file, or the service in it, was not found; see PGSERVICEFILE"),
    ("Connection refused", "nothing listens there; is the server running, and host and port right?"),
    ("No such file or directory", "there is no socket; is the server running, and host and port right?"),
    ("timeout expired", "the server cannot be reached in time; is a firewall or a partition in between?"),
    ("failed to resolve host", "the host's name is unknown; see ledger.url and the DNS"),
    ("Name or service not known", "the host's name is unknown; see ledger.url and the DNS"),
    ("name resolution", "the host's name is unknown; see ledger.url and the DNS"),
    ("closed the connection", _AWAY),
)
_REFUSED: Final = (errors.DataError, errors.IntegrityError)


def advice(error: psycopg.Error) -> str:
    """What is wrong and what to do, in our words."""
    state = error.sqlstate
    if state:
        words = next((words for known, words in _BY_STATE.items() if state.startswith(known)), _OTHER)
        return f"{words} (SQLSTATE {state})"
    text = str(error)
    return next((words for known, words in _BY_TEXT if known in text), _AWAY)


def unavailable(error: psycopg.Error) -> Unavailable:
    """The fault as the error that the store's users know."""
    return Unavailable(REASON, advice(error))


def timed_out(seconds: float) -> Unavailable:
    """No answer came: the server hangs, or packets get lost on the way."""
    return Unavailable(REASON, f"no answer within {seconds:g} s; is the server overloaded or cut off?")


def refuses_value(error: psycopg.Error) -> bool:
    """Whether the same write will fail for ever, whatever becomes of the server."""
    return isinstance(error, _REFUSED)


def needs_reopening(error: psycopg.Error) -> bool:
    """Whether another connection may do better: a standby stays one, its primary is elsewhere."""
    return error.sqlstate == "25006"
