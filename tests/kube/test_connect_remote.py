"""A stranger's kubeconfig; the other ways to an API server are in test_connection.py."""

from __future__ import annotations

import base64
import tempfile
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes.aio.config import kube_config

from meshca.config.kubernetes import MAX_CONCURRENCY, KubernetesConfig
from meshca.errors import ConfigError
from meshca.kube import connection
from meshca.kube.connection import CONNECTIONS, MAX_KUBECONFIG, connect, connect_remote
from meshca.kube.pods import AT_ONCE
from tests.fakes.kubeconfigs import kubeconfig
from tests.fakes.pki import make_ca

SECOND = timedelta(seconds=1)
ME = make_ca("me")
GOOD = kubeconfig(
    "https://127.0.0.1:1",
    {"token": "theirs"},
    {"certificate-authority-data": base64.b64encode(make_ca("remote").pem.encode()).decode()},
)


def with_certificate(key: str) -> bytes:
    """One whose user has a certificate, and this key."""
    pair = {"client-certificate-data": ME.pem, "client-key-data": key}
    user = {field: base64.b64encode(pem.encode()).decode() for field, pem in pair.items()}
    return yaml.safe_dump({**GOOD, "users": [{"name": "u", "user": user}]}).encode()


def files(folder: Path) -> list[Path]:
    """Everything in it."""
    return sorted(folder.iterdir())


