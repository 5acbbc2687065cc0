"""Messages of the CA."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime, timedelta

import pytest
from envoy.config.core.v3.extension_pb2 import TypedExtensionConfig
from envoy.extensions.transport_sockets.tls.v3.secret_pb2 import Secret
from hypothesis import given
from hypothesis import strategies as st

from meshca._proto.meshca.v1.order_pb2 import RenewalOrder as OrderMessage
from meshca.agent.pushed import RBAC_TYPE_URL, read_order, read_policies, read_roots
from meshca.config.resource_names import AUTHZ, LARGEST_POLICIES, ROOTCA
from meshca.discovery.order import MOST_SIGNERS, NO_ORDER, RenewalOrder
from meshca.discovery.resources import order as order_resource
from meshca.errors import Unavailable
from tests.fakes.agent_values import policies_of, policy_body


def secret(name: str = ROOTCA, *, inline_bytes: bytes = b"", inline_string: str = "") -> bytes:
    """A validation context."""
    message = Secret(name=name)
    source = message.validation_context.trusted_ca
    if inline_string:
        source.inline_string = inline_string
    else:
        source.inline_bytes = inline_bytes
    return bytes(message.SerializeToString())


def certificate() -> bytes:
    """A secret of another kind."""
    message = Secret(name=ROOTCA)
    message.tls_certificate.certificate_chain.inline_bytes = b"x"
    return bytes(message.SerializeToString())


def test_roots_are_read_from_bytes_or_text() -> None:
    """Envoy takes both."""
    assert read_roots(secret(inline_bytes=b"pem")) == b"pem"
    assert read_roots(secret(inline_string="pem")) == b"pem"


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"\xff\xff", id="garbage"),
        pytest.param(secret("other", inline_bytes=b"pem"), id="another name"),
        pytest.param(certificate(), id="a certificate"),
        pytest.param(Secret(name=ROOTCA).SerializeToString(), id="nothing in it"),
    ],
)
def test_other_secrets_are_no_roots(body: bytes) -> None:
    """Whatever the CA calls them."""
    with pytest.raises(Unavailable) as caught:
        read_roots(body)
    assert caught.value.reason == "bad_bundle"


def test_a_policy_set_is_passed_on_as_it_is() -> None:
    """Byte for byte, under a hash of its content."""
    policies = read_policies(policy_body("a"))
    assert policies.body == policy_body("a")
    assert policies.version == policies_of("a").version != policies_of("b").version


def extension(name: str, type_url: str) -> bytes:
    """An extension configuration."""
    message = TypedExtensionConfig(name=name)
    message.typed_config.type_url = type_url
    return bytes(message.SerializeToString())


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"\xff\xff", id="garbage"),
        pytest.param(b"", id="nothing"),
        pytest.param(extension("other", RBAC_TYPE_URL), id="another name"),
        pytest.param(
            extension(AUTHZ, "type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua"), id="a script"
        ),
        pytest.param(b"x" * (LARGEST_POLICIES + 1), id="too large"),
    ],
)
def test_other_extensions_are_no_policies(body: bytes) -> None:
    """Only an RBAC filter may come this way."""
    with pytest.raises(Unavailable) as caught:
        read_policies(body)
    assert caught.value.reason == "bad_policies"


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(body: bytes) -> None:
    """Nothing else is raised."""
    for read in (read_roots, read_policies):
        try:
            read(body)
        except Unavailable:
            continue


def order_body(*signers: str, seconds: int = 0, begun: int = 0) -> bytes:
    """An order as the CA would write it."""
    message = OrderMessage(signers=signers)
    message.begun_at.seconds, message.window.seconds = begun, seconds
    return bytes(message.SerializeToString())


def test_an_order_is_read() -> None:
    """As it was written; an empty message orders nothing."""
    wanted = RenewalOrder(
        signers=frozenset({"ab" * 32}), begun_at=datetime(2026, 1, 1, tzinfo=UTC), window=timedelta(minutes=5)
    )
    assert read_order(order_resource(wanted).body) == wanted
    assert read_order(b"") == NO_ORDER


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"\xff\xff", id="garbage"),
        pytest.param(order_body("AB" * 32), id="signer"),
        pytest.param(order_body(*(f"{number:064x}" for number in range(MOST_SIGNERS + 1))), id="signers"),
        pytest.param(order_body(seconds=-1), id="negative window"),
        pytest.param(order_body(seconds=10**10), id="endless window"),
        pytest.param(order_body(seconds=2**62), id="no window"),
        pytest.param(order_body(begun=2**62), id="no time"),
    ],
)
def test_what_is_no_order_is_refused(body: bytes) -> None:
    """Nothing of it is believed for having come from the CA."""
    with pytest.raises(Unavailable) as caught:
        read_order(body)
    assert caught.value.reason == "bad_order"


@given(st.binary(max_size=200))
def test_any_bytes_are_an_order_or_refused(body: bytes) -> None:
    """There is no third way."""
    with contextlib.suppress(Unavailable):
        assert isinstance(read_order(body), RenewalOrder)
