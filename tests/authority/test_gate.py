"""Whether a step is safe now, and who would break."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshca.authority.fleet import Word, Workload
from meshca.authority.gate import LEFT_BEHIND, MOST_NAMED, Gate, Terms, activate_gate, over_gate, retire_gate
from tests.fakes.pki import DAY, NOW
from tests.fakes.roots import HOUR, MINUTE, NEW, OLD, SECOND, silent, workload

TERMS = Terms(share=1.0, settle=10 * MINUTE, published_for=timedelta(0))
SINCE = NOW - HOUR
UNAWARE = workload("late", trusts=frozenset({OLD}))
MOVED = workload("moved", signers=frozenset({NEW}))
SETTLED = silent(given_at=NOW - 10 * MINUTE)
FRESH = silent(given_at=NOW - MINUTE)
NEVER = silent()


def activate(fleet: Sequence[Workload], terms: Terms = TERMS, published_since: datetime | None = None) -> Gate:
    """The gate before the new root signs."""
    return activate_gate(fleet, NEW, terms, SINCE, published_since, NOW)


def named(pods: int, unaware: int) -> list[Workload]:
    """Workloads that trust the new root, and some that do not."""
    return [workload(str(n)) for n in range(pods - unaware)] + [UNAWARE] * unaware


class TestActivate:
    """`activate_gate`: nobody may meet a leaf that it does not trust."""

    @pytest.mark.parametrize(
        ("fleet", "is_open", "ready"),
        [
            pytest.param([], True, 0, id="nobody"),
            pytest.param([workload()], True, 1, id="acknowledged"),
            pytest.param([workload(), UNAWARE], False, 1, id="one-does-not-trust"),
            pytest.param([workload(word=Word.NONE, acknowledges=True)], False, 0, id="no-answer-yet"),
            pytest.param([workload(word=Word.DELIVERED, acknowledges=True)], False, 0, id="an-agent-must-answer"),
            pytest.param([SETTLED], True, 1, id="delivered-long-ago"),
            pytest.param([FRESH], False, 0, id="delivered-a-moment-ago"),
            pytest.param([NEVER], False, 0, id="never-delivered"),
            pytest.param([replace(SETTLED, given_at=None)], False, 0, id="delivered-who-knows-when"),
            pytest.param([workload("x", word=Word.NONE, trusts=frozenset())], False, 0, id="given-nothing"),
        ],
    )
    def test_who_is_ready(self, fleet: list[Workload], is_open: bool, ready: int) -> None:  # noqa: FBT001 - a row
        """Each grade by its own measure."""
        gate = activate(fleet)
        assert (gate.open, gate.ready, gate.of) == (is_open, ready, len(fleet))

    @pytest.mark.parametrize(
        ("share", "unaware", "is_open"),
        [(1.0, 4, False), (0.996, 4, True), (0.9961, 4, False), (0.996, 5, False), (0.0, 1000, True)],
    )
    def test_a_share_is_met_or_not(self, share: float, unaware: int, is_open: bool) -> None:  # noqa: FBT001 - a row
        """It is never rounded up."""
        assert activate(named(1000, unaware), replace(TERMS, share=share)).open is is_open

    def test_a_share_does_not_cover_those_that_cannot_acknowledge(self) -> None:
        """They are all waited for."""
        assert not activate([*named(1000, 0), NEVER], replace(TERMS, share=0.5)).open

    def test_a_share_that_is_met_still_names_who_would_break(self) -> None:
        """Open is not the same as harmless."""
        gate = activate(named(10, 1), replace(TERMS, share=0.9))
        assert (gate.open, [one.workload.pod for one in gate.stragglers]) == (True, ["late"])

    @pytest.mark.parametrize(
        ("since", "is_open", "opens_at"),
        [
            (None, False, None),
            (NOW - MINUTE, False, NOW + 59 * MINUTE),
            (NOW - HOUR, True, None),
        ],
        ids=["not-published", "too-short", "long-enough"],
    )
    def test_published_roots_need_their_time(
        self,
        since: datetime | None,
        is_open: bool,  # noqa: FBT001 - a row
        opens_at: datetime | None,
    ) -> None:
        """Their readers tell nobody."""
        gate = activate([workload()], replace(TERMS, published_for=HOUR), since)
        assert (gate.open, gate.opens_at) == (is_open, opens_at)

    @pytest.mark.parametrize(
        ("fleet", "opens_at"),
        [
            pytest.param([FRESH], NOW + 9 * MINUTE, id="settles"),
            pytest.param([NEVER], NOW + DAY / 2 + 10 * MINUTE, id="renews-or-ends"),
            pytest.param([FRESH, NEVER], NOW + DAY / 2 + 10 * MINUTE, id="the-last"),
            pytest.param([FRESH, UNAWARE], None, id="waits-for-an-answer"),
            pytest.param([FRESH, replace(NEVER, leaf_ends=None)], None, id="nobody-knows"),
            pytest.param([workload()], None, id="is-open"),
        ],
    )
    def test_when_it_opens_by_itself(self, fleet: list[Workload], opens_at: datetime | None) -> None:
        """At the latest, where that is known."""
        assert activate(fleet).opens_at == opens_at

    @pytest.mark.parametrize(
        ("gate", "why"),
        [
            pytest.param(
                activate([]),
                "0 of 0 workloads trust bbbbbbbbbbbb, given out since 2025-12-31T23:00:00+00:00",
                id="none",
            ),
            pytest.param(
                activate(named(10000, 4)),
                "9996 of 10000 workloads trust bbbbbbbbbbbb, given out since 2025-12-31T23:00:00+00:00; of 10000"
                " that acknowledge, 4 do not: 99.9 % trust it, 100 % are asked for",
                id="share",
            ),
            pytest.param(
                activate([NEVER]),
                "0 of 1 workloads trust bbbbbbbbbbbb, given out since 2025-12-31T23:00:00+00:00; 1 that cannot"
                " acknowledge have not got it, or for less than 10m",
                id="silent",
            ),
            pytest.param(
                activate([], replace(TERMS, published_for=HOUR)),
                "0 of 0 workloads trust bbbbbbbbbbbb, given out since 2025-12-31T23:00:00+00:00; it is not in the"
                " published roots yet; see the ConfigMaps in `meshca status`",
                id="unpublished",
            ),
            pytest.param(
                activate([], replace(TERMS, published_for=HOUR), NOW),
                "0 of 0 workloads trust bbbbbbbbbbbb, given out since 2025-12-31T23:00:00+00:00; readers of the"
                " published roots have had it long enough at 2026-01-01T01:00:00+00:00",
                id="published-lately",
            ),
        ],
    )
    def test_why(self, gate: Gate, why: str) -> None:
        """All that was found, in words."""
        assert gate.why == why


class TestRetire:
    """`retire_gate`: no leaf in use may be below what is dropped."""

    def test_it_is_open_once_nobody_holds_a_leaf_below(self) -> None:
        """And says so."""
        gate = retire_gate([MOVED], OLD)
        assert gate == Gate(open=True, ready=1, of=1, why="no workload holds a certificate below aaaaaaaaaaaa")

    def test_it_is_closed_while_somebody_does(self) -> None:
        """Until the last of these leaves ends."""
        gate = retire_gate([MOVED, workload("a"), workload("b", leaf_ends=NOW + DAY)], OLD)
        assert (gate.open, gate.ready, gate.of, gate.opens_at) == (False, 1, 3, NOW + DAY)
        assert gate.why == (
            "2 of 3 workloads hold certificates below aaaaaaaaaaaa; the last of them ends at"
            " 2026-01-02T00:00:00+00:00"
        )

    def test_a_leaf_whose_end_is_not_known_keeps_it_closed(self) -> None:
        """Without a promise when it opens."""
        gate = retire_gate([workload(leaf_ends=None)], OLD)
        assert (gate.open, gate.opens_at) == (False, None)
        assert gate.why == "1 of 1 workloads hold certificates below aaaaaaaaaaaa"

    def test_only_the_leaf_below_the_root_counts_for_the_end(self) -> None:
        """A newer one below another root does not."""
        one = workload(signers=frozenset({OLD, NEW}), ends=((OLD, NOW + MINUTE), (NEW, NOW + DAY)))
        assert retire_gate([one], OLD).opens_at == NOW + MINUTE


class TestOver:
    """`over_gate`: a tainted root goes at the window's end, whoever breaks."""

    @pytest.mark.parametrize(
        ("fleet", "window", "is_open", "opens_at"),
        [
            pytest.param([MOVED], HOUR, True, None, id="unused"),
            pytest.param([workload()], HOUR, False, NOW + HOUR, id="window"),
            pytest.param([workload(leaf_ends=NOW + SECOND)], HOUR, False, NOW + SECOND, id="ends-sooner"),
            pytest.param([workload(leaf_ends=None)], HOUR, False, NOW + HOUR, id="nobody-knows"),
            pytest.param([workload()], timedelta(0), True, None, id="at-once"),
        ],
    )
    def test_when_it_opens(
        self,
        fleet: list[Workload],
        window: timedelta,
        is_open: bool,  # noqa: FBT001 - a row
        opens_at: datetime | None,
    ) -> None:
        """As soon as nobody needs it, and at the window's end."""
        gate = over_gate(fleet, OLD, NOW, window, NOW)
        assert (gate.open, gate.opens_at) == (is_open, opens_at)

    def test_those_who_lose_trust_are_named(self) -> None:
        """Also when it is open."""
        gate = over_gate([workload(), MOVED], OLD, NOW - HOUR, HOUR, NOW)
        assert (gate.open, gate.ready, [one.workload.pod for one in gate.stragglers]) == (True, 1, ["web-1"])
        assert gate.why == (
            "1 of 2 workloads hold certificates below aaaaaaaaaaaa; the last of them ends at"
            " 2026-01-01T12:00:00+00:00; the window is over since 2026-01-01T00:00:00+00:00: it is dropped, and"
            " who holds one loses trust"
        )

    def test_before_its_end_the_window_is_told(self) -> None:
        """So that nobody is surprised."""
        assert over_gate([workload(leaf_ends=None)], OLD, NOW, HOUR, NOW).why == (
            "1 of 1 workloads hold certificates below aaaaaaaaaaaa; the window is over at"
            " 2026-01-01T01:00:00+00:00, then it is dropped whoever still holds one"
        )


