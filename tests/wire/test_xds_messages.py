"""Discovery messages to values and back."""

from __future__ import annotations

import pytest
from envoy.service.discovery.v3 import discovery_pb2
from hypothesis import given
from hypothesis import strategies as st

from meshca.discovery.event import Adopted, Push, Refused, Resource, Subscribed
from meshca.discovery.session import Session
from meshca.errors import BadRequest
from meshca.wire.xds_messages import DELTA, MAX_ERROR, WHOLE, Variant, read_delta, read_whole

TYPES = frozenset({"t"})
VARIANTS = pytest.mark.parametrize("variant", [WHOLE, DELTA], ids=["sotw", "delta"])


def session() -> Session:
    """A session that has pushed `a` in nonce s-1."""
    session = Session(stream_id="s", answer_timeout=1)
    session.offer({"a": Resource(name="a", version="1", body=b"body")})
    session.amend(["a"], [])
    assert session.next_push(0) is not None
    return session


def test_whole_request_reaches_the_session() -> None:
    """Names, nonce, version and error."""
    good = discovery_pb2.DiscoveryRequest(
        type_url="t", resource_names=["a", "b"], response_nonce="s-1", version_info="1"
    )
    assert read_whole(good, TYPES).put_to(session()) == (
        Adopted(versions={"a": "1"}),
        Subscribed(names=frozenset({"a", "b"})),
    )
    bad = discovery_pb2.DiscoveryRequest(
        resource_names=["a"], response_nonce="s-1", error_detail={"message": "no"}
    )
    assert read_whole(bad, TYPES).put_to(session()) == (Refused(versions={"a": "1"}, error="no"),)


def test_delta_request_reaches_the_session() -> None:
    """More, less, nonce and error."""
    good = discovery_pb2.DeltaDiscoveryRequest(
        resource_names_subscribe=["b"], resource_names_unsubscribe=["a"], response_nonce="s-1"
    )
    assert read_delta(good, TYPES).put_to(session()) == (
        Adopted(versions={"a": "1"}),
        Subscribed(names=frozenset({"b"})),
    )
    bad = discovery_pb2.DeltaDiscoveryRequest(response_nonce="s-1", error_detail={"message": "no"})
    assert read_delta(bad, TYPES).put_to(session()) == (Refused(versions={"a": "1"}, error="no"),)


def test_error_without_a_text_is_an_error() -> None:
    """A NACK is the presence of error_detail."""
    message = discovery_pb2.DiscoveryRequest(resource_names=["a"], response_nonce="s-1")
    message.error_detail.SetInParent()
    assert read_whole(message, TYPES).put_to(session()) == (Refused(versions={"a": "1"}, error=""),)


def test_long_error_text_is_cut() -> None:
    """It ends up in logs."""
    message = discovery_pb2.DeltaDiscoveryRequest(response_nonce="s-1", error_detail={"message": "x" * 9999})
    (event,) = read_delta(message, TYPES).put_to(session())
    assert isinstance(event, Refused)
    assert len(event.error) == MAX_ERROR


@VARIANTS
def test_node_is_read_when_it_is_there(variant: Variant) -> None:
    """Envoy sends it once per stream."""
    message = variant.parse(b"")
    assert variant.read(message, TYPES).node is None
    message.node.id = "n"
    node = variant.read(message, TYPES).node
    assert node is not None
    assert node.id == "n"


@VARIANTS
@pytest.mark.parametrize(
    ("type_url", "types"), [("other", TYPES), ("", {"t", "u"})], ids=["another type", "none of several"]
)
def test_type_must_be_served(variant: Variant, type_url: str, types: set[str]) -> None:
    """The refusal names what is served, not what was asked for."""
    message = variant.parse(b"")
    message.type_url = type_url
    with pytest.raises(BadRequest) as refusal:
        variant.read(message, types)
    assert refusal.value.detail == f"type_url must be {' or '.join(sorted(types))}"


@VARIANTS
def test_empty_type_means_the_only_one(variant: Variant) -> None:
    """SDS and ECDS serve one."""
    assert variant.read(variant.parse(b""), TYPES).type_url == "t"


@VARIANTS
@given(raw=st.binary(max_size=200))
def test_any_message_is_read_or_refused(variant: Variant, raw: bytes) -> None:
    """A message that parses gives a request or BadRequest, nothing else."""
    try:
        message = variant.parse(raw)
    except Exception:  # noqa: BLE001 - protobuf's own error, mapped by the outermost layer
        return
    try:
        request = variant.read(message, TYPES)
    except BadRequest:
        return
    request.put_to(session())


@given(names=st.lists(st.text(min_size=1, max_size=20), min_size=1, max_size=5, unique=True), body=st.binary())
def test_push_survives_the_wire(names: list[str], body: bytes) -> None:
    """Both variants carry every resource with the type, version and nonce."""
    resources = tuple(Resource(name=name, version=f"v-{name}", body=body) for name in names)
    push = Push(nonce="n", version="v", resources=resources)
    whole = discovery_pb2.DiscoveryResponse.FromString(WHOLE.write("t", push))
    assert (whole.nonce, whole.version_info, whole.type_url) == ("n", "v", "t")
    assert [(r.type_url, r.value) for r in whole.resources] == [("t", body)] * len(names)
    delta = discovery_pb2.DeltaDiscoveryResponse.FromString(DELTA.write("t", push))
    assert (delta.nonce, delta.system_version_info, delta.type_url) == ("n", "v", "t")
    assert [(r.name, r.version, r.resource.value) for r in delta.resources] == [
        (name, f"v-{name}", body) for name in names
    ]
