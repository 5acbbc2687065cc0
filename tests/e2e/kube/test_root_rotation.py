"""A root in a Secret is replaced in a real cluster: published before it signs, moved at the end, killed between.

One server, its ledger on SQLite; callers are proven by the API server and only call CreateCertificate, as Istio's
agents do.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import itertools
import signal
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

import grpc.aio
import pytest
from cryptography import x509

from meshca.authority.fleet import Word
from meshca.authority.history import Kind
from meshca.authority.lifecycle import State
from meshca.authority.material import certificate_id
from meshca.errors import MeshcaError, NotFound
from tests.e2e.kube.cluster import TestCluster, kubeconfig, until
from tests.e2e.kube.istio_like import rule
from tests.e2e.kube.publishing import Roots
from tests.e2e.kube.rotating import report, rotate
from tests.e2e.kube.serve import PODS, REVIEWS, serving_cluster
from tests.e2e.rotation.dying import AFTER, BEFORE, SECRET, through
from tests.real.dev_server import Certificate, Server

pytestmark = pytest.mark.real("kubernetes")
MAIN, SPARE, ISTIOD = "istio-ca-secret", "istio-ca-secret-next", "istiod-tls"
SECONDS: Final = 60.0  # longest wait for a phase
LIVES: Final = 20  # far more than it takes
TERMS: Final = {"settle": "1s", "published_for": "1s"}
SHORT: Final = {"default_lifetime": "10s"}  # a caller that shows its token alone counts until its old leaves end


class Mesh:
    """A server over a CA in a Secret, and one workload that is told apart by its pod.

    Args:
        cluster: where.
        folder: of the server.
        namespace: of the server and istiod.
        shop: of the workload.
    """

    def __init__(self, cluster: TestCluster, folder: Path, namespace: str, shop: str) -> None:
        self.cluster = cluster
        self.folder = folder
        self.namespace = namespace
        self.shop = shop
        self.roots = Roots()
        self._token = ""

    @contextlib.contextmanager
    def serving(self, file: Path | None = None, through: Sequence[str] = ()) -> Iterator[Server]:
        """The server, begun or begun again over what it left; through a command it may die at any moment."""
        section = {
            "kubeconfig": str(file or kubeconfig()),
            "namespace": self.namespace,
            "root_config_map": {
                "enabled": True,
                "name": self.roots.name,
                "namespaces": [self.namespace, self.shop],
            },
            "istiod_certificate": {"enabled": True, "namespace": self.namespace},
        }
        upstream = {"kind": "secret", "create": True}
        sections: dict[str, Any] = {"upstream": upstream, "rotation": TERMS, "svid": SHORT}
        running = serving_cluster(self.folder, section, through=through, **sections)
        with running as server:
            yield server

    async def call(self, server: Server) -> Certificate:
        """A certificate for the workload, asked for by who trusts what is published."""
        (self.folder / "root.pem").write_text((await self.published())[0])
        if not self._token:
            self._token = await self.cluster.token(
                self.shop, "web", pod=await self.cluster.pod(self.shop, "web", name="web-0")
            )
        return await server.create(self._token)

    async def calls_until(self, server: Server, states: dict[str, State]) -> None:
        """Call as an agent whose certificates are short does, until the roots stand like this."""

        async def stand() -> bool:
            await self.call(server)
            await asyncio.sleep(0.3)  # the server allows an identity ten a second
            return await self.states() == states

        await until(stand, SECONDS)

    async def published(self) -> list[str]:
        """The roots in each namespace."""
        maps = [await self.roots.found(self.cluster, name) for name in (self.namespace, self.shop)]
        return [one["data"]["root-cert.pem"] if one else "" for one in maps]

    async def publishes(self, *ids: str) -> bool:
        """Whether exactly these are in every namespace."""
        return all(ids_of(text) == list(ids) for text in await self.published())

    async def secret(self, name: str) -> dict[str, str]:
        """What a Secret holds; nothing when there is none."""
        try:
            found = await self.cluster.api.get(f"/api/v1/namespaces/{self.namespace}/secrets/{name}")
        except NotFound:
            return {}
        return {key: base64.b64decode(value).decode() for key, value in (found.get("data") or {}).items()}

    async def held(self, name: str) -> list[str]:
        """The root in a Secret."""
        return ids_of((await self.secret(name)).get("ca-cert.pem", ""))

    async def istiod(self) -> tuple[x509.Name, list[str]]:
        """Below which root istiod's certificate is, and which roots lie beside it."""
        found = await self.secret(ISTIOD)
        *_, last = x509.load_pem_x509_certificates(found["tls.crt"].encode())
        return last.issuer, ids_of(found["ca.crt"])

    async def states(self) -> dict[str, State]:
        """Where each root stands."""
        found = (await report(self.folder)).authorities
        return {one.record.id: one.record.state for one in found if one.record.kind is Kind.ROOT}