def test_the_one_seen_last_is_named_first() -> None:
    """It can be asked most easily."""
    some = [replace(UNAWARE, pod=str(n), seen_at=NOW - n * MINUTE) for n in (2, 0, 1)]
    assert [one.workload.pod for one in activate(some).stragglers] == ["0", "1", "2"]


def test_counts_are_exact_where_names_are_not_all_told() -> None:
    """The rest is a number."""
    gate = activate([UNAWARE] * (MOST_NAMED + 7))
    assert (len(gate.stragglers), gate.unnamed, gate.of - gate.ready) == (MOST_NAMED, 7, MOST_NAMED + 7)


ROOTS = st.frozensets(st.sampled_from([OLD, NEW]))
MOMENTS = st.none() | st.integers(-2000, 2000).map(lambda minutes: NOW + minutes * MINUTE)
WORKLOADS = st.builds(
    workload,
    word=st.sampled_from(Word),
    trusts=ROOTS,
    given_at=MOMENTS,
    signers=ROOTS,
    leaf_ends=MOMENTS,
    connected=st.booleans(),
    trouble=st.sampled_from(["", "no"]),
    acknowledges=st.booleans(),
)
FLEETS = st.lists(WORKLOADS, max_size=8)
SHARES = st.floats(0, 1)


@given(fleet=FLEETS, more=WORKLOADS, share=SHARES)
def test_one_more_that_does_not_trust_never_opens_it(fleet: list[Workload], more: Workload, share: float) -> None:
    """Whatever else it is."""
    terms = replace(TERMS, share=share)
    grown = activate([*fleet, replace(more, trusts=more.trusts - {NEW})], terms)
    assert not grown.open or activate(fleet, terms).open


