"""What is said of those who hold up a step."""

from __future__ import annotations

import pytest

from meshca.authority.fleet import Word, Workload
from meshca.authority.straggling import (
    LONGEST_POD,
    LONGEST_TROUBLE,
    holds,
    lacks,
    named,
    next_leaf,
    quoted,
    short,
    when,
)
from tests.fakes.pki import DAY, NOW
from tests.fakes.roots import HOUR, MINUTE, NEW, OLD, silent, workload

GONE = workload(connected=False, seen_at=NOW - HOUR)


@pytest.mark.parametrize(
    ("one", "words"),
    [
        pytest.param(
            workload(trouble="bad root\x1b[2J"),
            'refuses or holds up the roots: "bad root\\x1b[2J"; mend that, then it is told again by itself',
            id="refuses",
        ),
        pytest.param(
            workload(),
            "is connected but has not acknowledged the roots yet; see the log of its agent if that lasts",
            id="connected",
        ),
        pytest.param(
            GONE,
            "is not connected, was last seen at 2025-12-31T23:00:00+00:00; start it again, or wait until its"
            " certificate ends at 2026-01-01T12:00:00+00:00",
            id="gone",
        ),
        pytest.param(
            workload(connected=False, leaf_ends=None, signers=frozenset()),
            "is not connected, was last seen at 2026-01-01T00:00:00+00:00; start it again, or wait until it counts"
            " as gone",
            id="gone-without-a-leaf",
        ),
        pytest.param(
            workload(connected=False, leaf_ends=None, trouble="disk full"),
            'is not connected, was last seen at 2026-01-01T00:00:00+00:00 and said "disk full"; start it again, or'
            " wait until it counts as gone",
            id="gone-in-trouble",
        ),
        pytest.param(
            silent(given_at=NOW - MINUTE),
            "got the roots at 2025-12-31T23:59:00+00:00, counts from 2026-01-01T00:59:00+00:00 on",
            id="not-for-long",
        ),
        pytest.param(
            silent(),
            "never got the roots; gets them with its next certificate at about 2026-01-01T06:00:00+00:00, sooner"
            " when it is restarted",
            id="next-certificate",
        ),
        pytest.param(
            silent(seen_at=NOW - DAY),
            "never got the roots; its next certificate is overdue since about 2025-12-31T18:00:00+00:00; restart"
            " it, or wait until it is gone",
            id="overdue",
        ),
        pytest.param(
            workload(word=Word.NONE, connected=False, leaf_ends=None),
            "never got the roots; gets them when it asks for a certificate",
            id="no-leaf",
        ),
    ],
)
def test_what_a_workload_lacks(one: Workload, words: str) -> None:
    """And what can be done about it."""
    assert lacks(one, NEW, HOUR, NOW) == words


HELD = "holds a certificate below aaaaaaaaaaaa until 2026-01-01T12:00:00+00:00; "


@pytest.mark.parametrize(
    ("one", "words"),
    [
        pytest.param(workload(trouble="disk full"), HELD + 'its agent says: "disk full"', id="trouble"),
        pytest.param(workload(), HELD + "its agent is connected and renews it", id="connected"),
        pytest.param(
            GONE,
            HELD
            + "is not connected, was last seen at 2025-12-31T23:00:00+00:00; start it again, or wait until its"
            " certificate ends at 2026-01-01T12:00:00+00:00",
            id="gone",
        ),
        pytest.param(
            silent(),
            HELD + "nothing says when it has another instead, so wait until that ends",
            id="silent",
        ),
        pytest.param(
            workload(word=Word.NONE, connected=False, leaf_ends=None),
            "holds a certificate below aaaaaaaaaaaa; nothing says when it has another instead, so wait until that"
            " ends",
            id="nobody-knows-until-when",
        ),
    ],
)
def test_what_a_workload_still_holds(one: Workload, words: str) -> None:
    """Until when, and what can be done."""
    assert holds(one, OLD) == words


def test_what_an_agent_wrote_is_cut() -> None:
    """It may write what it likes."""
    said = lacks(workload(trouble="x" * 1000), NEW, HOUR, NOW)
    assert said.count("x") == LONGEST_TROUBLE


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('"; all is well', r'"\"; all is well"'),
        ('\\"; all is well', r'"\\\"; all is well"'),
        ("\n", r'"\n"'),
        (r"\n", r'"\\n"'),
        ("x" * (LONGEST_TROUBLE - 1) + '""', f'"{"x" * (LONGEST_TROUBLE - 1)}\\""'),
    ],
    ids=["quote", "backslash-and-quote", "control", "spelled-control", "cut"],
)
def test_no_agent_ends_its_quotation(text: str, expected: str) -> None:
    """What follows would read as our own words; it is cut before it is spelled out, so no half is left."""
    assert quoted(text) == expected


@pytest.mark.parametrize(
    ("pod", "expected"),
    [
        ("web-1", '"web-1"'),
        ('web", spiffe://other in "x\x1b', r'"web\", spiffe://other in \"x\x1b"'),
        ("p" * 999, f'"{"p" * LONGEST_POD}"'),
        ("", "no pod"),
    ],
    ids=["plain", "foreign", "long", "none"],
)
def test_a_workload_has_a_name(pod: str, expected: str) -> None:
    """No pod can make it two."""
    assert named(workload(pod)) == f"spiffe://cluster.local/ns/shop/sa/web in {expected}"


def test_the_next_leaf_comes_at_half_life() -> None:
    """Of the newest one."""
    assert next_leaf(silent()) == NOW + DAY / 4


def test_people_read_an_id_and_an_instant_in_short() -> None:
    """Twelve digits, and seconds."""
    assert (short(OLD), when(NOW)) == ("a" * 12, "2026-01-01T00:00:00+00:00")
