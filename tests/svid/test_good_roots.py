"""The roots that may be published: each good one, whatever stands beside it."""

from __future__ import annotations

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from hypothesis import given
from hypothesis import strategies as st

from meshca.svid.good_roots import good_roots, other_roots
from tests.fakes.certificates import leaf
from tests.fakes.pki import DAY, NOW, make_ca

GOOD, OTHER = make_ca("good").pem, make_ca("other").pem
EXPIRED = make_ca("old", begin=NOW - 2 * DAY, end=NOW - DAY).pem
FUTURE = make_ca("new", begin=NOW + DAY).pem
NO_CONSTRAINTS = make_ca("odd", constraints=None).pem
LEAF = leaf().decode()
DAMAGED = GOOD.replace("MII", "MIX", 1)
CUT = GOOD[:200]
KEY = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        (EXPIRED, "ended at 2025-12-31"),
        (LEAF, "is no CA certificate"),
        (NO_CONSTRAINTS, "is no CA certificate"),
        (DAMAGED, "is damaged"),
        (CUT, "is damaged"),
        (KEY, "is damaged"),
    ],
)
@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_bad_one_hides_none(bad: str, why: str, place: int) -> None:
    """It is left out with its number and why; those around it stay, in their order."""
    blocks = [GOOD, OTHER]
    blocks.insert(place, bad)
    found = good_roots("\n".join(blocks), NOW)
    assert found.pem == GOOD + OTHER
    (left_out,) = found.left_out
    assert left_out.startswith(f"certificate {place + 1} {why}")


def test_one_that_begins_later_stays() -> None:
    """A root is made known before it is used."""
    assert good_roots(GOOD + FUTURE, NOW).pem == GOOD + FUTURE


def test_each_once() -> None:
    """A certificate that is there twice is published once."""
    assert good_roots(GOOD + OTHER + GOOD, NOW).pem == GOOD + OTHER


def test_text_around() -> None:
    """Only certificates are published, in one spelling."""
    spelled = f"subject=good\r\n{GOOD.replace(chr(10), chr(13) + chr(10))}\n# the end"
    assert good_roots(spelled, NOW).pem == GOOD


@pytest.mark.parametrize("text", ["", "no certificate", EXPIRED, LEAF])
def test_nothing_good(text: str) -> None:
    """Then there is nothing to publish."""
    assert good_roots(text, NOW).pem == ""


@given(st.text() | st.text(alphabet="-BEGIN CRTFAD\nMII="))
def test_any_text(text: str) -> None:
    """Whatever comes first, a good root after it on a line of its own is found."""
    assert GOOD in good_roots(f"{text}\n{GOOD}", NOW).pem


@given(st.integers(0, len(GOOD) - 2))
def test_any_cut(length: int) -> None:
    """However much of a certificate is there, it hides none."""
    assert GOOD in good_roots(OTHER[:length] + "\n" + GOOD, NOW).pem


@pytest.mark.parametrize(
    ("text", "ours", "others"),
    [
        ("", GOOD, []),
        (GOOD, GOOD, []),
        (GOOD, OTHER + GOOD, []),
        (f"# a note\n{GOOD}", GOOD, []),
        ("istiod's", GOOD, []),
        (EXPIRED + LEAF + DAMAGED, GOOD, []),
        (OTHER, GOOD, [OTHER]),
        (OTHER, "", [OTHER]),
        (FUTURE, GOOD, [FUTURE]),
        (EXPIRED + GOOD + CUT + OTHER, GOOD, [OTHER]),
    ],
)
def test_other_roots(text: str, ours: str, others: list[str]) -> None:
    """Each root that has not ended and is none of ours is named; junk and ended ones are nobody's."""
    prints = [x509.load_pem_x509_certificate(pem.encode()).fingerprint(SHA256()).hex() for pem in others]
    assert other_roots(text, ours, NOW) == tuple(prints)
