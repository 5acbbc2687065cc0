"""Over TLS the server must prove itself, and what is wrong with its certificate is said in words."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from meshca.errors import ConfigError
from meshca.store.postgres.address import parse
from meshca.store.postgres.migrate import migrate
from tests.real.pki import Pki
from tests.real.postgresql import PASSWORD, Cluster, running_cluster

pytestmark = pytest.mark.real("postgresql")
PKI = Pki()


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """A PostgreSQL that shows a certificate for `localhost`."""
    with running_cluster() as own:
        leaf = PKI.leaf(dns=["localhost"])
        own.show(leaf.certificate, leaf.key)
        yield own


@pytest.fixture(scope="module")
def database(cluster: Cluster) -> str:
    """Without tables."""
    return cluster.create()


def url(cluster: Cluster, database: str, folder: Path, host: str, roots: bytes) -> str:
    """A URL that trusts these roots."""
    (folder / "roots.pem").write_bytes(roots)
    (folder / "password").write_text(PASSWORD)
    plain = cluster.tcp_url(database).replace("127.0.0.1", host)
    return f"{plain}?sslmode=verify-full&sslrootcert={folder}/roots.pem&password_file={folder}/password"


def test_a_server_that_proves_itself_is_used(cluster: Cluster, database: str, tmp_path: Path) -> None:
    """By its name and our roots."""
    migrate(parse(url(cluster, database, tmp_path, "localhost", PKI.root())))


@pytest.mark.parametrize(
    ("host", "roots", "words"),
    [
        ("localhost", Pki().root(), "is not of an authority we trust; see sslrootcert"),
        ("127.0.0.1", PKI.root(), "is of another name; use that name in ledger.url"),
    ],
    ids=["another authority", "another name"],
)
def test_one_that_does_not_is_refused(
    cluster: Cluster, database: str, tmp_path: Path, host: str, roots: bytes, words: str
) -> None:
    """Before it is told the password."""
    with pytest.raises(ConfigError) as caught:
        migrate(parse(url(cluster, database, tmp_path, host, roots)))
    assert words in caught.value.problems[0]


def test_roots_that_are_not_there_are_said(cluster: Cluster, database: str, tmp_path: Path) -> None:
    """With which option names them."""
    good = url(cluster, database, tmp_path, "localhost", PKI.root())
    (tmp_path / "roots.pem").unlink()
    with pytest.raises(ConfigError, match="sslrootcert names a file that cannot be used"):
        migrate(parse(good))


def test_a_server_without_tls_is_said(postgresql: Cluster, tmp_path: Path) -> None:
    """It is not used in the clear."""
    with pytest.raises(ConfigError, match="the server has no TLS"):
        migrate(parse(url(postgresql, "postgres", tmp_path, "localhost", PKI.root())))
