"""How an API server is found: in a pod, by a file, by a stranger's kubeconfig."""

from __future__ import annotations

import base64
import tempfile
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiohttp import web
from kubernetes.aio.config import kube_config

from meshca.config.kubernetes import KubernetesConfig
from meshca.errors import ConfigError
from meshca.kube.connection import MAX_KUBECONFIG, connect, connect_remote, own_namespace
from tests.fakes.kube_server import serving
from tests.fakes.pki import make_ca

SECOND = timedelta(seconds=1)


def kubeconfig(server: str, user: dict[str, Any], cluster: dict[str, Any] | None = None) -> dict[str, Any]:
    """A kubeconfig of one cluster and one user."""
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "c", "cluster": {"server": server, **(cluster or {})}}],
        "users": [{"name": "u", "user": user}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u", "namespace": "there"}}],
        "current-context": "x",
    }


async def said(request: web.Request) -> web.Response:
    """What the client showed of itself."""
    return web.json_response({"authorization": request.headers.get("Authorization", "")})


class TestFile:
    """A kubeconfig on disk is the operator's own."""

    async def test_token_file_is_read_for_each_call(self, tmp_path: Path) -> None:
        """A token that was replaced is shown by the next call."""
        (tmp_path / "token").write_text("one\n")
        async with serving(said) as address:
            (tmp_path / "config").write_text(yaml.safe_dump(kubeconfig(address, {"tokenFile": "token"})))
            async with connect(KubernetesConfig(kubeconfig=tmp_path / "config")) as api:
                assert await api.get("/a") == {"authorization": "Bearer one"}
                (tmp_path / "token").write_text("two")
                assert await api.get("/a") == {"authorization": "Bearer two"}
                assert api.name == "home"

    async def test_token(self, tmp_path: Path) -> None:
        """A token in the file is shown."""
        async with serving(said) as address:
            (tmp_path / "config").write_text(yaml.safe_dump(kubeconfig(address, {"token": "inline"})))
            async with connect(KubernetesConfig(kubeconfig=tmp_path / "config")) as api:
                assert await api.get("/a") == {"authorization": "Bearer inline"}

    @pytest.mark.parametrize("text", ["", "a: [", "[]", "contexts: []"], ids=["empty", "no yaml", "list", "half"])
    async def test_no_kubeconfig(self, tmp_path: Path, text: str) -> None:
        """A file that is none is named."""
        (tmp_path / "config").write_text(text)
        with pytest.raises(ConfigError, match="no usable kubeconfig") as caught:
            async with connect(KubernetesConfig(kubeconfig=tmp_path / "config")):
                pass
        assert caught.value.source == str(tmp_path / "config")

    async def test_missing(self, tmp_path: Path) -> None:
        """So is one that is not there."""
        with pytest.raises(ConfigError, match="no usable kubeconfig"):
            async with connect(KubernetesConfig(kubeconfig=tmp_path / "none")):
                pass

    async def test_a_certificate_that_is_gone(self, tmp_path: Path) -> None:
        """A certificate that the file names must be there."""
        tree = kubeconfig("https://127.0.0.1:1", {}, {"certificate-authority": str(tmp_path / "gone")})
        (tmp_path / "config").write_text(yaml.safe_dump(tree))
        with pytest.raises(ConfigError):
            async with connect(KubernetesConfig(kubeconfig=tmp_path / "config")):
                pass


class TestInPod:
    """Without a file, the pod around us says it all."""

    async def test_not_in_a_pod(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Elsewhere the operator is told which key to set."""
        monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
        with pytest.raises(ConfigError, match=r"set kubernetes\.kubeconfig"):
            async with connect(KubernetesConfig(), mount=tmp_path):
                pass

    @pytest.mark.parametrize(
        ("host", "url"), [("10.0.0.1", "https://10.0.0.1:443"), ("fd00::1", "https://[fd00::1]:443")]
    )
    async def test_in_a_pod(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, host: str, url: str) -> None:
        """Address, roots and token come from the environment and the mounted folder."""
        monkeypatch.setenv("KUBERNETES_SERVICE_HOST", host)
        monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "443")
        (tmp_path / "token").write_text("mine")
        (tmp_path / "ca.crt").write_text(make_ca("cluster").pem)
        async with connect(KubernetesConfig(), mount=tmp_path) as api:
            configuration = api._client.configuration
            assert configuration.host == url
            assert (await configuration.auth_settings())["BearerToken"]["value"] == "Bearer mine"


class TestNamespace:
    """Where we run."""

    def test_configured(self, tmp_path: Path) -> None:
        """What the configuration says wins."""
        assert own_namespace(KubernetesConfig(namespace="here"), mount=tmp_path) == "here"

    def test_of_the_pod(self, tmp_path: Path) -> None:
        """The kubelet writes it beside the token."""
        (tmp_path / "namespace").write_text("pods\n")
        assert own_namespace(KubernetesConfig(), mount=tmp_path) == "pods"

    def test_of_the_kubeconfig(self, tmp_path: Path) -> None:
        """The context of the file says it."""
        (tmp_path / "config").write_text(yaml.safe_dump(kubeconfig("https://x", {})))
        assert own_namespace(KubernetesConfig(kubeconfig=tmp_path / "config")) == "there"

    @pytest.mark.parametrize("text", ["", "[]", "current-context: x\ncontexts: []", "a: ["])
    def test_unknown(self, tmp_path: Path, text: str) -> None:
        """Where nothing says it, the operator is asked to."""
        (tmp_path / "config").write_text(text)
        with pytest.raises(ConfigError, match=r"kubernetes\.namespace: is not known here"):
            own_namespace(KubernetesConfig(kubeconfig=tmp_path / "config"))

    def test_no_pod(self, tmp_path: Path) -> None:
        """Nor does a folder that is not there."""
        with pytest.raises(ConfigError, match=r"kubernetes\.namespace"):
            own_namespace(KubernetesConfig(), mount=tmp_path / "none")


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
