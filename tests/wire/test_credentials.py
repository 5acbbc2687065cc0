"""Facts about reading a credential from a call."""

from __future__ import annotations

from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshca.identity.caller import Credential
from meshca.secret import Secret
from meshca.wire.credentials import read_credential

Metadata = tuple[tuple[str, str | bytes], ...]


class FakeContext:
    """The two things that are read from a call."""

    def __init__(self, metadata: Metadata | None, certificates: list[bytes] | None = None) -> None:
        self._metadata = metadata
        self._certificates = certificates

    def invocation_metadata(self) -> Metadata | None:
        """As gRPC gives it."""
        return self._metadata

    def auth_context(self) -> dict[str, list[bytes]]:
        """As gRPC gives it."""
        known = {"transport_security_type": [b"ssl"]}
        return known if self._certificates is None else {**known, "x509_pem_cert": self._certificates}


def read(metadata: Metadata | None, certificates: list[bytes] | None = None) -> Credential:
    """Read from a fake call."""
    return read_credential(cast("Any", FakeContext(metadata, certificates)))


ROWS: list[tuple[str, Metadata, str | None]] = [
    ("one", (("authorization", "Bearer abc"),), "abc"),
    ("none", (), None),
    ("first bearer wins", (("authorization", "Bearer a"), ("authorization", "Bearer b")), "a"),
    ("other schemes are skipped", (("authorization", "Basic a"), ("authorization", "Bearer b")), "b"),
    ("lower case scheme", (("authorization", "bearer a"),), None),
    ("no space", (("authorization", "Bearera"),), None),
    ("istio scheme", (("authorization", "Istio a"),), None),
    ("empty token", (("authorization", "Bearer "),), ""),
    ("second space belongs to the token", (("authorization", "Bearer  a"),), " a"),
    ("binary value", (("authorization", b"Bearer a"),), None),
    ("other header", (("x-authorization", "Bearer a"),), None),
]


@pytest.mark.parametrize(("metadata", "token"), [row[1:] for row in ROWS], ids=[row[0] for row in ROWS])
def test_token(metadata: Metadata, token: str | None) -> None:
    """The token is the first value that begins with exactly `Bearer `."""
    assert read(metadata).unverified_token == (None if token is None else Secret(token))


@pytest.mark.parametrize(
    ("metadata", "cluster"),
    [
        ((), ""),
        ((("clusterid", "east"),), "east"),
        ((("clusterid", "east"), ("clusterid", "west")), ""),
    ],
    ids=["absent", "one", "two"],
)
def test_cluster(metadata: Metadata, cluster: str) -> None:
    """The cluster's name counts only if it was sent once."""
    assert read(metadata).cluster == cluster


def test_no_metadata() -> None:
    """A call without metadata shows nothing."""
    assert read(None) == Credential()


def test_certificate_of_the_handshake() -> None:
    """On the mTLS port the leaf that the handshake verified is read."""
    assert read((), [b"leaf", b"other"]).peer_certificate == b"leaf"


def test_no_certificate_on_the_token_port() -> None:
    """On the token port there is no certificate."""
    assert read(()).peer_certificate is None


def test_metadata_cannot_name_a_certificate() -> None:
    """A header that looks like a certificate is not one (XFCC is not supported)."""
    metadata = (("x509_pem_cert", "leaf"), ("x-forwarded-client-cert", "URI=spiffe://cluster.local/ns/a/sa/b"))
    assert read(metadata) == Credential()


@given(st.lists(st.tuples(st.sampled_from(["authorization", "clusterid", "x"]), st.text() | st.binary())))
def test_anything_is_read(metadata: list[tuple[str, str | bytes]]) -> None:
    """Any metadata is read without an error, and the token never shows in the repr."""
    found = read(tuple(metadata))
    if found.unverified_token is not None and len(found.unverified_token.reveal()) > 12:
        assert found.unverified_token.reveal() not in repr(found)
