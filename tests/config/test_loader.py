"""The server's configuration, from file and environment."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshca.config.loader import load_admin_socket, load_config, validated
from meshca.config.server import ServerConfig
from meshca.config.upstream import FilesConfig
from meshca.errors import ConfigError


def written(folder: Path, text: str) -> Path:
    """A configuration file with this text."""
    path = folder / "meshca.yaml"
    path.write_text(text)
    return path


def test_defaults() -> None:
    """Without a file every value has its default."""
    config = load_config(None, {})
    assert str(config.trust_domain) == "cluster.local"
    assert config.admin_socket == Path("/var/lib/meshca/admin.sock")
    assert config.ledger_url == "sqlite:////var/lib/meshca/meshca.db"


def test_an_empty_file_is_the_defaults(tmp_path: Path) -> None:
    """A file with comments only changes nothing."""
    assert load_config(written(tmp_path, "# empty\n"), {}) == load_config(None, {})


def test_relative_paths_are_beside_the_file(tmp_path: Path) -> None:
    """Paths in a file are relative to the folder of that file, however deep they stand."""
    path = written(
        tmp_path,
        "data_dir: data\nupstream: {kind: files, dir: cacerts}\n"
        "authn: {issuers: [{issuer: i, keys: {file: jwks.json}}]}\n",
    )
    config = load_config(path, {})
    assert config.data_dir == tmp_path / "data"
    assert isinstance(config.upstream, FilesConfig)
    assert config.upstream.dir == tmp_path / "cacerts"
    assert config.authn.issuers[0].keys.file == tmp_path / "jwks.json"


def test_the_environment_wins(tmp_path: Path) -> None:
    """MESHCA__SECTION__KEY overrides the file; other variables are not read."""
    path = written(tmp_path, "svid: {default_lifetime: 1h}\n")
    config = load_config(path, {"MESHCA__SVID__DEFAULT_LIFETIME": "2h", "MESHCA__WORKERS": "3", "HOME": "/"})
    assert config.svid.default_lifetime == timedelta(hours=2)
    assert config.worker_count == 3


def test_auto_workers_are_the_cores() -> None:
    """`auto` runs at least one worker."""
    assert ServerConfig().worker_count >= 1


def test_the_spool_can_be_turned_off(tmp_path: Path) -> None:
    """Then nothing is issued without the store."""
    config = load_config(written(tmp_path, "ledger: {spool: {max_age: 0s}}\n"), {})
    assert config.ledger.spool.max_age == timedelta()


@pytest.mark.parametrize("keys", ["file: k", "url: 'https://a/', ca_file: c, timeout: 1s", "discovery: true"])
def test_a_config_survives_json(tmp_path: Path, keys: str) -> None:
    """What is written as JSON is read back equal (the workers receive it so)."""
    issuer = f"authn: {{issuers: [{{issuer: 'https://i', keys: {{{keys}}}}}]}}\n"
    config = load_config(
        written(tmp_path, "data_dir: d\nworkers: 2\nupstream: {kind: files, dir: c}\n" + issuer), {}
    )
    assert ServerConfig.model_validate_json(config.model_dump_json()) == config


@pytest.mark.parametrize(
    ("tree", "problem"),
    [
        pytest.param({"ack_timeout": "0s"}, "ack_timeout: must be longer than 0s", id="no-time-to-answer"),
        pytest.param(
            {"authn": {"issuers": [{"issuer": "i", "keys": {"file": "k", "timeout": "5s", "ca_file": "c"}}]}},
            "authn.issuers.0.keys: ca_file, timeout: only for url and discovery; leave out beside file",
            id="download-settings-beside-a-file",
        ),
        pytest.param({"foo": 1}, "foo: unknown key; remove it or correct its spelling", id="unknown-key"),
        pytest.param(
            {"ledger": {"spool": {"max_age": "25h"}}},
            "ledger.spool: max_age must be at most 1d",
            id="spooling-for-too-long",
        ),
        pytest.param(
            {"svid": {"max_lifetime": "1000d"}}, "svid: max_lifetime must be at most 90d", id="over-ceiling"
        ),
        pytest.param(
            {"svid": {"default_lifetime": "48h"}},
            "svid: default_lifetime must not be longer than max_lifetime",
            id="default-over-maximum",
        ),
        pytest.param(
            {"authn": {"issuers": [{"issuer": "x", "keys": {}}]}},
            "authn.issuers.0.keys: give exactly one of file, url and discovery: true",
            id="no-keys",
        ),
        pytest.param(
            {"authn": {"issuers": [{"issuer": "x", "keys": {"url": "http://example.org/k"}}]}},
            "authn.issuers.0.keys: url must begin with https:// (http:// only for 127.0.0.1 and localhost)",
            id="plain-http",
        ),
        pytest.param(
            {"authn": {"issuers": [{"issuer": "x", "leeway": "5m", "keys": {"file": "k"}}]}},
            "authn.issuers.0: leeway must be at most 60s",
            id="leeway",
        ),
        pytest.param(
            {"authn": {"issuers": [{"issuer": "x", "keys": {"discovery": True}}]}},
            "authn.issuers.0: keys.discovery needs an issuer that begins with https://",
            id="discovery-issuer",
        ),
        pytest.param(
            {
                "authn": {
                    "issuers": [{"issuer": "x", "keys": {"file": "k"}}, {"issuer": "y", "keys": {"file": "k"}}]
                }
            },
            "authn: issuers: each name must be used once",
            id="same-name",
        ),
        pytest.param(
            {"authn": {"issuers": [{"issuer": "x", "keys": {"file": "k"}}]}, "kubernetes": {}},
            "the file: kubernetes.name and an issuer of authn.issuers are both called home: give the issuer"
            " another name, or set kubernetes.token_review.enabled: false to check tokens by its keys alone",
            id="an-issuer-called-as-the-cluster",
        ),
    ],
)
def test_refuses(tree: dict[str, object], problem: str) -> None:
    """Each problem names its path, the expectation and what to do."""
    with pytest.raises(ConfigError) as caught:
        validated(tree, "f")
    assert caught.value.problems == (problem,)


def test_symmetric_algorithms_can_not_be_configured() -> None:
    """HS256 and none are not in the list."""
    tree = {"authn": {"issuers": [{"issuer": "x", "algorithms": ["HS256", "none"], "keys": {"file": "k"}}]}}
    with pytest.raises(ConfigError) as caught:
        validated(tree, "f")
    places = [problem.split(":")[0] for problem in caught.value.problems]
    assert places[:2] == ["authn.issuers.0.algorithms.0", "authn.issuers.0.algorithms.1"]


def test_all_problems_at_once() -> None:
    """A file with three faults lists three problems."""
    with pytest.raises(ConfigError) as caught:
        validated({"a": 1, "workers": 0, "svid": {"default_lifetime": 5}}, "f")
    assert len(caught.value.problems) >= 3


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        pytest.param("- a\n", "expected keys at the top level", id="list"),
        pytest.param("a: 1\na: 2\n", "duplicate key", id="duplicate"),
    ],
)
def test_refuses_files(tmp_path: Path, text: str, problem: str) -> None:
    """A file that is no mapping is refused."""
    with pytest.raises(ConfigError, match=problem):
        load_config(written(tmp_path, text), {})


class TestAdminSocket:
    """`load_admin_socket`: one path, whatever else is wrong."""

    @pytest.mark.parametrize(
        ("text", "environ", "expected"),
        [
            pytest.param("", {}, "/var/lib/meshca/admin.sock", id="default"),
            pytest.param("data_dir: d\n", {}, "d/admin.sock", id="data directory"),
            pytest.param("data_dir: d\nlisten: {admin: a.sock, token: no}\n", {}, "a.sock", id="socket"),
            pytest.param("listen: 7\n", {"MESHCA__DATA_DIR": "/e"}, "/e/admin.sock", id="environment"),
            pytest.param("workers: x\n", {"MESHCA__LISTEN__ADMIN": "/e.sock"}, "/e.sock", id="environment socket"),
        ],
    )
    def test_found(self, tmp_path: Path, text: str, environ: dict[str, str], expected: str) -> None:
        """From the file or the environment, relative to the file."""
        assert load_admin_socket(written(tmp_path, text), environ) == tmp_path / expected

    def test_without_a_file(self) -> None:
        """The defaults and the environment count."""
        assert load_admin_socket(None, {"MESHCA__DATA_DIR": "/e"}) == Path("/e/admin.sock")

    @pytest.mark.parametrize("text", ["a: [", "data_dir: 7", "listen: {admin: 7}"])
    def test_refused(self, tmp_path: Path, text: str) -> None:
        """A file that says nothing of use is refused."""
        with pytest.raises(ConfigError):
            load_admin_socket(written(tmp_path, text), {})


def test_a_missing_file(tmp_path: Path) -> None:
    """A file that does not exist is named."""
    with pytest.raises(ConfigError, match="cannot be read \\(No such file or directory\\)"):
        load_config(tmp_path / "absent.yaml", {})


def test_a_file_that_is_not_text(tmp_path: Path) -> None:
    """Bytes that are not UTF-8 are refused."""
    path = tmp_path / "meshca.yaml"
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="is not UTF-8 text"):
        load_config(path, {})


def test_an_override_below_a_scalar(tmp_path: Path) -> None:
    """A variable that goes through a scalar names itself."""
    with pytest.raises(ConfigError, match="MESHCA__WORKERS__X: workers is not a section"):
        load_config(written(tmp_path, "workers: 2\n"), {"MESHCA__WORKERS__X": "1"})


SCALARS = st.none() | st.booleans() | st.integers() | st.text(max_size=20)
SECTIONS = st.sampled_from([*ServerConfig.model_fields, "foo"])


@given(st.dictionaries(SECTIONS, SCALARS | st.dictionaries(st.text(max_size=10), SCALARS)))
def test_any_tree_is_accepted_or_refused(tree: dict[str, object]) -> None:
    """No tree escapes as anything but a configuration or a ConfigError that names a problem."""
    try:
        validated(tree, "f")
    except ConfigError as error:
        assert error.problems  # noqa: PT017 - both ends are allowed


@pytest.mark.parametrize(
    ("name", "value", "place"),
    [("MESHCA__FOO", "1", "foo"), ("MESHCA__SVID__DEFAULT_LIFETIME", "soon", "svid.default_lifetime")],
    ids=["unknown", "wrong"],
)
def test_a_wrong_variable_is_named(tmp_path: Path, name: str, value: str, place: str) -> None:
    """The file is not to blame."""
    with pytest.raises(ConfigError) as caught:
        load_config(written(tmp_path, ""), {name: value})
    (problem,) = caught.value.problems
    assert problem.startswith(f"{place}: ")
    assert problem.endswith(f"(set by the environment variable {name})")


@pytest.mark.parametrize("kind", ["device", "fifo", "folder"])
def test_what_is_no_file_is_refused(tmp_path: Path, kind: str) -> None:
    """Reading it would never end."""
    path = Path("/dev/zero") if kind == "device" else tmp_path / kind
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    with pytest.raises(ConfigError) as caught:
        load_config(path, {})
    assert "is no regular file" in caught.value.problems[0]


@pytest.mark.parametrize("value", ["0", "65", "many", "1.5", "true"])
def test_a_wrong_number_of_workers(tmp_path: Path, value: str) -> None:
    """One line, whatever is wrong."""
    with pytest.raises(ConfigError) as caught:
        load_config(written(tmp_path, f"workers: {value}\n"), {})
    assert caught.value.problems == ("workers: expected auto or 1 to 64",)


@pytest.mark.parametrize(
    ("name", "kubernetes"),
    [("other", {}), ("home", {"token_review": {"enabled": False}}), ("home", {"name": "west"})],
    ids=["another name", "nothing reviewed", "another cluster"],
)
def test_issuers_beside_a_cluster(name: str, kubernetes: dict[str, object]) -> None:
    """Rules can tell them apart, or there is nothing to tell apart."""
    issuer = {"name": name, "issuer": "x", "keys": {"file": "k"}}
    config = validated({"authn": {"issuers": [issuer]}, "kubernetes": kubernetes}, "f")
    assert config.kubernetes is not None
