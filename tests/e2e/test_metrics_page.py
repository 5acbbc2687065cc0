"""/metrics of a real server after known traffic: each thing that happens moves one counter, once."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import ssl
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from importlib.metadata import version

import pytest
from cryptography import x509
from prometheus_client.parser import text_string_to_metric_families

from meshca._proto.istio.v1.auth.ca_pb2 import IstioCertificateRequest
from meshca.config.resource_names import AUTHZ, EXTENSION_TYPE_URL, ROOTCA, SECRET_TYPE_URL
from tests.fakes.xds_client import ADS, XdsStream, xds_stream
from tests.real.dev_server import Certificate, Server, refused, running_server, wait_for

Series = tuple[str, tuple[tuple[str, str], ...]]
METHOD = "/istio.v1.auth.IstioCertificateService/CreateCertificate"
RESULTS = "meshca_certificates_total"
FAILED_CALLS = "meshca_rpc_failures_total"
ANSWERS = "meshca_subscription_answers_total"
STREAMS = "meshca_streams"
EXPIRY = "meshca_certificate_expiry_timestamp_seconds"
SECONDS, LATENCIES = "meshca_issuance_seconds_count", "meshca_issuance_seconds_bucket"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with two workers, whose numbers the page adds up."""
    settings = {"MESHCA__WORKERS": "2", "MESHCA__ACK_TIMEOUT": "2s"}
    with running_server(tmp_path_factory.mktemp("ca"), settings=settings) as running:
        yield running


@pytest.fixture(scope="module")
def held(server: Server) -> Certificate:
    """A certificate that was issued before a test counts."""
    return asyncio.run(server.create(server.token()))


def page(server: Server) -> Counter[Series]:
    """Every sample, read by Prometheus' own parser."""
    families = text_string_to_metric_families(server.http("/metrics")[1])
    samples = (sample for family in families for sample in family.samples)
    found: Counter[Series] = Counter()
    for sample in samples:
        found[series(sample.name, **sample.labels)] = sample.value  # type: ignore[assignment] # floats count too
    return found


def series(name: str, **labels: str) -> Series:
    """The name of a sample."""
    return name, tuple(sorted(labels.items()))


def moved(server: Server, before: Counter[Series], name: str) -> dict[Series, float]:
    """What is different in the samples of this name."""
    now = page(server)
    keys = {key for key in now.keys() | before.keys() if key[0] == name}
    return {key: now[key] - before[key] for key in keys if now[key] != before[key]}


async def by_token(server: Server, held: Certificate) -> None:
    """Issued to a token."""
    await server.create(server.token())


async def by_certificate(server: Server, held: Certificate) -> None:
    """Issued to a certificate."""
    await server.create(shown=held)


async def without_pod(server: Server, held: Certificate) -> None:
    """Nothing is granted to a token that is bound to no pod."""
    await refused(server.create(server.token(pod=None)))


async def for_another_audience(server: Server, held: Certificate) -> None:
    """Nobody is proven."""
    await refused(server.create(server.token(audience="other")))


async def garbage(server: Server, held: Certificate) -> None:
    """No signing request."""
    await refused(server.call(IstioCertificateRequest(csr="garbage"), token=server.token()))


async def without_ledger(server: Server, held: Certificate) -> None:
    """The ledger cannot be written."""
    path = server.folder / "data" / "meshca.db"
    with contextlib.closing(sqlite3.connect(path, timeout=10)) as other:
        other.execute("BEGIN EXCLUSIVE")
        await refused(server.create(server.token()))
        other.rollback()


class TestDecisions:
    """Four results, each with authenticator, key type and reason as far as they became known."""

    @pytest.mark.parametrize(
        ("act", "result", "authenticator", "key_type", "reason", "code"),
        [
            (by_token, "issued", "jwks", "ec-p256", "", ""),
            (by_certificate, "issued", "client_cert", "ec-p256", "", ""),
            (without_pod, "denied", "jwks", "", "no_rule", "PERMISSION_DENIED"),
            (for_another_audience, "refused", "", "", "token_audience", "UNAUTHENTICATED"),
            (garbage, "refused", "jwks", "", "csr_format", "INVALID_ARGUMENT"),
            (without_ledger, "failed", "jwks", "ec-p256", "store", "UNAVAILABLE"),
        ],
        ids=["by token", "by certificate", "denied", "unproven", "malformed", "failed"],
    )
    async def test_counted_once(
        self,
        server: Server,
        held: Certificate,
        act: Callable[[Server, Certificate], Awaitable[None]],
        result: str,
        authenticator: str,
        key_type: str,
        reason: str,
        code: str,
    ) -> None:
        """One decision moves one counter by one, is timed once, and a failed call is counted as such."""
        before = page(server)
        await act(server, held)
        labels = {"result": result, "authenticator": authenticator, "key_type": key_type, "reason": reason}
        assert moved(server, before, RESULTS) == {series(RESULTS, **labels): 1}
        assert moved(server, before, SECONDS) == {series(SECONDS): 1}
        assert moved(server, before, LATENCIES)[series(LATENCIES, le="+Inf")] == 1
        expected = {series(FAILED_CALLS, method=METHOD, code=code, reason=reason): 1} if code else {}
        assert moved(server, before, FAILED_CALLS) == expected


