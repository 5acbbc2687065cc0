"""A whole server, with the rights that the chart gives it, and a real cluster: written to, gone, and back."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import signal
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from meshca.errors import MeshcaError, NotFound
from tests.e2e.kube.cluster import Account, TestCluster, kubeconfig, open_cluster, until
from tests.e2e.kube.control_plane import running_control_plane
from tests.e2e.kube.publishing import KEY, NAMESPACES, Roots
from tests.e2e.kube.replicas import replica
from tests.real.dev_server import MESHCA, Server, running_server

pytestmark = pytest.mark.real("kubernetes")
LEASES = {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["get", "create", "update"]}
SECRETS = {"apiGroups": [""], "resources": ["secrets"], "verbs": ["get", "create", "update"]}
BUNDLES = [
    {"apiGroups": ["certificates.k8s.io"], "resources": ["clustertrustbundles"], "verbs": ["create", "patch"]},
    {"apiGroups": ["certificates.k8s.io"], "resources": ["signers"], "verbs": ["attest"]},
]


@pytest.fixture
def roots() -> Roots:
    """A ConfigMap name of the test's own."""
    return Roots()


async def account(cluster: TestCluster, folder: Path, namespace: str, roots: Roots) -> Account:
    """The server's service account."""
    return await cluster.account(
        folder,
        namespace,
        "meshca",
        cluster_rules=[roots.rule(), NAMESPACES, *BUNDLES],
        rules={namespace: [LEASES, SECRETS]},
    )


def settings(kubeconfig: Path, namespace: str, roots: Roots, **more: Any) -> Mapping[str, str]:
    """A server that writes everything there is to write."""
    tree = {
        "kubeconfig": str(kubeconfig),
        "namespace": namespace,
        "token_review": {"enabled": False},
        "timeout": "1s",
        "root_config_map": {"enabled": True, "name": roots.name},
        "cluster_trust_bundle": {"enabled": True, "signer": f"{namespace}.example/workloads"},
        "istiod_certificate": {"enabled": True, "namespace": namespace, "names": ["istiod.istio-system.svc"]},
        **more,
    }
    return {"MESHCA__WORKERS": "1", "MESHCA__KUBERNETES": json.dumps(tree)}


def status(server: Server) -> dict[str, Any]:
    """What its administrator sees of it."""
    told: dict[str, Any] = administer(server, "status")["kubernetes"]
    return told


def administer(server: Server, *command: str) -> dict[str, Any]:
    """The answer of an administrator's command."""
    environment = {**os.environ, "MESHCA_ADMIN_SOCKET": server.endpoint("endpoint-admin")}
    run = [*MESHCA, *command, "--output", "json"]
    answer = subprocess.run(run, check=True, capture_output=True, text=True, env=environment)
    told: dict[str, Any] = json.loads(answer.stdout)
    return told


async def secret(cluster: TestCluster, namespace: str) -> Mapping[str, bytes]:
    """The certificate of istiod."""
    try:
        made = await cluster.api.get(f"/api/v1/namespaces/{namespace}/secrets/istiod-tls")
    except NotFound:
        return {}
    return {name: base64.b64decode(value) for name, value in made["data"].items()}


async def test_everything_is_written(cluster: TestCluster, tmp_path: Path, roots: Roots) -> None:
    """The roots in ConfigMaps and a bundle, and istiod's certificate, with no right too many; status shows it."""
    namespace = await cluster.namespace()
    ours = await account(cluster, tmp_path, namespace, roots)
    with running_server(tmp_path / "ca", settings=settings(ours.kubeconfig, namespace, roots)) as server:
        served = server.root.decode()

        async def published() -> bool:
            made = await roots.found(cluster, namespace)
            return made is not None and made["data"] == {KEY: served} and bool(await secret(cluster, namespace))

        await until(published)
        made = await secret(cluster, namespace)
        leaf = x509.load_pem_x509_certificates(made["tls.crt"])[0]
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        assert names.get_values_for_type(x509.DNSName) == ["istiod.istio-system.svc"]
        assert made["ca.crt"].decode() == served
        name = f"{namespace}.example:workloads:root-cert"
        path = f"/apis/certificates.k8s.io/v1/clustertrustbundles/{name}"

        async def bundled() -> bool:
            return bool((await cluster.api.get(path))["spec"]["trustBundle"] == served)

        await until(bundled)
        await until(lambda: status(server)["config_maps"]["pending"] == 0)
        told = status(server)
        assert told["leading"] is True
        assert told["config_maps"]["in_sync"] > 1
        assert (told["bundle_version"], told["bundle"]["in_sync"]) == ("v1", 1)
        assert told["istiod_secret"] == f"{namespace}/istiod-tls"
        assert told["istiod_not_after"] is not None
        problems = ("election_error", "left_out", "istiod_error")
        assert [told[problem] for problem in problems] == ["", [], ""]
        await cluster.api.delete(f"/api/v1/namespaces/{namespace}/secrets/istiod-tls")

        async def made_anew() -> bool:
            again = await secret(cluster, namespace)
            return bool(again) and again["tls.key"] != made["tls.key"]

        await until(made_anew)
        await cluster.api.delete(path)
        assert "PRIVATE KEY" not in (server.folder / "log").read_text()


