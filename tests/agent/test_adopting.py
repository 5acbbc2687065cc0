"""What the agent tells the CA, and when."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from meshca.agent.adopting import VOID, Adopting, Say
from meshca.agent.envoys import HeldUp, InForce, Missing, Rejected, Undecided, Verdict

ENVOY, AGENT, WAIT, NO = InForce(grade="envoy"), InForce(grade="agent"), Undecided(), Rejected(error="no")
LATE = InForce(grade="envoy", pending_pids=(7,))
ILL = HeldUp(pids=(7,), error="pid 7 refuses default: no")


def pushed(version: str = "v1", nonce: str = "n1") -> Adopting:
    """A subscription with one push."""
    adopting = Adopting()
    adopting.begin()
    adopting.pushed(version, nonce)
    return adopting


def test_the_first_request_knows_nothing() -> None:
    """No version, no nonce."""
    assert Adopting().begin() == Say(version="")


def test_nothing_is_said_before_a_push() -> None:
    """There is nothing to answer."""
    assert Adopting().review(ENVOY) is None


def test_nothing_is_said_before_the_verdict() -> None:
    """The CA must not hope."""
    assert pushed().review(WAIT) is None


def test_nothing_is_said_while_an_envoy_may_come_back() -> None:
    """Neither on our own word nor on that of the others; what was told before stands."""
    adopting = pushed()
    assert adopting.review(Missing()) is None
    assert adopting.review(ENVOY) is not None
    assert [adopting.review(Missing()), adopting.review(ENVOY)] == [None, None]


def test_an_adopted_version_is_acknowledged_once() -> None:
    """With the grade."""
    adopting = pushed()
    assert adopting.review(ENVOY) == Say(version="v1", nonce="n1", verdict=ENVOY)
    assert adopting.review(ENVOY) is None


def test_an_envoy_that_catches_up_is_reported() -> None:
    """The same push is acknowledged again, with the new report."""
    adopting = pushed()
    assert adopting.review(LATE) == Say(version="v1", nonce="n1", verdict=LATE)
    assert adopting.review(ENVOY) == Say(version="v1", nonce="n1", verdict=ENVOY)


def test_a_first_envoy_raises_the_grade() -> None:
    """It came after the agent had spoken for itself."""
    adopting = pushed()
    adopting.review(AGENT)
    assert adopting.review(ENVOY) == Say(version="v1", nonce="n1", verdict=ENVOY)


def test_the_grade_does_not_fall_when_the_last_envoy_leaves() -> None:
    """It had adopted; but it is not pending any more."""
    adopting = pushed()
    adopting.review(LATE)
    assert adopting.review(AGENT) == Say(version="v1", nonce="n1", verdict=ENVOY)
    assert adopting.review(AGENT) is None


def test_what_is_held_up_is_neither_acknowledged_nor_refused() -> None:
    """It is reported once, with a nonce that is void; the acknowledgement follows without a new push."""
    adopting = pushed()
    adopting.review(ENVOY)
    adopting.pushed("v2", "n2")
    assert adopting.review(ILL) == Say(version="v1", nonce=VOID, verdict=ILL)
    assert adopting.review(ILL) is None
    assert adopting.review(ENVOY) == Say(version="v2", nonce="n2", verdict=ENVOY)


def test_what_is_in_force_may_be_held_up_later() -> None:
    """It is no refusal; and the grade does not fall by it."""
    adopting = pushed()
    adopting.review(ENVOY)
    assert adopting.review(ILL) == Say(version="v1", nonce=VOID, verdict=ILL)
    assert adopting.review(AGENT) == Say(version="v1", nonce="n1", verdict=ENVOY)


def test_the_next_push_has_its_own_grade() -> None:
    """Nobody has vouched for it yet."""
    adopting = pushed()
    adopting.review(ENVOY)
    adopting.pushed("v2", "n2")
    assert adopting.review(AGENT) == Say(version="v2", nonce="n2", verdict=AGENT)


def test_a_refusal_names_the_version_before() -> None:
    """As an xDS client does."""
    adopting = pushed()
    adopting.review(ENVOY)
    adopting.pushed("v2", "n2")
    assert adopting.review(NO) == Say(version="v1", nonce="n2", error="no")


def test_a_refusal_is_told_once() -> None:
    """Whatever words follow."""
    adopting = pushed()
    adopting.review(NO)
    assert adopting.review(Rejected(error="still no")) is None


def test_a_refused_version_may_be_adopted_later() -> None:
    """The Envoy's session has retried it."""
    adopting = pushed()
    adopting.review(NO)
    assert adopting.review(ENVOY) == Say(version="v1", nonce="n1", verdict=ENVOY)


