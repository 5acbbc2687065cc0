"""Every status code of the server over the wire, and what each bad input gets."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sqlite3
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from meshca._proto.istio.v1.auth.ca_pb2 import IstioCertificateRequest
from meshca.app.dev_issuer import ISSUER
from meshca.clock import SystemClock
from meshca.errors import Unavailable
from meshca.wire.tls import MAX_METADATA_BYTES
from tests.fakes.pki import Ca, make_ca
from tests.fakes.tokens import FakeIssuer, assembled, encoded
from tests.real.dev_server import Key, Server, reason, refused, running_server, wait_for

ONE = {"MESHCA__WORKERS": "1"}
CODE = grpc.StatusCode
NOW = int(datetime.now(UTC).timestamp())


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with defaults."""
    with running_server(tmp_path_factory.mktemp("ca"), settings=ONE) as running:
        yield running


@pytest.fixture(scope="module")
def issuer(server: Server) -> FakeIssuer:
    """The server's own issuer, signing whatever a test wants."""
    key: Any = load_pem_private_key((server.folder / "issuer-key.pem").read_bytes(), None)
    (jwk,) = json.loads((server.folder / "jwks.json").read_text())["keys"]
    return FakeIssuer(SystemClock(), key=key, kid=jwk["kid"], issuer=ISSUER)


def _hs256(issuer: FakeIssuer) -> str:
    """The old trick: the public key, which everybody knows, used as a shared secret."""
    import hashlib
    import hmac

    public = issuer.key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    signed = f"{encoded({'alg': 'HS256', 'kid': issuer.kid})}.{encoded(issuer.claims())}"
    return f"{signed}.{encoded(hmac.new(public, signed.encode(), hashlib.sha256).digest())}"


TOKENS: list[tuple[str, Callable[[FakeIssuer], str], str]] = [
    ("expired", lambda i: i.token(exp=NOW - 3600), "token_expired"),
    ("not yet valid", lambda i: i.token(nbf=NOW + 3600), "token_not_yet_valid"),
    ("other audience", lambda i: i.token(aud=["vault"]), "token_audience"),
    ("other issuer", lambda i: i.token(iss="https://other.example"), "token_issuer"),
    ("other key", lambda i: FakeIssuer(i.clock, kid=i.kid, issuer=ISSUER).token(), "token_signature"),
    ("unknown key", lambda i: i.sign(i.claims(), kid="nobody"), "token_unknown_key"),
    ("alg none", lambda i: assembled({"alg": "none", "kid": i.kid}, i.claims(), b""), "token_algorithm"),
    ("HS256 with the public key", _hs256, "token_algorithm"),
    ("no subject", lambda i: i.token(sub=None), "token_claims"),
    ("no expiry", lambda i: i.token(exp=None), "token_claims"),
    ("no audience", lambda i: i.token(aud=None), "token_claims"),
    ("a user, not a service account", lambda i: i.token(sub="system:admin"), "token_subject"),
    ("five parts in the subject", lambda i: i.token(sub="system:serviceaccount:shop:web:x"), "token_subject"),
    ("upper case namespace", lambda i: i.token(sub="system:serviceaccount:Shop:web"), "token_subject"),
    ("not a token", lambda _: "abc", "token_malformed"),
    ("empty", lambda _: "", "token_malformed"),
    ("17 KB", lambda _: "x" * 17_000, "token_too_large"),
]


