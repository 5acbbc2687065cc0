"""Where the running server is looked for."""

from __future__ import annotations

from pathlib import Path

import pytest

from meshca.app.admin_client import AdminClient
from meshca.cli.admin_socket import VARIABLE, ask, find_socket
from meshca.errors import ConfigError
from tests.fakes.admin_client import FakeAdminClient

NAMED = {VARIABLE: "/run/named.sock"}


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A configuration with a data directory of its own."""
    path = tmp_path / "meshca.yaml"
    path.write_text("data_dir: /srv/meshca\n")
    return path


def test_the_flag_comes_first(config: Path) -> None:
    """Before anything else."""
    assert find_socket(Path("/run/flag.sock"), config, NAMED) == Path("/run/flag.sock")


def test_a_configuration_file_comes_second(config: Path) -> None:
    """The socket that its server listens on."""
    assert find_socket(None, config, NAMED) == Path("/srv/meshca/admin.sock")


def test_the_environment_comes_third() -> None:
    """For shells that talk to one server all day."""
    assert find_socket(None, None, NAMED) == Path("/run/named.sock")


@pytest.mark.parametrize("environ", [{}, {VARIABLE: ""}], ids=["absent", "empty"])
def test_the_default_comes_last(environ: dict[str, str]) -> None:
    """Where a server without a configuration file listens."""
    assert find_socket(None, None, environ) == Path("/var/lib/meshca/admin.sock")


def test_the_default_obeys_the_environment() -> None:
    """As the server does."""
    environ = {"MESHCA__DATA_DIR": "/srv/other"}
    assert find_socket(None, None, environ) == Path("/srv/other/admin.sock")


def test_a_bad_configuration_is_refused(tmp_path: Path) -> None:
    """It names another server, or none; the flag would do."""
    with pytest.raises(ConfigError, match=r"none\.yaml: cannot be read .*--socket"):
        find_socket(None, tmp_path / "none.yaml", {})


@pytest.mark.parametrize("more", ["bogus: 1", "workers: many", "listen: {token: nowhere}"])
def test_what_else_is_wrong_does_not_matter(config: Path, more: str) -> None:
    """The server that runs goes on with the configuration before, and can be asked."""
    config.write_text(f"{config.read_text()}{more}\n")
    assert find_socket(None, config, {"MESHCA__WORKERS__X": "1"}) == Path("/srv/meshca/admin.sock")


def test_the_server_at_that_socket_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """And its answer given back."""
    fake = FakeAdminClient()
    monkeypatch.setattr("meshca.app.admin_client.connect", fake.connect)

    async def question(client: AdminClient) -> str:
        return (await client.status()).version

    assert (ask(Path("/run/a.sock"), None, question), fake.path) == ("0.1.0", Path("/run/a.sock"))