def test_an_adopted_version_may_be_refused_later() -> None:
    """By an Envoy that came later; the version before is named, not the refused one."""
    adopting = pushed()
    adopting.review(ENVOY)
    adopting.pushed("v2", "n2")
    adopting.review(ENVOY)
    assert adopting.review(NO) == Say(version="v1", nonce="n2", error="no")


def test_what_is_bad_is_refused_whatever_the_envoys_say() -> None:
    """They never saw it."""
    adopting = pushed()
    adopting.review(ENVOY)
    adopting.pushed("v2", "n2", invalid="garbage")
    assert adopting.review(ENVOY) == Say(version="v1", nonce="n2", error="garbage")
    assert adopting.review(WAIT) is None


def test_a_good_push_after_a_bad_one_is_acknowledged() -> None:
    """The CA mended it."""
    adopting = pushed()
    adopting.pushed("v2", "n2", invalid="garbage")
    adopting.review(ENVOY)
    adopting.pushed("v3", "n3")
    assert adopting.review(ENVOY) == Say(version="v3", nonce="n3", verdict=ENVOY)


def test_a_new_stream_asks_with_the_old_version() -> None:
    """And answers nothing of the old stream's nonces."""
    adopting = pushed()
    adopting.review(ENVOY)
    assert adopting.begin() == Say(version="v1")
    assert adopting.review(NO) is None


def test_the_same_version_on_a_new_stream_is_acknowledged_again() -> None:
    """The CA counts per stream."""
    adopting = pushed()
    adopting.review(ENVOY)
    adopting.begin()
    adopting.pushed("v1", "n9")
    assert adopting.review(ENVOY) == Say(version="v1", nonce="n9", verdict=ENVOY)


_VERDICTS: st.SearchStrategy[Verdict] = st.sampled_from(
    [ENVOY, AGENT, WAIT, Missing(), NO, LATE, ILL, Rejected(error="other")]
)


@given(st.lists(st.one_of(_VERDICTS, st.sampled_from(["push", "bad", "stream"])), max_size=40))
def test_every_answer_is_for_the_newest_push_and_says_something_new(story: list[Verdict | str]) -> None:
    """Never two equal answers in a row, never an answer to an old nonce, never silence about a verdict."""
    adopting = Adopting()
    adopting.begin()
    nonce, bad, count = "", False, 0
    said: Say | None = None
    for step in story:
        if step == "stream":
            adopting.begin()
            nonce, said = "", None
        elif isinstance(step, str):
            count += 1
            nonce, bad, said = f"n{count}", step == "bad", None
            adopting.pushed(f"v{count}", nonce, invalid="bad" if bad else "")
        else:
            answer = adopting.review(step)
            if answer is not None:
                held_up = isinstance(step, HeldUp) and not bad
                assert answer.nonce == (VOID if held_up else nonce)
                assert answer != said
                assert bool(answer.error) == (bad or isinstance(step, Rejected))
                assert answer.error or held_up or answer.version == f"v{count}"
                said = answer
            elif nonce and not isinstance(step, Undecided | Missing):
                assert said is not None  # it knows already