class TestRemote:
    """A kubeconfig from a Secret is a stranger's text."""

    async def test_inline(self) -> None:
        """With inline credentials it is used."""
        async with connect_remote(yaml.safe_dump(GOOD).encode(), "west", SECOND) as api:
            assert api.name == "west"

    @pytest.mark.parametrize(
        ("user", "word"),
        [
            ({"exec": {"command": "sh"}}, "exec"),
            ({"tokenFile": "/etc/shadow"}, "tokenFile"),
            ({"client-certificate": "/etc/passwd"}, "client-certificate"),
            ({"client-key": "/etc/passwd"}, "client-key"),
            ({"auth-provider": {"name": "gcp"}}, "auth-provider"),
            ({"username": "a", "password": "b"}, "password, username"),
        ],
    )
    async def test_user(self, user: dict[str, Any], word: str) -> None:
        """Commands and files of ours are refused by name."""
        tree = {**GOOD, "users": [{"name": "u", "user": user}]}
        with pytest.raises(ConfigError, match=f"user u has {word}; only"):
            async with connect_remote(yaml.safe_dump(tree).encode(), "west", SECOND):
                pass

    @pytest.mark.parametrize(
        ("cluster", "word"),
        [
            ({"server": "http://10.0.0.1"}, "must begin with https"),
            ({"server": "https://x", "insecure-skip-tls-verify": True}, "insecure-skip-tls-verify"),
            ({"server": "https://x", "certificate-authority": "/etc/passwd"}, "certificate-authority"),
        ],
    )
    async def test_cluster(self, cluster: dict[str, Any], word: str) -> None:
        """An unverified server is refused."""
        tree = {**GOOD, "clusters": [{"name": "c", "cluster": cluster}]}
        with pytest.raises(ConfigError, match=word):
            async with connect_remote(yaml.safe_dump(tree).encode(), "west", SECOND):
                pass

    @pytest.mark.parametrize(
        ("kind", "said", "problem"),
        [
            ("user", {"token": 1}, "user n: token must be text"),
            ("user", {"client-key-data": ["a"]}, "user n: client-key-data must be text"),
            ("cluster", {"server": 1}, "cluster n: server must be text"),
            ("cluster", {"server": "https://x", "proxy-url": {}}, "cluster n: proxy-url must be text"),
        ],
    )
    async def test_no_text(self, kind: str, said: dict[str, Any], problem: str) -> None:
        """Every value is text; nothing else is made into it."""
        tree = {**GOOD, f"{kind}s": [{"name": "n", kind: said}]}
        with pytest.raises(ConfigError) as caught:
            async with connect_remote(yaml.safe_dump(tree).encode(), "west", SECOND):
                pass
        assert caught.value.problems == (problem,)

    async def test_aliases(self) -> None:
        """A small text cannot unfold into a large one."""
        fold = "\n".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 30))
        unfolding = f"a0: &a0 [x]\n{fold}\n{yaml.safe_dump({**GOOD, 'users': [{'name': 'N', 'user': {}}]})}"
        text = unfolding.replace("name: N", "name: *a29").encode()
        assert len(text) < MAX_KUBECONFIG
        with pytest.raises(ConfigError, match="is no kubeconfig"):
            async with connect_remote(text, "west", SECOND):
                pass

    async def test_the_largest(self) -> None:
        """A text over the limit is refused unread, one at the limit is used."""
        text = yaml.safe_dump(GOOD).encode()
        text += b"#" * (MAX_KUBECONFIG - len(text))
        async with connect_remote(text, "west", SECOND):
            pass
        with pytest.raises(ConfigError, match=f"at most {MAX_KUBECONFIG} bytes"):
            async with connect_remote(text + b"#", "west", SECOND):
                pass

    async def test_connections(self, tmp_path: Path) -> None:
        """All that may be under way at once fits: reviews, questions, two watches, keys and issuer."""
        (tmp_path / "config").write_text(yaml.safe_dump(kubeconfig("https://127.0.0.1:1", {"token": "t"})))
        config = KubernetesConfig(kubeconfig=tmp_path / "config")
        async with (
            connect(config, watches=3) as home,
            connect_remote(yaml.safe_dump(GOOD).encode(), "w", SECOND) as api,
        ):
            connectors = [each._session().connector for each in (home, api)]
        limits = [each.limit for each in connectors if each is not None]
        assert limits == [CONNECTIONS + 3, CONNECTIONS]
        assert MAX_CONCURRENCY + 2 * AT_ONCE + len(("pods", "Secrets", "keys", "issuer")) <= CONNECTIONS

    async def test_no_file_is_left(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Keys are on disk no longer than it takes to read them; the same text can be used again."""
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
        cached = dict(kube_config._temp_files)
        for _ in range(2):
            async with connect_remote(with_certificate(ME.key_pem), "west", SECOND) as api:
                assert files(tmp_path) == []
                [root] = api._client.rest_client.ssl_context.get_ca_certs()
                assert root["subject"] == ((("commonName", "remote"),),)
        assert kube_config._temp_files == cached

    async def test_no_file_of_a_bad_key_is_left(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Nor when they do not fit together."""
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
        with pytest.raises(ConfigError, match="cannot be read"):
            async with connect_remote(with_certificate(make_ca("other").key_pem), "west", SECOND):
                pass
        assert files(tmp_path) == []

    async def test_its_words_are_not_repeated(self) -> None:
        """What cannot be read may be a credential."""
        with pytest.raises(ConfigError) as caught:
            async with connect_remote(b"private: 1\nprivate: 1", "west", SECOND):
                pass
        assert "private" not in str(caught.value)

    @pytest.mark.parametrize(
        "text",
        [
            *(b"", b"[]", b"a: [", b"users: 1", b"\xff", b"users: [a]", b"users: [{name: u, user: [token]}]"),
            *(b"users: [{name: [], user: {}}]", b"users: [{name: 1, user: {}}]", b"users: [{user: {}}]"),
            *(b"users: []\nclusters: [{name: c, cluster: {}}]", b"[" * 60_000),
        ],
    )
    async def test_damaged(self, text: bytes) -> None:
        """Anything else is no kubeconfig."""
        with pytest.raises(ConfigError, match="is no kubeconfig"):
            async with connect_remote(text, "west", SECOND):
                pass

    async def test_without_a_context(self) -> None:
        """A kubeconfig whose context is missing cannot be used."""
        tree = {**GOOD, "current-context": "none"}
        with pytest.raises(ConfigError, match="cannot be used"):
            async with connect_remote(yaml.safe_dump(tree).encode(), "west", SECOND):
                pass

    async def test_bad_roots(self) -> None:
        """Roots that are none are refused, not ignored."""
        cluster = {"server": "https://x", "certificate-authority-data": base64.b64encode(b"junk").decode()}
        tree = {**GOOD, "clusters": [{"name": "c", "cluster": cluster}]}
        with pytest.raises(ConfigError):
            async with connect_remote(yaml.safe_dump(tree).encode(), "west", SECOND):
                pass


def test_what_is_written_is_ours_alone(tmp_path: Path) -> None:
    """A key that must be a file for a moment can be read by nobody else, whatever the folder allows."""
    tree: dict[str, Any] = {
        "users": [{"user": {"client-key-data": base64.b64encode(b"key").decode()}}],
        "clusters": [],
    }
    connection._move_to_files(tree, tmp_path)
    [file] = tmp_path.iterdir()
    assert (file.read_bytes(), file.stat().st_mode & 0o777) == (b"key", 0o600)
    assert tree["users"][0]["user"] == {"client-key": str(file)}
