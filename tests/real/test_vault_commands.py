"""What `meshca vault policy` prints, typed into a shell for each login: then it works, with the least rights.

Every test has a namespace of its own; what is in capitals is for the operator to fill in.
"""

from __future__ import annotations

import asyncio
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from meshca.app.vault import check, least_policy
from meshca.clock import SystemClock
from meshca.config.vault import VaultConfig
from meshca.doctor.finding import Verdict
from meshca.doctor.vault_checks import LEAF_CHECKS
from meshca.upstream.vault.opening import reach
from tests.real.openbao import (
    Mount,
    Namespace,
    OpenBao,
    in_namespace,
    new_mount,
    running_openbao,
    tls_client,
    tls_files,
    vault_config,
)
from tests.real.token_reviews import Reviews, projected

pytestmark = pytest.mark.real("openbao")
WELL = dict.fromkeys(LEAF_CHECKS, Verdict.OK) | {"vault-mount": Verdict.UNKNOWN}
CAPITALS = re.compile(r"\b(FILE|CIDR|NAMESPACE|CA_FILE|URI)\b")
URI = "spiffe://machines.example/meshca"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenBao]:
    """With TLS, which a login by certificate needs."""
    tls, roots = tls_files(tmp_path_factory.mktemp("tls"))
    with running_openbao(tls=tls, roots=roots) as server:
        yield server


class Operator:
    """Of one namespace, with a mount.

    Attributes:
        team: the namespace.
        path: of the server's configuration.
    """

    def __init__(self, team: Namespace, mount: Mount, folder: Path) -> None:
        self.team = team
        self.path = folder / "meshca.yaml"
        self._mount = mount
        self._folder = folder

    def configure(self, **login: Any) -> VaultConfig:
        """Write the configuration, with a login."""
        leaves = {"role": "mesh-leaf"}
        config = vault_config(self.team, self._mount, self._folder, login=login, sign_leaves=leaves)
        upstream = config.model_dump(mode="json", exclude_none=True)
        self.path.write_text(yaml.safe_dump({"data_dir": str(self._folder / "data"), "upstream": upstream}))
        return config

    async def type_all(self) -> list[str]:
        """Run every command that is printed for that configuration; what each prints."""
        return [await self._typed(command) for command in least_policy(self.path, {}).commands]

    async def _typed(self, command: str) -> str:
        filled = {"FILE": str(self.path), "CIDR": "127.0.0.0/8", "NAMESPACE": "mesh", "URI": URI}
        filled["CA_FILE"] = str(self._folder / "client.crt")
        process = await asyncio.create_subprocess_exec(
            "bash",
            "-euo",
            "pipefail",
            "-c",
            CAPITALS.sub(lambda found: filled[found[0]], command),
            stdout=asyncio.subprocess.PIPE,
            env={
                "PATH": os.pathsep.join(
                    [str(self.team.binary.parent), str(Path(sys.executable).parent), os.defpath]
                ),
                "HOME": str(self._folder),
                "BAO_ADDR": self.team.address,
                "BAO_CACERT": str(self.team.roots),
                "BAO_NAMESPACE": self.team.name,
                "BAO_TOKEN": self.team.root_token.reveal(),
            },
        )
        printed, _ = await process.communicate()
        assert process.returncode == 0, command
        return printed.decode().strip()

    async def check(self) -> dict[str, Verdict]:
        """What `meshca vault check` says."""
        return {one.name: one.verdict async for one in check(self.path, 20, sign=True, environ={})}


@pytest.fixture
async def operator(server: OpenBao, tmp_path: Path) -> Operator:
    """Of a namespace of this test's own."""
    team = await in_namespace(server)
    return Operator(team, await new_mount(team), tmp_path)


async def test_token(operator: Operator, tmp_path: Path) -> None:
    """The token that is made goes into its file."""
    operator.configure(token={"file": str(tmp_path / "token")})
    await operator.type_all()
    assert await operator.check() == WELL


async def test_approle(operator: Operator, tmp_path: Path) -> None:
    """The secret id that is made goes into its file; the role id is printed."""
    login = {"role_id": "not known yet", "secret_id_file": str(tmp_path / "made")}
    operator.configure(approle=login)
    role_id = (await operator.type_all())[-2]
    operator.configure(approle={**login, "role_id": role_id})
    assert await operator.check() == WELL


async def test_wrapped(operator: Operator, tmp_path: Path) -> None:
    """The wrapping token that is made goes into its file, and is taken as made where secret ids are."""
    login = {"role_id": "not known yet", "secret_id_file": str(tmp_path / "wrapped"), "wrapped": True}
    operator.configure(approle=login)
    role_id = (await operator.type_all())[-2]
    config = operator.configure(approle={**login, "role_id": role_id})
    async with reach(config, environ={}, clock=SystemClock()) as way:
        who = (await way.session.call("get", "auth/token/lookup-self")).data
    assert who.texts("policies") == ("meshca",)


async def test_kubernetes(operator: Operator, tmp_path: Path) -> None:
    """The role is bound to our service account and its audience."""
    (tmp_path / "token").write_text(projected(1))
    operator.configure(kubernetes={"role": "mesh", "token_file": str(tmp_path / "token")})
    reviews = Reviews()
    reviews.good.add(projected(1))
    async with reviews.served() as address:
        await operator.team.call("POST", "sys/auth/kubernetes", {"type": "kubernetes"})
        alone = {"disable_local_ca_jwt": True, "kubernetes_ca_cert": tls_client(tmp_path, "unused").pem}
        api = {"kubernetes_host": address, "token_reviewer_jwt": projected(0), **alone}
        await operator.team.call("POST", "auth/kubernetes/config", api)
        await operator.type_all()
        assert await operator.check() == WELL


async def test_certificate(operator: Operator, tmp_path: Path) -> None:
    """The role is bound to a CA and to the URI in our certificate."""
    tls_client(tmp_path, "meshca")
    files = {"certificate_file": str(tmp_path / "client.crt"), "key_file": str(tmp_path / "client.key")}
    operator.configure(cert=files)
    await operator.team.call("POST", "sys/auth/cert", {"type": "cert"})
    await operator.type_all()
    assert await operator.check() == WELL