@pytest.fixture
async def mesh(cluster: TestCluster, tmp_path: Path) -> Mesh:
    """Namespaces, and no server yet."""
    return Mesh(cluster, tmp_path / "ca", await cluster.namespace(), await cluster.namespace())


def ids_of(text: str) -> list[str]:
    """The certificates of a text, each by its id."""
    return [certificate_id(one) for one in x509.load_pem_x509_certificates(text.encode())] if text else []


def below(certificate: Certificate, root: str) -> bool:
    """Whether a workload's chain ends below this root, which came with it."""
    above = x509.load_pem_x509_certificates("".join(certificate.answer.cert_chain[1:]).encode())
    names = {certificate_id(one): one.subject for one in above}
    return root in names and above[0].issuer == names[root]


async def begun(mesh: Mesh) -> str:
    """The first root, once every namespace has it."""
    await until(lambda: _first(mesh), SECONDS)
    [old] = await mesh.held(MAIN)
    return old


async def _first(mesh: Mesh) -> bool:
    held = await mesh.held(MAIN)
    return bool(held) and await mesh.publishes(*held) and bool(await mesh.secret(ISTIOD))


async def test_planned(mesh: Mesh) -> None:
    """A caller that cannot acknowledge holds each step until it has called again; nothing is ever out of step."""
    with mesh.serving() as server:
        old = await begun(mesh)
        assert below(await mesh.call(server), old)
        new = (await rotate(mesh.folder)).id
        await until(lambda: mesh.publishes(old, new), SECONDS)
        assert (await mesh.held(MAIN), await mesh.held(SPARE)) == ([old], [new])
        held = await report(mesh.folder)
        assert held.gate is not None
        assert not held.gate.open
        [straggler] = held.gate.stragglers
        assert (straggler.workload.word, straggler.workload.pod) == (Word.DELIVERED, "web-0")
        assert "1 that cannot acknowledge have not got it" in held.gate.why
        assert await mesh.states() == {old: State.ACTIVE, new: State.DISTRIBUTING}

        told = await mesh.call(server)
        assert below(told, old)
        assert ids_of(told.answer.cert_chain[-1]) == [old, new]
        await mesh.calls_until(server, {old: State.RETIRING, new: State.ACTIVE})
        above, roots = await mesh.istiod()
        assert (above == subject(await mesh.secret(MAIN)), roots) == (True, [old, new])
        assert await mesh.publishes(old, new)

        await mesh.calls_until(server, {old: State.RETIRED, new: State.ACTIVE})
        await until(lambda: mesh.publishes(new), SECONDS)
        await until(lambda: _moved(mesh, new), SECONDS)
        await until(lambda: _istiod_is_below(mesh, new), SECONDS)
        assert below(await mesh.call(server), new)


async def test_nobody_signs_before_it_is_published(mesh: Mesh, tmp_path: Path) -> None:
    """A ConfigMap that cannot be written holds the new root, in words; once it can, all goes on by itself."""
    names = {name: [rule("get list watch", "configmaps", name=mesh.roots.name)] for name in (mesh.shop,)}
    here = [
        rule("get list watch create update", "secrets"),
        rule("get create update", "leases", "coordination.k8s.io"),
        rule("get list watch create patch", "configmaps", name=mesh.roots.name),
    ]
    account = await mesh.cluster.account(
        tmp_path,
        mesh.namespace,
        "meshca",
        cluster_rules=[REVIEWS, PODS],
        rules={mesh.namespace: here, **names},
    )
    with mesh.serving(account.kubeconfig):
        await until(lambda: _held_in(mesh, MAIN), SECONDS)
        [old] = await mesh.held(MAIN)
        new = (await rotate(mesh.folder)).id

        async def waits() -> bool:
            gate = (await report(mesh.folder)).gate
            return gate is not None and "it is not in the published roots yet" in gate.why

        await until(waits, SECONDS)
        assert await mesh.states() == {old: State.ACTIVE, new: State.DISTRIBUTING}
        rights = [rule("get list watch create patch", "configmaps", name=mesh.roots.name)]
        await mesh.cluster.account(tmp_path, mesh.namespace, "meshca", rules={mesh.shop: rights})
        await until(lambda: _moved(mesh, new), 2 * SECONDS)