@given(fleet=FLEETS)
def test_with_all_asked_for_it_is_open_only_if_every_one_is_ready(fleet: list[Workload]) -> None:
    """And then it is."""
    gate = activate(fleet)
    assert gate.open is (gate.ready == gate.of)


@given(fleet=FLEETS, share=SHARES)
def test_every_one_is_ready_or_named(fleet: list[Workload], share: float) -> None:
    """Nobody is lost between the numbers; who does not trust is never ready."""
    gate = activate(fleet, replace(TERMS, share=share))
    assert gate.ready + len(gate.stragglers) == gate.of == len(fleet)
    assert gate.ready <= sum(NEW in one.trusts for one in fleet)


@given(fleet=FLEETS)
def test_a_root_is_not_dropped_while_a_leaf_in_use_is_below_it(fleet: list[Workload]) -> None:
    """Not one."""
    assert retire_gate(fleet, OLD).open is not any(OLD in one.signers for one in fleet)


@given(fleet=FLEETS, minutes=st.integers(-100, 100))
def test_a_tainted_root_goes_when_unused_or_over(fleet: list[Workload], minutes: int) -> None:
    """And in no other case."""
    gate = over_gate(fleet, OLD, NOW - HOUR, HOUR + minutes * MINUTE, NOW)
    assert gate.open is (retire_gate(fleet, OLD).open or minutes <= 0)


class TestTold:
    """What is kept of a gate with the step."""

    def test_nobody_is_left_behind(self) -> None:
        """The words of the gate."""
        gate = retire_gate([MOVED], OLD)
        assert gate.told == gate.why

    def test_who_is_left_behind_is_named(self) -> None:
        """All that the gate names, and how many more there are."""
        gate = retire_gate([workload(f"w{n}") for n in range(MOST_NAMED + 2)], OLD)
        assert gate.told.startswith(f"{gate.why}{LEFT_BEHIND}spiffe://")
        assert (gate.told.count(' in "w'), gate.told.endswith(" and 2 more")) == (MOST_NAMED, True)
        one = retire_gate([workload("web-1")], OLD)
        assert one.told.endswith('; left behind: spiffe://cluster.local/ns/shop/sa/web in "web-1"')
