"""Trust bundles."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from meshca.agent.bundle import LARGEST, parse_bundle
from meshca.agent.chain import to_pem
from meshca.errors import Unavailable
from tests.fakes.ca import OWN, authority, certificate, new_key, svid_extensions

NOW = datetime(2026, 1, 1, tzinfo=UTC)
BEGIN, END = NOW - timedelta(days=1), NOW + timedelta(days=1)
A, B = authority("a", BEGIN, END), authority("b", BEGIN, END)
OLD = authority("old", BEGIN, NOW - timedelta(seconds=1))
LEAF = certificate("", new_key().public_key(), A, A.key, begin=BEGIN, end=END, extensions=svid_extensions(OWN))


def test_equal_sets_are_equal_bundles() -> None:
    """Whatever their order, and however often a root is in them: versions are content hashes."""
    one, two = parse_bundle(A.pem + B.pem, NOW), parse_bundle(B.pem + A.pem + B.pem, NOW)
    assert one == two
    assert one.version == two.version


def test_other_sets_have_other_versions() -> None:
    """A changed bundle is seen as changed."""
    assert parse_bundle(A.pem, NOW).version != parse_bundle(B.pem, NOW).version


def test_a_bundle_reads_back() -> None:
    """What is stored is what was held."""
    bundle = parse_bundle(A.pem + B.pem, NOW)
    assert parse_bundle(bundle.pem, NOW) == bundle


def test_text_around_the_certificates_is_dropped() -> None:
    """Comments of other tools do not reach Envoy."""
    assert parse_bundle(f"# a comment\n{A.pem}\n", NOW).pem == A.pem


def test_one_living_root_is_enough() -> None:
    """An old root may stay in the bundle while it is phased out."""
    assert len(parse_bundle(A.pem + OLD.pem, NOW).certificates) == 2


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="nothing"),
        pytest.param("garbage", id="garbage"),
        pytest.param("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", id="garbage in PEM"),
        pytest.param(A.pem + A.pem.replace("M", "N", 1), id="one of two is damaged"),
        pytest.param(A.key_pem, id="a key"),
        pytest.param(OLD.pem, id="all have expired"),
        pytest.param("x" * (LARGEST + 1), id="too large"),
        pytest.param(A.pem + to_pem([LEAF]), id="a leaf among them"),
    ],
)
def test_what_is_no_bundle_is_refused(text: str) -> None:
    """Envoy would acknowledge most of these."""
    with pytest.raises(Unavailable) as caught:
        parse_bundle(text, NOW)
    assert caught.value.reason == "bad_bundle"