class TestExpiry:
    """When the certificates of our own end."""

    async def test_root_and_intermediate(self, server: Server) -> None:
        """The gauges are the very ends of the certificates that clients are given."""
        answer = (await server.create(server.token())).answer
        for kind, pem in (("intermediate", answer.cert_chain[1]), ("root", answer.cert_chain[-1])):
            end = x509.load_pem_x509_certificate(pem.encode()).not_valid_after_utc
            # shown within a second after the start
            await asyncio.to_thread(wait_for, lambda kind=kind, end=end: expiry(server, kind) == end.timestamp())

    def test_serving(self, server: Server) -> None:
        """The serving gauge is the earliest end of what the workers show at the handshake."""
        host, _, port = server.endpoint().rpartition(":")
        shown = {ssl.get_server_certificate((host, int(port)), timeout=20) for _ in range(24)}
        ends = {x509.load_pem_x509_certificate(pem.encode()).not_valid_after_utc.timestamp() for pem in shown}
        assert len(shown) == 2
        assert expiry(server, "serving") == min(ends)


def expiry(server: Server, kind: str) -> float:
    """The gauge of a certificate."""
    return page(server)[series(EXPIRY, kind=kind)]


class TestStreams:
    """Agents' streams, and what they say to what is pushed."""

    @contextlib.asynccontextmanager
    async def stream(self, server: Server, held: Certificate, type_url: str) -> AsyncIterator[XdsStream]:
        """An agent's stream."""
        method = f"{ADS}StreamAggregatedResources"
        async with (
            server.channel(held) as channel,
            xds_stream(channel, method, type_url=type_url, node_id="web-0") as stream,
        ):
            yield stream

    async def test_open_streams(self, server: Server, held: Certificate) -> None:
        """Open streams are counted over all workers, and no longer once they are closed."""
        async with contextlib.AsyncExitStack() as stack:
            for _ in range(4):
                stream = await stack.enter_async_context(self.stream(server, held, SECRET_TYPE_URL))
                await stream.ask(ROOTCA)
                await stream.answer()
            assert server.metric(f'{STREAMS}{{kind="agent"}}') == 4
        await asyncio.to_thread(wait_for, lambda: server.metric(f'{STREAMS}{{kind="agent"}}') == 0)

    @pytest.mark.parametrize(
        ("type_url", "name", "resource"),
        [(SECRET_TYPE_URL, ROOTCA, "roots"), (EXTENSION_TYPE_URL, AUTHZ, "policies")],
        ids=["roots", "policies"],
    )
    @pytest.mark.parametrize("answer", ["ack", "nack", "overdue"])
    async def test_answers(
        self, server: Server, held: Certificate, type_url: str, name: str, resource: str, answer: str
    ) -> None:
        """Each answer, and each that does not come in time, is counted once for its resource."""
        before, expected = page(server), {series(ANSWERS, resource=resource, answer=answer): 1}
        async with self.stream(server, held, type_url) as stream:
            await stream.ask(name)
            await stream.answer()
            if answer == "ack":
                await stream.ack()
            elif answer == "nack":
                await stream.nack()
            await asyncio.to_thread(wait_for, lambda: moved(server, before, ANSWERS) == expected)


def test_build(server: Server) -> None:
    """The page names the running version."""
    assert server.metric(f'meshca_build_info{{version="{version("meshca")}"}}') == 1


async def test_ledger_queue(server: Server, held: Certificate) -> None:
    """The queue of the ledger is there, and empty once everything is written."""
    key = series("meshca_ledger_queue")
    assert key in page(server)
    await asyncio.to_thread(wait_for, lambda: page(server)[key] == 0)