@pytest.mark.parametrize("moment", ["distributing", "retiring", "moving"])
async def test_killed(mesh: Mesh, moment: str) -> None:
    """Whenever it is killed, the same rotation goes on after a start, and ends with one root."""
    with mesh.serving() as server:
        old = await begun(mesh)
        await mesh.call(server)
        new = (await rotate(mesh.folder)).id
        await until(lambda: mesh.publishes(old, new), SECONDS)
        if moment != "distributing":
            await mesh.calls_until(server, {old: State.RETIRING, new: State.ACTIVE})
        if moment == "moving":
            await mesh.calls_until(server, {old: State.RETIRED, new: State.ACTIVE})
        server.stop(signal.SIGKILL)
    with mesh.serving() as server:
        expected = {
            "distributing": {old: State.ACTIVE, new: State.DISTRIBUTING},
            "retiring": {old: State.RETIRING, new: State.ACTIVE},
            "moving": {old: State.RETIRED, new: State.ACTIVE},
        }
        assert await mesh.states() == expected[moment]
        await mesh.calls_until(server, expected["moving"])
        assert below(await mesh.call(server), new)
        await until(lambda: mesh.publishes(new), SECONDS)
        await until(lambda: _moved(mesh, new), SECONDS)


async def test_killed_at_each_write(mesh: Mesh) -> None:
    """Right before and right after each write that a root depends on; each life goes on from there.

    Who dies once the new root has moved leaves it in the second Secret as well, until somebody starts again.
    """
    deaths = 0
    for when in itertools.islice(itertools.cycle((BEFORE, AFTER)), LIVES):
        with mesh.serving(through=through(when, SECRET)) as server:
            await until(partial(_dies_or_ends, mesh, server, when), 2 * SECONDS)
            if server.process.poll() is None:
                break
            assert server.process.returncode == -signal.SIGKILL
            deaths += 1
    assert deaths == 2 * len(
        ["the first root", "the second root", "that moved to the first Secret", "the second Secret emptied"]
    )
    assert not await mesh.secret(SPARE)


async def _dies_or_ends(mesh: Mesh, server: Server, when: str) -> bool:
    """Do what leads to the end of a rotation; whether nothing is left to write, or the server is dead."""
    if server.process.poll() is not None:
        return True
    with contextlib.suppress(MeshcaError, grpc.aio.AioRpcError, OSError):
        found = await mesh.states()
        over = list(found.values()) == [State.RETIRED, State.ACTIVE]
        if not over:
            await rotate(mesh.folder)  # whoever had no answer asks again
        await mesh.call(server)
        await asyncio.sleep(0.3)  # the server allows an identity ten a second
        return over and when == BEFORE and await _moved(mesh, list(found)[1])
    return False


def subject(secret: dict[str, str]) -> x509.Name:
    """Of the root in a Secret."""
    return x509.load_pem_x509_certificate(secret["ca-cert.pem"].encode()).subject


async def _held_in(mesh: Mesh, name: str, *roots: str) -> bool:
    found = await mesh.held(name)
    return found == list(roots) if roots else bool(found)


async def _moved(mesh: Mesh, new: str) -> bool:
    """Whether the main Secret holds the new root, and the second one is there and empty."""
    return await mesh.held(MAIN) == [new] and not await mesh.secret(SPARE)


async def _istiod_is_below(mesh: Mesh, new: str) -> bool:
    return await mesh.istiod() == (subject(await mesh.secret(MAIN)), [new])
