"""The pieces of DER, held against the library's own encoder and parser."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st

from meshca import der
from tests.fakes.pki import make_ca


@given(st.lists(st.binary(max_size=300), max_size=4), st.sampled_from([der.SEQUENCE, der.OCTET_STRING, 0xA3]))
def test_content_comes_back(parts: list[bytes], tag: int) -> None:
    """What an element was made of is what it holds."""
    assert der.content(der.tlv(tag, *parts)) == b"".join(parts)


@given(st.lists(st.binary(max_size=300), max_size=5))
def test_children_come_back(parts: list[bytes]) -> None:
    """The elements that a sequence was made of are found again, in order."""
    elements = [der.tlv(der.OCTET_STRING, part) for part in parts]
    assert der.children(der.tlv(der.SEQUENCE, *elements)) == elements


@pytest.mark.parametrize(
    ("size", "head"),
    [(127, "047f"), (128, "048180"), (255, "0481ff"), (256, "04820100"), (65536, "0483010000")],
)
def test_lengths_are_shortest(size: int, head: str) -> None:
    """A length has the shortest form that holds it (X.690 section 10.1)."""
    assert der.tlv(der.OCTET_STRING, bytes(size))[: len(head) // 2].hex() == head


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0, "020100"),
        (127, "02017f"),
        (128, "02020080"),
        (255, "020200ff"),
        (256, "02020100"),
        (2**64, "0209010000000000000000"),
    ],
)
def test_integers(value: int, expected: str) -> None:
    """An integer is never negative by its first bit and has no needless zeros (X.690 section 8.3)."""
    assert der.integer(value).hex() == expected


@pytest.mark.parametrize(
    ("instant", "expected"),
    [
        pytest.param(datetime(2049, 12, 31, 23, 59, 59, tzinfo=UTC), b"\x17\x0d491231235959Z", id="last-utc-time"),
        pytest.param(datetime(2050, 1, 1, tzinfo=UTC), b"\x18\x0f20500101000000Z", id="first-generalized-time"),
        pytest.param(
            datetime(2026, 1, 1, 1, tzinfo=timezone(timedelta(hours=1))), b"\x17\x0d260101000000Z", id="other-zone"
        ),
    ],
)
def test_times(instant: datetime, expected: bytes) -> None:
    """UTCTime through 2049 and GeneralizedTime from 2050 (RFC 5280 section 4.1.2.5), always in UTC."""
    assert der.time(instant) == expected


def test_a_certificate_comes_apart() -> None:
    """The first part of a certificate is what the library calls its to-be-signed bytes."""
    certificate = make_ca("root").certificate
    assert isinstance(certificate, x509.Certificate)
    assert der.children(certificate.public_bytes(Encoding.DER))[0] == certificate.tbs_certificate_bytes