class TestUnauthenticated:
    """Nobody is proven: one code, one sentence, a reason of its own for each cause."""

    @pytest.mark.parametrize(("make", "slug"), [row[1:] for row in TOKENS], ids=[row[0] for row in TOKENS])
    async def test_token(
        self, server: Server, issuer: FakeIssuer, make: Callable[[FakeIssuer], str], slug: str
    ) -> None:
        """A token that proves nobody is Unauthenticated."""
        error = await refused(server.create(make(issuer)))
        assert error.code() is CODE.UNAUTHENTICATED
        assert reason(error) == slug
        assert (error.details() or "").startswith("the caller could not be authenticated (reason=")

    async def test_token_of_a_megabyte(self, server: Server) -> None:
        """It is not even read: gRPC answers, and names the size and the most that it takes."""
        error = await refused(server.create("x" * 1_000_000))
        assert error.code() is CODE.RESOURCE_EXHAUSTED
        assert f"vs. {MAX_METADATA_BYTES})" in (error.details() or "")

    async def test_good_token_of_the_same_issuer(self, server: Server, issuer: FakeIssuer) -> None:
        """The same issuer's unchanged token is accepted: the rows above differ in one thing each."""
        assert (await server.create(issuer.token())).spiffe_id

    async def test_certificate_that_we_never_recorded(self, server: Server) -> None:
        """A certificate below our root that the ledger does not know proves nobody."""
        held = await server.create(server.token())
        with contextlib.closing(sqlite3.connect(server.folder / "data" / "meshca.db", timeout=10)) as ledger:
            serial = f"{held.leaf.serial_number:x}"
            ledger.execute("DELETE FROM issuance_outcome WHERE serial = ?", (serial,))
            assert ledger.execute("DELETE FROM issuance_intent WHERE serial = ?", (serial,)).rowcount == 1
            ledger.commit()
        error = await refused(server.create(shown=held))
        assert (error.code(), reason(error)) == (CODE.UNAUTHENTICATED, "unknown_serial")


class TestPermissionDenied:
    """Proven, but not granted."""

    async def test_no_pod(self, server: Server) -> None:
        """The shipped rules grant nothing to a token that is bound to no pod."""
        error = await refused(server.create(server.token(pod=None)))
        assert (error.code(), reason(error)) == (CODE.PERMISSION_DENIED, "no_rule")


class TestInvalidArgument:
    """Wrong in itself, whoever asks."""

    @pytest.mark.parametrize(
        "raw", [b"\xff\xff\xff\xff", b"\x0a\x04\xff\xfe\xfd\xfc"], ids=["garbage", "not UTF-8"]
    )
    async def test_unreadable_message(self, server: Server, raw: bytes) -> None:
        """Bytes that are not the message are InvalidArgument, without the library's text."""
        async with server.channel() as channel:
            method = channel.unary_unary("/istio.v1.auth.IstioCertificateService/CreateCertificate")
            error = await refused(method(raw, timeout=20))
        assert (error.code(), reason(error)) == (CODE.INVALID_ARGUMENT, "message")


class TestResourceExhausted:
    """Token buckets per identity and per namespace, with a hint when to come back."""

    @pytest.fixture
    def server(self, tmp_path: Path) -> Iterator[Server]:
        """A server with small buckets."""
        settings = {
            **ONE,
            "MESHCA__LIMITS__PER_IDENTITY": "{rate: 0.01, burst: 2}",
            "MESHCA__LIMITS__PER_NAMESPACE": "{rate: 0.01, burst: 5}",
        }
        with running_server(tmp_path / "ca", settings=settings) as running:
            yield running

    async def test_per_identity(self, server: Server) -> None:
        """One noisy workload is told to wait, twice over; others are not."""
        error = await self.exhaust(server, "web")
        trailers = dict(error.trailing_metadata() or ())
        assert (error.code(), reason(error)) == (CODE.RESOURCE_EXHAUSTED, "identity_quota")
        status, info = Status.FromString(trailers["grpc-status-details-bin"]), RetryInfo()
        assert status.details[0].Unpack(info)
        assert status.code == CODE.RESOURCE_EXHAUSTED.value[0]
        assert int(trailers["grpc-retry-pushback-ms"]) == info.retry_delay.ToMilliseconds() > 0
        assert (await server.create(server.token("other", "web"))).spiffe_id

    async def test_per_namespace(self, server: Server) -> None:
        """A namespace has its own limit over all its workloads."""
        found = [await self.exhaust(server, f"web-{number}") for number in range(5)]
        assert reason(found[-1]) == "namespace_quota"

    async def exhaust(self, server: Server, name: str) -> grpc.aio.AioRpcError:
        """Ask for this workload until it is refused."""
        for _ in range(10):
            try:
                await server.create(server.token("shop", name))
            except grpc.aio.AioRpcError as error:
                return error
        raise AssertionError("never refused")


