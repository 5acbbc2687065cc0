"""Where the shared database is: what is allowed, what is added, and that no password is ever repeated."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshca.errors import ConfigError
from meshca.store.postgres.address import parse

VERIFIED = {"sslmode": "verify-full", "sslrootcert": "system"}


def options(url: str, *names: str) -> dict[str, str]:
    """Some of what libpq is told."""
    found = parse(url).parameters()
    return {name: found[name] for name in names if name in found}


def test_a_url_is_read_as_libpq_reads_it() -> None:
    """Percent signs, sockets and several hosts included."""
    assert options("postgresql://me%40x@/db?host=/run/pg&port=5433", "user", "host", "port", "dbname") == {
        "user": "me@x",
        "host": "/run/pg",
        "port": "5433",
        "dbname": "db",
    }
    assert options("postgres://a:1,b:2/db", "host", "port") == {"host": "a,b", "port": "1,2"}


def test_of_several_hosts_the_one_that_writes_is_wanted() -> None:
    """A standby is no place for an intent."""
    assert options("postgresql://a,b/db", "target_session_attrs") == {"target_session_attrs": "read-write"}


@pytest.mark.parametrize("host", ["db.example", "10.0.0.7", "a,localhost", "localhost,b"])
def test_over_a_network_the_server_must_prove_itself(host: str) -> None:
    """To the authorities of the system, unless others are named."""
    assert options(f"postgresql://{host}/db", *VERIFIED) == VERIFIED
    named = options(f"postgresql://{host}/db?sslrootcert=/ca.pem", *VERIFIED)
    assert named == {"sslmode": "verify-full", "sslrootcert": "/ca.pem"}


def test_an_address_is_a_network_as_well() -> None:
    """Whatever name stands beside it."""
    assert options("postgresql:///db?hostaddr=10.0.0.7", *VERIFIED) == VERIFIED


@pytest.mark.parametrize(
    "url",
    [
        "postgresql:///db",
        "postgresql://localhost/db",
        "postgresql://127.0.0.1/db",
        "postgresql://[::1]/db",
        "postgresql:///db?host=/run/pg",
        "postgresql:///?service=meshca",
    ],
)
def test_on_this_machine_nothing_is_asked_of_it(url: str) -> None:
    """A service file says it itself."""
    assert options(url, *VERIFIED) == {}


def test_what_the_url_says_holds() -> None:
    """Also that nothing is checked: a mesh may do it already."""
    assert options("postgresql://db/x?sslmode=disable", *VERIFIED) == {"sslmode": "disable"}


def test_a_password_comes_from_its_file_at_each_connection(tmp_path: Path) -> None:
    """It may change while the server runs; the newline at the end is not part of it."""
    file = tmp_path / "pass word"
    address = parse(
        f"postgresql://me@db/x?sslmode=require&password_file={str(file).replace(' ', '%20')}&port=5433"
    )
    for password in ("hunter2", "hunter3"):
        file.write_text(password + "\n")
        found = address.parameters()
        assert (found["password"], found["port"], "password_file" in found) == (password, "5433", False)
        assert password not in repr(address)


@pytest.mark.parametrize("content", [None, "", "\n", "one\ntwo", "a\0b"])
def test_a_password_file_that_cannot_be_used_is_refused(tmp_path: Path, content: str | None) -> None:
    """Without its content."""
    file = tmp_path / "password"
    if content is not None:
        file.write_text(content)
    with pytest.raises(ConfigError) as caught:
        parse(f"postgresql:///x?password_file={file}").parameters()
    assert caught.value.source == str(file)
    assert not content or content.strip() == "" or content not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("postgresql://user:hunter2@db/x", "a PostgreSQL password must not stand in the configuration"),
        ("postgresql://db/x?password=hunter2", "a PostgreSQL password must not stand in the configuration"),
        ("postgresql+psycopg://user:hunter2@db/x", "expected postgresql://"),
        ("postgresql", "expected postgresql://"),
        ("mysql://user:hunter2@db/x", "expected postgresql://"),
        ("postgresql://db/x?nonesuch=hunter2", "misspelled or is no option of PostgreSQL"),
        ("postgresql://db/x?sslmode=%zz", "misspelled or is no option of PostgreSQL"),
        ("postgresql://db/x?options=-csynchronous_commit%3Doff", "the option options cannot be set here"),
        ("postgresql://db/x?target_session_attrs=any", "the option target_session_attrs cannot be set here"),
        ("postgresql://db/x?password_file=", "password_file is empty"),
    ],
)
def test_other_urls_are_refused(url: str, words: str) -> None:
    """With what to do, and never with the password."""
    with pytest.raises(ConfigError) as caught:
        parse(url)
    assert caught.value.source == "ledger.url"
    assert words in caught.value.problems[0]
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("postgresql://me@db:5433/x", "PostgreSQL at db:5433, database x"),
        ("postgresql://me@a,b/x", "PostgreSQL at a,b, database x"),
        ("postgresql://me@/", "PostgreSQL at its usual socket, database me"),
        ("postgresql://", "PostgreSQL at its usual socket, database of this user's name"),
        ("postgresql:///?service=meshca", "PostgreSQL service meshca"),
        ("postgresql:///x?hostaddr=10.0.0.7", "PostgreSQL at 10.0.0.7, database x"),
    ],
)
def test_an_address_is_told_in_words(url: str, words: str) -> None:
    """For errors."""
    assert parse(url).where == words


@given(st.text().map("postgresql://".__add__) | st.text())
def test_any_text_is_an_address_or_refused(url: str) -> None:
    """A law: nothing but ConfigError comes out."""
    try:
        assert parse(url).where
    except ConfigError:
        return
