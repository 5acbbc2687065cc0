"""Bodies and versions of pushed resources, read back with Envoy's messages."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from envoy.extensions.transport_sockets.tls.v3.secret_pb2 import Secret as SecretMessage
from hypothesis import given
from hypothesis import strategies as st

from meshca._proto.meshca.v1.order_pb2 import RenewalOrder as OrderMessage
from meshca.config.resource_names import AUTHZ, ORDER, ORDER_TYPE_URL
from meshca.discovery import resources
from meshca.discovery.order import RenewalOrder
from meshca.discovery.resources import KeyPair, TrustBundle
from meshca.secret import Secret

INSTANT = datetime(2026, 1, 1, tzinfo=UTC)


def pair(serial: str = "1", key: str = "key") -> KeyPair:
    """A pair of any text."""
    return KeyPair(serial=serial, chain="chain", key=Secret(key), not_before=INSTANT, not_after=INSTANT)


def test_certificate_is_a_tls_certificate() -> None:
    """Chain and key inline, under the name asked for."""
    message = SecretMessage.FromString(resources.certificate("default", pair()).body)
    assert message.name == "default"
    assert message.tls_certificate.certificate_chain.inline_bytes == b"chain"
    assert message.tls_certificate.private_key.inline_bytes == b"key"


def test_roots_are_a_validation_context() -> None:
    """`trusted_ca`, so that nothing else of the context is decided here."""
    message = SecretMessage.FromString(resources.roots("ROOTCA", TrustBundle(pem="roots")).body)
    assert (message.name, message.validation_context.trusted_ca.inline_bytes) == ("ROOTCA", b"roots")


def test_secrets_can_be_written_anew() -> None:
    """The same certificates in other bytes: a line before them that says so, and the same version."""
    for resource, plain in (
        (resources.certificate("default", pair()), b"chain"),
        (resources.roots("ROOTCA", TrustBundle(pem="roots")), b"roots"),
    ):
        assert resource.anew is not None
        message = SecretMessage.FromString(resource.anew("7"))
        tls, context = message.tls_certificate, message.validation_context
        source = tls.certificate_chain if message.WhichOneof("type") == "tls_certificate" else context.trusted_ca
        assert source.inline_bytes == b"# 7\n" + plain
        source.inline_bytes = plain
        assert message == SecretMessage.FromString(resource.body)


def test_policies_are_passed_on() -> None:
    """Under the one name of the filter."""
    resource = resources.policies(b"filter")
    assert (resource.name, resource.body, resource.anew) == (AUTHZ, b"filter", None)


def test_an_order_is_read_back() -> None:
    """Signers in one order, so that every replica gives the same version; a window to the microsecond."""
    wanted = RenewalOrder(
        signers=frozenset({"bb" * 32, "aa" * 32}), begun_at=INSTANT, window=timedelta(seconds=1.5)
    )
    resource = resources.order(wanted)
    message = OrderMessage.FromString(resource.body)
    assert resource.name == ORDER
    assert list(message.signers) == ["aa" * 32, "bb" * 32]
    assert (message.begun_at.ToDatetime(UTC), message.window.ToTimedelta()) == (INSTANT, timedelta(seconds=1.5))
    assert resource.version != resources.order(RenewalOrder()).version


def test_the_type_of_an_order_is_its_message() -> None:
    """Agents subscribe to it by the message's full name."""
    assert f"type.googleapis.com/{OrderMessage.DESCRIPTOR.full_name}" == ORDER_TYPE_URL


@given(one=st.text(max_size=50), other=st.text(max_size=50))
def test_versions_are_content_hashes(one: str, other: str) -> None:
    """Equal exactly when the content is."""
    equal = one == other
    roots = [resources.roots("a", TrustBundle(pem=text)).version for text in (one, other)]
    assert (roots[0] == roots[1]) == equal
    assert (resources.policies(one.encode()).version == resources.policies(other.encode()).version) == equal


def test_the_version_of_a_certificate_is_its_serial() -> None:
    """Under whichever name; it appears in logs and in Envoy's statistics, and says nothing of the key."""
    assert [resources.certificate(name, pair("5f")).version for name in ("a", "b")] == ["5f", "5f"]


def test_no_repr_shows_a_key() -> None:
    """Neither the pair's nor the resource's."""
    shown = repr(pair(key="very secret")) + repr(resources.certificate("default", pair(key="very secret")))
    assert "very secret" not in shown
