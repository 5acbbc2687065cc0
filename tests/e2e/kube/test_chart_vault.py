"""What the chart gives a pod for Vault: its token, the roots, and a place for each replica's own keys."""

from __future__ import annotations

import subprocess
from datetime import timedelta
from pathlib import Path

import pytest
import yaml

from meshca import durable
from meshca.config.server import ServerConfig
from meshca.config.vault import VaultConfig
from tests.e2e.kube.chart import only, rendered, workload
from tests.e2e.kube.chart_values import CHOICES, IN_TOKEN, TOKEN, VAULT

pytestmark = pytest.mark.real("kubernetes")


def test_vault() -> None:
    """The server finds what the pod mounts: a token for Vault alone, the roots, the CA; more keys are its own."""
    ca = {"configMap": "vault-ca", "key": "vault.pem"}
    vault = {**VAULT, "audience": "https://vault", "ca": ca, "config": {"timeout": "5s"}}
    objects = rendered(upstream={"kind": "vault", "vault": vault})
    config = ServerConfig.model_validate(
        yaml.safe_load(only(objects, "ConfigMap", "meshca")["data"]["meshca.yaml"])
    )
    upstream = config.upstream
    assert isinstance(upstream, VaultConfig)
    assert (upstream.custody, upstream.timeout) == ("file", timedelta(seconds=5))
    spec = workload(objects)["spec"]["template"]["spec"]
    places = {Path(each["mountPath"]): each["name"] for each in spec["containers"][0]["volumeMounts"]}
    volumes = {each["name"]: each for each in spec["volumes"]}
    assert upstream.login.kubernetes is not None
    assert upstream.roots.file is not None
    assert upstream.ca_file is not None
    token = volumes[places[upstream.login.kubernetes.token_file.parent]]["projected"]["sources"]
    assert token == [
        {"serviceAccountToken": {"path": "token", "audience": "https://vault", "expirationSeconds": 600}}
    ]
    assert volumes[places[upstream.roots.file.parent]]["configMap"] == {"name": "mesh-roots"}
    assert volumes[places[upstream.ca_file.parent]]["configMap"] == {"name": "vault-ca"}
    assert (upstream.roots.file.name, upstream.ca_file.name) == ("roots.pem", "vault.pem")


def test_a_secret_of_each_replica() -> None:
    """Pods keep their names, and each gives its own to its Secret; otherwise nothing needs a StatefulSet."""
    made = workload(rendered(**CHOICES["vault-secrets"]))
    assert made["kind"] == "StatefulSet"
    [container] = made["spec"]["template"]["spec"]["containers"]
    assert container["env"] == [
        {"name": "POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        {"name": "MESHCA__UPSTREAM__CUSTODY_SECRET", "value": "meshca-vault-$(POD)"},
    ]
    others = CHOICES.keys() - {"vault-secrets", "vault-token"}
    assert {workload(rendered(**CHOICES[one]))["kind"] for one in others} == {"Deployment"}


def test_a_token_of_all_replicas() -> None:
    """Pods keep their names, which are those of their keys; library, its configuration and the PIN are there."""
    objects = rendered(**IN_TOKEN)
    tree = yaml.safe_load(only(objects, "ConfigMap", "meshca")["data"]["meshca.yaml"])
    assert tree["upstream"]["custody_token"] == TOKEN
    made = workload(objects)
    assert made["kind"] == "StatefulSet"
    [container] = made["spec"]["template"]["spec"]["containers"]
    mounts = {each["mountPath"]: each["name"] for each in container["volumeMounts"]}
    assert (mounts["/opt/hsm"], mounts["/run/meshca-private"]) == ("hsm", "private-files")
    assert container["env"] == IN_TOKEN["extraEnv"]


def test_private_files(tmp_path: Path) -> None:
    """Files of a volume that all in the pod may read become such that the server takes; folders are left out."""
    objects = rendered(privateFiles={"secret": {"secretName": "pin"}})
    spec = workload(objects)["spec"]["template"]["spec"]
    [before] = spec["initContainers"]
    given, private = tmp_path / "given", tmp_path / "private"
    private.mkdir()
    (given / "..data").mkdir(parents=True)
    (given / "..data/pin").write_text("1234")
    (given / "pin").symlink_to("..data/pin")  # as the kubelet has it
    (given / "..data/more").mkdir()  # an item whose path is more/pin
    (given / "..data/more/pin").write_text("5678")
    (given / "more").symlink_to("..data/more")
    places = {each["name"]: each["mountPath"] for each in before["volumeMounts"]}
    text = before["command"][-1].replace(places["given-files"], str(given))
    text = text.replace(places["private-files"], str(private))
    command = [*before["command"][:-1], text]
    subprocess.run(command, check=True)
    assert (durable.read_private(private / "pin"), len(list(private.iterdir()))) == (b"1234", 1)
    private.rename(tmp_path / "gone")
    assert subprocess.run(command, check=False, stderr=subprocess.DEVNULL).returncode != 0  # no start
    volumes = {each["name"]: each for each in spec["volumes"]}
    assert volumes["given-files"] == {"name": "given-files", "secret": {"secretName": "pin"}}
