"""Every fault of PostgreSQL has words and an advice; that each is met so is shown where it is caused."""

from __future__ import annotations

import psycopg
import pytest
from psycopg import errors

from meshca.store.postgres.faults import advice, needs_reopening, refuses_value, timed_out, unavailable


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ("08006", "the connection was lost"),
        ("22001", "this is a fault of meshca"),
        ("23502", "the server refused in an unexpected way"),
        ("25006", "the server only reads"),
        ("28P01", "the password is wrong or missing"),
        ("3D000", "createdb --owner"),
        ("3F000", "make it the owner of the database"),
        ("40P01", "another transaction was in the way"),
        ("42501", "the role lacks rights"),
        ("42P01", "the tables are not those of this version"),
        ("53000", "the server lacks resources"),
        ("53100", "the server's disk is full; make room"),
        ("53200", "no memory left"),
        ("53300", "no connections left; raise max_connections"),
        ("55P03", "did not answer in time"),
        ("57014", "did not answer in time"),
        ("57P01", "shutting down or starting"),
        ("57P03", "shutting down or starting"),
        ("58030", "the server's disk failed"),
        ("XX001", "its data are damaged"),
        ("0A000", "the server refused in an unexpected way"),
    ],
)
def test_a_refusal_says_what_to_do(state: str, words: str) -> None:
    """In our own words, with PostgreSQL's code."""
    said = advice(errors.lookup(state)("text of the library"))
    assert words in said
    assert said.endswith(f"(SQLSTATE {state})")
    assert "library" not in said


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('FATAL:  password authentication failed for user "x"', "the password is wrong"),
        ("fe_sendauth: no password supplied", "the password is wrong"),
        ('FATAL:  no pg_hba.conf entry for host "h", user "x", database "y", no encryption', "pg_hba.conf"),
        ('FATAL:  Peer authentication failed for user "x"', "the connection was lost"),
        ('FATAL:  peer authentication failed for user "x"', "Unix user of that name"),
        ("FATAL:  sorry, too many clients already", "no connections left"),
        ("FATAL:  remaining connection slots are reserved for", "no connections left"),
        ('FATAL:  too many connections for role "x"', "no connections left"),
        ('FATAL:  role "x" is not permitted to log in', "createuser --login"),
        ('FATAL:  role "x" does not exist', "createuser --login"),
        ('FATAL:  database "x" does not exist', "createdb --owner"),
        ("session is read-only", "the server only reads"),
        ("server is in hot standby mode", "the server only reads"),
        ("FATAL:  the database system is starting up", "shutting down or starting"),
        ("FATAL:  the database system is shutting down", "shutting down or starting"),
        ("FATAL:  the database system is in recovery mode", "shutting down or starting"),
        ("SSL error: certificate verify failed", "not of an authority we trust"),
        ('server certificate for "a" does not match host name "b"', "is of another name"),
        ('root certificate file "/x" does not exist', "sslrootcert names a file"),
        ("server does not support SSL, but SSL was required", "the server has no TLS"),
        ('could not load client certificate file "x"', "see sslcert and sslkey"),
        ('definition of service "x" not found', "see PGSERVICEFILE"),
        ("connection to server failed: Connection refused", "nothing listens there"),
        ("connection to server on socket failed: No such file or directory", "there is no socket"),
        ("connection timeout expired", "cannot be reached in time"),
        ("failed to resolve host 'x': [Errno -2] Name or service not known", "the host's name is unknown"),
        ("could not translate host name: Name or service not known", "the host's name is unknown"),
        ("Temporary failure in name resolution", "the host's name is unknown"),
        ("server closed the connection unexpectedly", "the connection was lost"),
        ("anything else", "the connection was lost"),
    ],
)
def test_a_connection_that_fails_says_what_to_do(text: str, words: str) -> None:
    """By libpq's text, of which nothing is repeated."""
    said = advice(psycopg.OperationalError(text))
    assert words in said
    assert '"x"' not in said


def test_users_of_the_store_see_unavailable() -> None:
    """One reason for all."""
    fault = errors.DiskFull("x")
    assert (unavailable(fault).reason, unavailable(fault).detail) == ("store", advice(fault))
    assert timed_out(3.0).detail.startswith("no answer within 3 s")


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        (errors.StringDataRightTruncation("x"), True),
        (errors.NotNullViolation("x"), True),
        (errors.DiskFull("x"), False),
        (psycopg.OperationalError("x"), False),
    ],
)
def test_some_values_are_refused_for_ever(fault: psycopg.Error, expected: bool) -> None:  # noqa: FBT001 - a row's answer
    """Trying again cannot help."""
    assert refuses_value(fault) is expected


@pytest.mark.parametrize(("state", "expected"), [("25006", True), ("53100", False), ("42P01", False)])
def test_a_standby_is_left(state: str, expected: bool) -> None:  # noqa: FBT001 - a row's answer
    """Its primary is elsewhere; a full disk is the same for every connection."""
    assert needs_reopening(errors.lookup(state)("x")) is expected