async def test_issued_certificate_is_in_the_ledger(cluster: TestCluster, tmp_path: Path, roots: Roots) -> None:
    """What is made for istiod is recorded like every signature."""
    namespace = await cluster.namespace()
    ours = await account(cluster, tmp_path, namespace, roots)
    with running_server(tmp_path / "ca", settings=settings(ours.kubeconfig, namespace, roots)) as server:

        async def there() -> bool:
            return bool(await secret(cluster, namespace))

        await until(there)
        made = await secret(cluster, namespace)
        serial = f"{x509.load_pem_x509_certificates(made['tls.crt'])[0].serial_number:x}"
        record = administer(server, "ledger", "show", serial)
    assert (record["rule"], record["namespace"], record["result"]) == ("istiod", namespace, "issued")


async def test_two_servers_one_leader(cluster: TestCluster, tmp_path: Path, roots: Roots) -> None:
    """The second follows and says whom; when the first ends it goes on at once."""
    namespace = await cluster.namespace()
    ours = await account(cluster, tmp_path, namespace, roots)
    only = settings(
        ours.kubeconfig,
        namespace,
        roots,
        root_config_map={"enabled": True, "name": roots.name, "namespaces": [namespace]},
        cluster_trust_bundle={"enabled": False},
        istiod_certificate={"enabled": False},
    )
    with running_server(tmp_path / "one", settings=only) as one:
        await until(lambda: status(one)["leading"])
        with running_server(tmp_path / "two", settings=only) as two:
            await until(lambda: bool(status(two)["holder"]))
            told = status(two)
            assert (told["leading"], told["holder"]) == (False, status(one)["holder"])
            one.process.send_signal(signal.SIGTERM)
            await until(lambda: status(two)["leading"])

            async def second_root() -> bool:
                made = await roots.found(cluster, namespace)
                return made is not None and made["data"] == {KEY: two.root.decode()}

            await until(second_root)


async def test_who_has_no_ca_does_not_lead(cluster: TestCluster, tmp_path: Path, roots: Roots) -> None:
    """A replica that waits for its CA leaves the lease to one that has it, which publishes, and follows that."""
    namespace = await cluster.namespace()
    with replica(tmp_path / "bad", kubeconfig(), namespace, "names: [nothing-here]", roots.name) as bad:
        await until(lambda: "none holds a CA" in bad.waits_for())
        (bad.server.folder / "endpoint-admin").write_text(bad.admin())
        await asyncio.sleep(3)
        assert status(bad.server)["leading"] is False
        with replica(tmp_path / "good", kubeconfig(), namespace, roots=roots.name) as good:
            await asyncio.to_thread(good.server.wait_until_it_serves)
            await until(lambda: roots.holds(cluster, [namespace], good.server.root.decode()))
            (good.server.folder / "endpoint-admin").write_text(good.admin())
            told = status(good.server)
            assert told["leading"] is True
            await until(lambda: status(bad.server)["holder"] == told["holder"])
            assert status(bad.server)["leading"] is False


class TestOutage:
    """A cluster of its own, which is stopped and started."""

    @pytest.fixture
    def stopped(self, tmp_path: Path) -> Iterator[Any]:
        """A control plane whose API server can be frozen."""
        folder = tmp_path / "plane"
        folder.mkdir()
        with running_control_plane(folder) as plane:
            try:
                yield plane
            finally:
                plane.processes[0].send_signal(signal.SIGCONT)
                for process in plane.processes:
                    process.send_signal(signal.SIGCONT)

    async def test_gone_at_start_and_later(
        self, stopped: Any, tmp_path: Path, roots: Roots, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The server starts and issues without it, publishes once it is there, and again after it was gone."""
        monkeypatch.setenv("MESHCA_TEST_KUBECONFIG", str(stopped.kubeconfig))
        async with open_cluster() as cluster:
            namespace = await cluster.namespace()
            api_server = next(one for one in stopped.processes if "kube-apiserver" in one.args)
            api_server.send_signal(signal.SIGSTOP)
            with running_server(
                tmp_path / "ca", settings=settings(stopped.kubeconfig, namespace, roots)
            ) as server:
                assert (await server.create(server.token())).spiffe_id
                await until(lambda: "did not answer in time" in status(server)["election_error"], 20)
                api_server.send_signal(signal.SIGCONT)

                async def published() -> bool:
                    made = await roots.found(cluster, namespace)
                    return made is not None and made["data"] == {KEY: server.root.decode()}

                await until(published, 30)
                api_server.send_signal(signal.SIGSTOP)
                await until(lambda: not status(server)["leading"], 30)
                assert (await server.create(server.token())).spiffe_id
                api_server.send_signal(signal.SIGCONT)
                await asyncio.sleep(0.5)

                async def deleted() -> bool:
                    try:
                        await cluster.api.delete(roots.path(namespace))
                    except NotFound:
                        return True
                    except MeshcaError:
                        return False
                    return True

                await until(deleted, 20)
                await until(published, 30)
