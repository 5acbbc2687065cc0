"""Facts about Istio's service between the wire and the pipeline, over a real connection without TLS."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from typing import Any, cast

import grpc
import grpc.aio
import pytest
from google.protobuf.struct_pb2 import Struct
from hypothesis import given
from hypothesis import strategies as st

from meshca._proto.istio.v1.auth.ca_pb2 import IstioCertificateRequest
from meshca._proto.istio.v1.auth.ca_pb2_grpc import (
    IstioCertificateServiceStub,
    add_IstioCertificateServiceServicer_to_server,
)
from meshca.errors import BadRequest, InvariantBroken, Unauthenticated
from meshca.identity.caller import Credential
from meshca.issuance import Issuing, Wish
from meshca.rpc.istio_ca import IstioCa, read_wish
from meshca.secret import Secret
from meshca.svid.draft import Issued
from meshca.wire.interceptors import Guarded
from tests.fakes.logs import captured_logs

NOW = datetime(2026, 1, 1, tzinfo=UTC)


class FakeIssuing:
    """A pipeline that answers what the test says, and remembers what it was asked."""

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.credential = Credential()
        self.wish = Wish(csr="")
        self.request_id = ""

    async def issue(self, credential: Credential, wish: Callable[[], Wish], request_id: str) -> Issued:
        """Answer."""
        self.credential, self.request_id = credential, request_id
        self.wish = wish()
        if self.error is not None:
            raise self.error
        return Issued(
            chain=("leaf", "intermediate"), roots="root1root2", serial="1", not_before=NOW, not_after=NOW
        )


class Client:
    """A client of the service."""

    def __init__(self, issuing: FakeIssuing, stub: Any) -> None:
        self.issuing = issuing
        self.create = stub.CreateCertificate


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    """The service behind the guard."""
    issuing = FakeIssuing()
    server = grpc.aio.server()
    registry = cast("grpc.aio.Server", Guarded(server))
    add_IstioCertificateServiceServicer_to_server(IstioCa(cast("Issuing", issuing)), registry)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield Client(issuing, IstioCertificateServiceStub(channel))
    await server.stop(None)


async def test_chain(client: Client) -> None:
    """Leaf, each intermediate as one element, all roots as the last."""
    answer = await client.create(IstioCertificateRequest(csr="x"))
    assert list(answer.cert_chain) == ["leaf", "intermediate", "root1root2"]


async def test_what_the_pipeline_is_given(client: Client) -> None:
    """The pipeline gets credential, wish and request id of the call."""
    request = IstioCertificateRequest(csr="text", validity_duration=7)
    metadata = (("authorization", "Bearer abc"), ("clusterid", "east"))
    await client.create(request, metadata=metadata)
    assert client.issuing.wish == Wish(csr="text", lifetime_seconds=7)
    assert client.issuing.credential == Credential(unverified_token=Secret("abc"), cluster="east")
    assert len(client.issuing.request_id) == 16


async def test_error_has_the_same_request_id(client: Client) -> None:
    """The id in the trailers is the one that the ledger and the audit event got."""
    client.issuing.error = Unauthenticated("token_expired", "private")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await client.create(IstioCertificateRequest(csr="x"))
    trailers = dict(caught.value.trailing_metadata() or ())
    assert trailers["meshca-request-id"] == client.issuing.request_id
    assert trailers["meshca-reason"] == "token_expired"


@pytest.mark.parametrize(
    "error", [InvariantBroken("lint", "private words"), RuntimeError("private words")], ids=["ours", "any"]
)
async def test_internal(client: Client, error: Exception) -> None:
    """A fault of ours is INTERNAL with a request id and nothing else."""
    client.issuing.error = error
    with captured_logs(), pytest.raises(grpc.aio.AioRpcError) as caught:
        await client.create(IstioCertificateRequest(csr="x"))
    found = caught.value
    assert found.code() is grpc.StatusCode.INTERNAL
    assert found.details() == f"internal error (request_id={client.issuing.request_id})"
    trailers = dict(found.trailing_metadata() or ())
    assert "meshca-reason" not in trailers


async def test_refusal_is_not_logged_twice(client: Client) -> None:
    """The pipeline audits its decision; the guard does not log it again."""
    client.issuing.error = Unauthenticated("token_expired", "private")
    with captured_logs() as logs, pytest.raises(grpc.aio.AioRpcError):
        await client.create(IstioCertificateRequest(csr="x"))
    assert [line for line in logs if line["event"].startswith("rpc.")] == []


def request_with(**metadata: Any) -> IstioCertificateRequest:
    """A request with these hints."""
    request = IstioCertificateRequest(csr="x")
    request.metadata.update(metadata)
    return request


@pytest.mark.parametrize("value", [1, 0, True, None, [], ["a"], {}, {"a": "b"}])
@pytest.mark.parametrize("name", ["ImpersonatedIdentity", "CertSigner"])
def test_hint_of_another_type(name: str, value: Any) -> None:
    """A hint that is read and is no text is refused."""
    with pytest.raises(BadRequest, match="metadata"):
        read_wish(request_with(**{name: value}))


def test_hints_are_read() -> None:
    """Both hints are read as text."""
    wish = read_wish(request_with(ImpersonatedIdentity="a", CertSigner="b"))
    assert (wish.impersonated_identity, wish.cert_signer) == ("a", "b")


def test_other_hints_are_not_looked_at() -> None:
    """Hints that Istio's clients send and its CA ignores may have any type."""
    assert read_wish(request_with(WorkloadName=1, ClusterID=["x"], pod={"a": 1})) == Wish(csr="x")


json = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(["ImpersonatedIdentity", "CertSigner", "x"]), json))
def test_any_metadata(tree: dict[str, Any]) -> None:
    """Any metadata gives a wish or a bad request."""
    struct = Struct()
    struct.update(tree)
    with contextlib.suppress(BadRequest):
        read_wish(IstioCertificateRequest(csr="x", metadata=struct))
