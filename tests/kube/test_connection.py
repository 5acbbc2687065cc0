"""How an API server is found: in a pod, by a file, by a stranger's kubeconfig."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from aiohttp import web

from meshca.config.kubernetes import KubernetesConfig
from meshca.errors import ConfigError
from meshca.kube.connection import connect, own_namespace
from tests.fakes.kube_server import serving
from tests.fakes.kubeconfigs import kubeconfig
from tests.fakes.pki import make_ca


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
