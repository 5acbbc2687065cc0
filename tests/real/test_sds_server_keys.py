"""An Envoy without an agent: its certificate, roots and policies straight from a real CA, by its token alone."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509

from meshca.app.envoy_process import EnvoyProcess
from meshca.identity.spiffe_id import SpiffeId
from meshca.sidecar.bootstrap import build
from meshca.sidecar.service import DirectFromCa, Inbound, ServiceBootstrap
from tests.fakes.echo_app import echo_app
from tests.real.dev_server import Server, running_server
from tests.real.envoy import running_envoy
from tests.real.raw_http import RawClient

pytestmark = pytest.mark.real("envoy")
PAYMENTS = SpiffeId.parse("spiffe://cluster.local/ns/shop/sa/payments")
SECONDS = 30
LIFE = timedelta(seconds=12)  # of a certificate: renewed after about six
DENY_ADMIN = """
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: no-admin, namespace: shop}
spec:
  action: DENY
  rules: [{to: [{operation: {paths: ["/admin"]}}]}]
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A CA that makes keys, and issues for a short time."""
    policies = tmp_path_factory.mktemp("policies")
    settings = {
        "MESHCA__WORKERS": "2",
        "MESHCA__SDS__SERVER_KEYS": "true",
        "MESHCA__SVID__DEFAULT_LIFETIME": f"{LIFE.seconds}s",
        "MESHCA__ROTATION__SETTLE": "1s",
        "MESHCA__POLICIES__DIR": str(policies),
    }
    with running_server(tmp_path_factory.mktemp("ca"), settings=settings) as running:
        (running.folder / "policies").symlink_to(policies)
        yield running


@dataclass(slots=True)
class Direct:
    """An Envoy that gets everything from the CA."""

    server: Server
    envoy: EnvoyProcess
    token_file: Path
    port: int
    client: ssl.SSLContext

    def show_token(self, expires_in: timedelta = timedelta(minutes=10)) -> None:
        """Put a fresh token where Envoy reads it, as the kubelet does: by a rename."""
        write_token(self.server, self.token_file, expires_in)

    async def serial(self) -> int:
        """Of the certificate that Envoy shows now."""
        _, writer = await asyncio.open_connection("127.0.0.1", self.port, ssl=self.client)
        der = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        writer.transport.abort()
        leaf = x509.load_der_x509_certificate(der)
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        assert names.get_values_for_type(x509.UniformResourceIdentifier) == [str(PAYMENTS)]
        return leaf.serial_number

    async def get(self, path: str) -> int:
        """The status of a request over a connection of its own."""
        async with RawClient(self.port, self.client) as client:
            return (await client.request("GET", path)).status

    async def until_serial_is_not(self, old: int) -> int:
        """Another certificate is shown; every request meanwhile is answered."""
        async with asyncio.timeout(SECONDS):
            while (now := await self.serial()) == old:
                assert await self.get("/") == 200
                await asyncio.sleep(0.05)
        return now

    async def until(self, happened: Callable[[], object]) -> None:
        """Something has happened; every request meanwhile is answered."""
        async with asyncio.timeout(SECONDS):
            while not happened():
                assert await self.get("/") == 200
                await asyncio.sleep(0.05)

    def ended(self, method: str) -> list[str]:
        """Streams of a method that ended with their token."""
        lines = [line for line in self.server.log() if line.get("reason") == "proof_ended"]
        return [line["method"] for line in lines if line["method"].endswith(method)]

    def refused(self, since: int) -> int:
        """How often a token was refused after so many lines of the log."""
        return sum(line.get("code") == "UNAUTHENTICATED" for line in self.server.log()[since:])

    def issued(self) -> list[str]:
        """Token ids of what was issued to this service so far."""
        lines = self.server.log()
        decided = [line for line in lines if line.get("event") == "issuance.decided"]
        ours = [line for line in decided if line.get("spiffe_id") == str(PAYMENTS)]
        return [line["token_id"] for line in ours if line["result"] == "issued"]


def write_token(server: Server, path: Path, expires_in: timedelta) -> None:
    """A token without a newline at its end."""
    fresh = path.with_suffix(".new")
    fresh.write_text(server.token("shop", "payments", pod="payments-0", expires_in=expires_in))
    fresh.rename(path)


@contextlib.asynccontextmanager
async def direct(
    server: Server, folder: Path, *, delta: bool = False, token: timedelta = timedelta(minutes=10)
) -> AsyncIterator[Direct]:
    """An Envoy that is ready."""
    host, _, port = server.endpoint().rpartition(":")
    (folder / "root.pem").write_bytes(server.root)
    token_file = folder / "token"
    write_token(server, token_file, token)
    caller = await server.create(server.token("shop", "web"), seconds=LIFE.seconds * 1000)
    (folder / "client.pem").write_bytes(caller.key.pem + caller.chain)
    client = ssl.create_default_context(cadata=server.root.decode())
    client.check_hostname = False  # a mesh peer is known by its URI name
    client.load_cert_chain(folder / "client.pem")
    async with echo_app() as app_port:
        service = ServiceBootstrap(
            identity=PAYMENTS,
            source=DirectFromCa(host=host, port=int(port), root_file=folder / "root.pem", token_file=token_file),
            inbound=(Inbound(port=0, app_port=app_port, address="127.0.0.1"),),
            delta=delta,
            node_id="payments-0",
        )
        async with running_envoy(build(service), folder) as envoy:
            await envoy.ready()
            listening = (await envoy.ports())[f"inbound-any-{app_port}"]
            yield Direct(server, envoy, token_file, listening, client)


async def eventually(probe: Callable[[], object], wanted: object) -> None:
    """A probe answers this in the end."""
    async with asyncio.timeout(SECONDS):
        while (found := await probe()) != wanted:  # type: ignore[misc] # probes are async methods
            assert found is not None
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("delta", [False, True], ids=["sotw", "delta"])
async def test_token_is_all_that_it_needs(server: Server, tmp_path: Path, delta: bool) -> None:  # noqa: FBT001
    """Certificate, roots and policies arrive; callers of the mesh are let in; one key for all its streams."""
    async with direct(server, tmp_path, delta=delta) as service:
        assert await service.get("/") == 200
        await service.until_serial_is_not(await service.serial())
        await service.until(lambda: len(service.issued()) >= 2)
    assert "PRIVATE KEY" not in (server.folder / "log").read_text()


async def test_policies_come_from_the_ca(server: Server, tmp_path: Path) -> None:
    """A changed file is live without an agent, and gone again with it."""
    async with direct(server, tmp_path) as service:
        assert await service.get("/admin") == 200
        policy = server.folder / "policies" / "no-admin.yaml"
        policy.write_text(DENY_ADMIN)
        await eventually(lambda: service.get("/admin"), 403)
        assert await service.get("/") == 200
        policy.unlink()
        await eventually(lambda: service.get("/admin"), 200)


async def test_rotated_token_is_shown_when_the_old_one_ends(server: Server, tmp_path: Path) -> None:
    """The stream ends with the token; Envoy reads the file again and comes back; no request fails meanwhile."""
    async with direct(server, tmp_path, token=timedelta(seconds=6)) as service:
        await service.until(lambda: service.issued() != [])
        first, old = service.issued()[-1], await service.serial()
        service.show_token()
        await service.until(lambda: service.issued()[-1] != first)
        await service.until(lambda: service.ended("StreamSecrets"))
        await service.until_serial_is_not(old)


async def test_expired_token_keeps_the_last_certificate(server: Server, tmp_path: Path) -> None:
    """A forgotten rotation: refused by the CA, served to peers all the same, well again with a new token."""
    async with direct(server, tmp_path, token=timedelta(seconds=3)) as service:
        before = len(server.log())
        await service.until(lambda: service.refused(before))
        issued, last = len(service.issued()), await service.serial()
        await service.until(lambda: service.refused(before) > 2)
        assert len(service.issued()) == issued, "an ended token is good for no key"
        service.show_token()
        await service.until_serial_is_not(last)