class TestUnavailable:
    """Nothing wrong with the request: the same may succeed later."""

    async def test_store_cannot_be_written(self, tmp_path: Path) -> None:
        """Without a ledger nothing is signed; once it can be written again, issuing goes on."""
        with running_server(tmp_path / "ca", settings=ONE) as server:
            with contextlib.closing(sqlite3.connect(server.folder / "data" / "meshca.db", timeout=10)) as other:
                other.execute("BEGIN EXCLUSIVE")
                error = await refused(server.create(server.token()))
                ready = await asyncio.to_thread(server.http, "/readyz")
                other.rollback()
            assert (error.code(), reason(error)) == (CODE.UNAVAILABLE, "store")
            assert error.details() == _sentence(error, Unavailable.public)
            assert ready[0] == 503
            assert (await server.create(server.token())).spiffe_id

    async def test_signer_has_expired(self, tmp_path: Path) -> None:
        """When the signing certificate has ended no leaf is made."""
        root = make_ca("root", begin=datetime.now(UTC) - timedelta(days=1))
        folder = tmp_path / "cacerts"
        folder.mkdir()
        _plug_in(folder, _signer(root, ends=datetime.now(UTC) + timedelta(hours=1)), root)
        settings = {**ONE, "MESHCA__UPSTREAM": f"{{kind: files, dir: {folder}}}"}
        with running_server(tmp_path / "ca", settings=settings) as server:
            end = datetime.now(UTC) + timedelta(seconds=12)  # only now: a busy machine takes long to start it
            _plug_in(folder, _signer(root, ends=end), root)
            while (await server.create(server.token())).leaf.not_valid_after_utc > end:
                await SystemClock().sleep(0.1)
            async with server.channel() as channel:  # a handshake of its own would fail: serving has ended as well
                method: Any = channel.unary_unary(
                    "/istio.v1.auth.IstioCertificateService/CreateCertificate",
                    IstioCertificateRequest.SerializeToString,
                )
                metadata = (("authorization", f"Bearer {server.token()}"),)
                await method(IstioCertificateRequest(csr=Key().csr), metadata=metadata, timeout=20)
                await asyncio.sleep((end - datetime.now(UTC)).total_seconds())
                error = await refused(
                    method(IstioCertificateRequest(csr=Key().csr), metadata=metadata, timeout=20)
                )
            assert (error.code(), reason(error)) == (CODE.UNAVAILABLE, "signer_expired")


def _signer(root: Ca, *, ends: datetime) -> Ca:
    return make_ca("signer", root, begin=datetime.now(UTC) - timedelta(minutes=5), end=ends)


def _plug_in(folder: Path, signer: Ca, root: Ca) -> None:
    """A plugged-in CA in Istio's layout."""
    parts = {
        "ca-cert.pem": signer.pem,
        "ca-key.pem": signer.key_pem,
        "cert-chain.pem": signer.pem + root.pem,
        "root-cert.pem": root.pem,
    }
    for name, text in parts.items():
        (folder / name).touch(mode=0o600)
        (folder / name).write_text(text)


def _sentence(error: grpc.aio.AioRpcError, public: str) -> str:
    trailers = dict(error.trailing_metadata() or ())
    return f"{public} (reason={trailers['meshca-reason']!s} request_id={trailers['meshca-request-id']!s})"


