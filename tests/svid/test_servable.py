"""What may be handed to an Envoy."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from meshca.errors import InvariantBroken
from meshca.secret import Secret
from meshca.svid.draft import Issued
from meshca.svid.servable import servable_pair, servable_roots
from tests.fakes.ca import Pair, authority, certificate, new_key, svid_extensions

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


@pytest.fixture(scope="module")
def root() -> Pair:
    """A root that is valid around NOW."""
    return authority("root", NOW - DAY, NOW + 10 * DAY)


def intermediate(root: Pair, end: datetime = NOW + 2 * DAY) -> Pair:
    """A signing certificate below it."""
    return authority("signer", NOW - DAY, end, root)


def leaf(issuer: Pair, begin: datetime = NOW - HOUR, end: datetime = NOW + DAY) -> Pair:
    """A workload's certificate."""
    key = new_key()
    extensions = svid_extensions("spiffe://cluster.local/ns/a/sa/b")
    made = certificate("", key.public_key(), issuer, issuer.key, begin=begin, end=end, extensions=extensions)
    return Pair(made, key)


def issued(*chain: str) -> Issued:
    """What the pipeline gives."""
    return Issued(chain=chain, roots="", serial="1", not_before=NOW, not_after=NOW, signer="ab" * 32)


def refusal(chain: tuple[str, ...], key: str) -> str:
    """Why the pair is not servable."""
    with pytest.raises(InvariantBroken) as broken:
        servable_pair(issued(*chain), Secret(key), NOW)
    assert broken.value.reason == "not_servable"
    return broken.value.detail


def test_pair_that_matches_is_served_whole(root: Pair) -> None:
    """The chain as one text, the key as it was, and the earliest end."""
    signer = intermediate(root, end=NOW + HOUR)
    made = leaf(signer)
    pair = servable_pair(issued(made.pem, signer.pem), Secret(made.key_pem), NOW)
    assert pair.chain == made.pem + signer.pem
    assert pair.key.reveal() == made.key_pem
    assert pair.signers == {"ab" * 32}
    assert (pair.not_before, pair.not_after) == (NOW - HOUR, NOW + HOUR)


def test_key_of_another_certificate_is_not_served(root: Pair) -> None:
    """Envoy would refuse it, and its old secret with it."""
    assert "does not belong" in refusal((leaf(root).pem,), leaf(root).key_pem)


@pytest.mark.parametrize(
    ("begin", "end"),
    [
        pytest.param(NOW - DAY, NOW - HOUR, id="expired"),
        pytest.param(NOW - DAY, NOW - timedelta(seconds=1), id="ended just now"),
        pytest.param(NOW + HOUR, NOW + DAY, id="not yet valid"),
    ],
)
def test_pair_outside_its_time_is_not_served(root: Pair, begin: datetime, end: datetime) -> None:
    """Envoy would acknowledge it."""
    made = leaf(root, begin, end)
    assert "not valid now" in refusal((made.pem,), made.key_pem)


def test_pair_is_served_to_its_last_instant(root: Pair) -> None:
    """NotAfter itself belongs to the validity."""
    made = leaf(root, NOW - DAY, NOW)
    assert servable_pair(issued(made.pem), Secret(made.key_pem), NOW).not_after == NOW


def test_pair_below_an_expired_signer_is_not_served(root: Pair) -> None:
    """Every certificate of the chain counts."""
    signer = intermediate(root, end=NOW - HOUR)
    made = leaf(signer)
    assert "not valid now" in refusal((made.pem, signer.pem), made.key_pem)


def test_garbage_is_not_served(root: Pair) -> None:
    """Neither as a chain nor as a key."""
    made = leaf(root)
    assert "certificate does not parse" in refusal(("garbage",), made.key_pem)
    assert "key does not parse" in refusal((made.pem,), "garbage")


def test_roots_are_served_as_they_are(root: Pair) -> None:
    """One of them may have expired."""
    old = authority("old", NOW - 2 * DAY, NOW - DAY)
    assert servable_roots(root.pem + old.pem, NOW).pem == root.pem + old.pem


def test_roots_that_would_break_the_mesh_are_not_served(root: Pair) -> None:
    """All expired, not a CA, garbage, nothing."""
    expired = authority("old", NOW - 2 * DAY, NOW - DAY)
    key = new_key()
    bare = certificate("bare", key.public_key(), None, key, begin=NOW - DAY, end=NOW + DAY, extensions=[])
    plain = bare.public_bytes(Encoding.PEM).decode()
    for pem in (expired.pem, root.pem + leaf(root).pem, root.pem + plain, "garbage", ""):
        with pytest.raises(InvariantBroken) as broken:
            servable_roots(pem, NOW)
        assert broken.value.reason == "not_servable"


def test_root_with_a_broken_extension_is_no_root(root: Pair) -> None:
    """What the library cannot read does not go out."""
    key = new_key()
    nonsense = x509.UnrecognizedExtension(x509.BasicConstraints.oid, b"nonsense")
    broken = certificate(
        "odd", key.public_key(), None, key, begin=NOW - DAY, end=NOW + DAY, extensions=[(nonsense, True)]
    )
    with pytest.raises(InvariantBroken):
        servable_roots(broken.public_bytes(Encoding.PEM).decode(), NOW)