class TestBothPorts:
    """Both ports serve the same services: health and reflection for whoever connects."""

    @contextlib.asynccontextmanager
    async def channels(self, server: Server) -> Any:
        """A connection to each port."""
        held = await server.create(server.token())
        async with server.channel() as token, server.channel(held) as mtls:
            yield token, mtls

    @pytest.mark.parametrize("service", ["", "istio.v1.auth.IstioCertificateService"])
    async def test_health(self, server: Server, service: str) -> None:
        """The server and each service are SERVING."""
        async with self.channels(server) as channels:
            for channel in channels:
                stub: Any = health_pb2_grpc.HealthStub(channel)
                answer = await stub.Check(health_pb2.HealthCheckRequest(service=service))
                assert answer.status == health_pb2.HealthCheckResponse.SERVING

    async def test_reflection(self, server: Server) -> None:
        """Reflection lists the services, and describes each of them."""
        async with self.channels(server) as channels:
            for channel in channels:
                names = await _listed(channel)
                assert {
                    "istio.v1.auth.IstioCertificateService",
                    "envoy.service.discovery.v3.AggregatedDiscoveryService",
                    "grpc.health.v1.Health",
                    "grpc.reflection.v1alpha.ServerReflection",
                } == names
                for name in names:
                    assert (await _described(channel, name)).service

    async def test_reflection_with_server_keys(self, tmp_path: Path) -> None:
        """With server-made keys, SDS and ECDS are served and described as well."""
        with running_server(tmp_path / "ca", settings={**ONE, "MESHCA__SDS__SERVER_KEYS": "true"}) as server:
            async with server.channel() as channel:
                for name in (
                    "envoy.service.secret.v3.SecretDiscoveryService",
                    "envoy.service.extension.v3.ExtensionConfigDiscoveryService",
                ):
                    assert name in await _listed(channel)
                    assert (await _described(channel, name)).service

    async def test_unknown_method(self, server: Server) -> None:
        """A method that does not exist is Unimplemented."""
        async with server.channel() as channel:
            error = await refused(
                channel.unary_unary("/istio.v1.auth.IstioCertificateService/Other")(b"", timeout=20)
            )
        assert error.code() is CODE.UNIMPLEMENTED


async def _ask(channel: grpc.aio.Channel, **request: str) -> reflection_pb2.ServerReflectionResponse:
    stub: Any = reflection_pb2_grpc.ServerReflectionStub(channel)
    call = stub.ServerReflectionInfo()
    await call.write(reflection_pb2.ServerReflectionRequest(**request))
    await call.done_writing()
    return await call.read()


async def _listed(channel: grpc.aio.Channel) -> set[str]:
    answer = await _ask(channel, list_services="*")
    return {service.name for service in answer.list_services_response.service}


async def _described(channel: grpc.aio.Channel, name: str) -> FileDescriptorProto:
    answer = await _ask(channel, file_containing_symbol=name)
    assert not answer.HasField("error_response"), (name, answer.error_response.error_message)
    return FileDescriptorProto.FromString(answer.file_descriptor_response.file_descriptor_proto[0])


def test_every_decision_is_counted_and_logged_once(server: Server) -> None:
    """One audit event and one count for each decision, with hashes and ids instead of tokens and CSRs."""
    token = server.token()
    before = server.metric(_counted("issued", "jwks", "ec-p256", "")), len(_decisions(server))
    asyncio.run(server.create(token))
    asyncio.run(refused(server.create(token + "x")))
    wait_for(lambda: len(_decisions(server)) == before[1] + 2)
    assert server.metric(_counted("issued", "jwks", "ec-p256", "")) == before[0] + 1
    log = (server.folder / "log").read_text()
    assert token not in log
    assert "BEGIN" not in log


def _counted(result: str, authenticator: str, key_type: str, slug: str) -> str:
    labels = f'authenticator="{authenticator}",key_type="{key_type}",reason="{slug}",result="{result}"'
    return f"meshca_certificates_total{{{labels}}}"


def _decisions(server: Server) -> list[dict[str, Any]]:
    return [line for line in server.log() if line["event"] == "issuance.decided"]
