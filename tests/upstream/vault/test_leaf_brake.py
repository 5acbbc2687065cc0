"""Who has to wait before another leaf is asked for, and what is known of the last one."""

from __future__ import annotations

import pytest

from meshca import metrics
from meshca.errors import Unavailable
from meshca.upstream.vault import leaf_brake
from meshca.upstream.vault.faults import Fault, failure
from meshca.upstream.vault.leaf_brake import LeafBrake
from meshca.upstream.vault.patience import REFUSAL
from tests.fakes.clock import FakeClock
from tests.fakes.jitter import Jitter

REFUSES_TWO = str(failure(Fault.BAD_REQUEST, "of 2 identities within 10 minutes"))
WRONG = Unavailable("leaf_answer", "it is a CA")


class Rig:
    """A brake, and its clock."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.brake = LeafBrake(self.clock, Jitter(1.0))

    def refused(self, identity: str) -> str:
        """Why it may not be asked for one now; empty when it may."""
        try:
            with self.brake.asking(identity):
                return ""
        except Unavailable as error:
            return error.reason

    @property
    def problem(self) -> str:
        """Of the last leaf."""
        return "" if self.brake.problem is None else str(self.brake.problem)


def test_a_wrong_leaf() -> None:
    """Is shown and counted as the fault of Vault's that it is, and asked for again only after a pause."""
    rig, counter = Rig(), metrics.vault_faults.labels("answer")
    before = counter._value.get()
    rig.brake.answered()
    rig.brake.judged("web", WRONG)
    assert (counter._value.get(), rig.problem) == (before + 1, str(failure(Fault.ANSWER, "it is a CA")))
    assert rig.refused("web") == "leaf_answer"
    rig.clock.move(REFUSAL.ceiling)
    assert rig.refused("web") == ""


def test_wrong_again() -> None:
    """Pauses grow to a minute, also though the server answers each time."""
    rig = Rig()
    for _ in range(20):
        rig.brake.answered()
        rig.brake.judged("web", WRONG)
    rig.clock.move(REFUSAL.ceiling / 2)
    assert rig.refused("web") == "leaf_answer"


def test_a_wrong_leaf_of_another() -> None:
    """Nobody waits because a leaf for somebody else was wrong, and a good one is the last that is shown."""
    rig = Rig()
    rig.brake.judged("web", WRONG)
    assert rig.refused("shop") == ""
    rig.brake.judged("shop", None)
    assert (rig.problem, rig.refused("web")) == ("", "leaf_answer")


def test_a_good_leaf() -> None:
    """Ends the pause of whose it is."""
    rig = Rig()
    rig.brake.judged("web", WRONG)
    rig.brake.judged("web", None)
    assert (rig.refused("web"), rig.problem) == ("", "")


def test_what_can_sign_no_leaves() -> None:
    """Is shown and counted; Vault was not asked, so nobody waits."""
    rig, counter = Rig(), metrics.vault_faults.labels("leaf_issuer")
    before = counter._value.get()
    rig.brake.judged("web", Unavailable("leaf_issuer", "a root"))
    assert (counter._value.get(), rig.problem) == (before + 1, str(failure(Fault.LEAF_ISSUER, "a root")))
    assert rig.refused("web") == ""


def test_another_reason() -> None:
    """What is no fault of Vault's is shown as it is."""
    rig = Rig()
    rig.brake.judged("web", Unavailable("other", "x"))
    assert (rig.problem, rig.refused("web")) == ("other: x", "")


def test_no_more_than_so_many(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of more identities than are remembered the one that failed first waits no more."""
    monkeypatch.setattr(leaf_brake, "MANY", 2)
    rig = Rig()
    for name in ("a", "b", "b", "c"):
        rig.brake.judged(name, WRONG)
    assert [rig.refused(name) for name in "abc"] == ["", "leaf_answer", "leaf_answer"]


def test_one_tries_after_an_outage() -> None:
    """While nobody knows whether it is over one asks; once something came, everybody does."""
    rig = Rig()
    rig.brake.failed(failure(Fault.SEALED))
    assert rig.refused("web") == "vault_sealed"
    rig.clock.move(60)
    with rig.brake.asking("web"):
        assert rig.refused("shop") == "vault_sealed"
        rig.brake.answered()
        assert rig.refused("shop") == ""


@pytest.mark.parametrize("fault", [Fault.ROLE, Fault.BAD_REQUEST, Fault.ANSWER])
def test_a_refusal_after_an_outage(fault: Fault) -> None:
    """Whoever says no is there, so everybody may ask again."""
    rig = Rig()
    rig.brake.failed(failure(Fault.SEALED))
    rig.clock.move(60)
    with rig.brake.asking("web"):
        assert rig.refused("shop") == "vault_sealed"
        rig.brake.refused("web", failure(fault))
        assert rig.refused("shop") == ""


def test_an_outage_after_an_outage() -> None:
    """Is one still."""
    rig = Rig()
    rig.brake.failed(failure(Fault.SEALED))
    rig.clock.move(60)
    rig.brake.refused("web", failure(Fault.TIMEOUT))
    assert rig.refused("shop") == "vault_timeout"


def test_a_bad_request_of_one() -> None:
    """However often it comes it is counted and not shown: no workload calls the server wrong."""
    rig, counter = Rig(), metrics.vault_faults.labels("bad_request")
    before = counter._value.get()
    for _ in range(3):
        rig.brake.refused("web", failure(Fault.BAD_REQUEST))
    assert (counter._value.get(), rig.problem) == (before + 3, "")


@pytest.mark.parametrize(("fault", "shown"), [(Fault.SEALED, ""), (Fault.ROLE, "vault_role")])
def test_a_bad_request_after_another_fault(fault: Fault, shown: str) -> None:
    """Shows that an outage is over, and of no other fault that it is mended."""
    rig = Rig()
    rig.brake.failed(failure(fault))
    rig.brake.refused("web", failure(Fault.BAD_REQUEST))
    assert rig.problem.partition(":")[0] == shown


def test_another_reason_for_none() -> None:
    """What is no fault of Vault's says nothing of an outage."""
    rig = Rig()
    rig.brake.failed(failure(Fault.SEALED))
    rig.brake.refused("web", Unavailable("other", "x"))
    assert (rig.refused("shop"), rig.problem) == ("vault_sealed", "other: x")


def test_bad_requests_of_two() -> None:
    """Are the role's fault: shown, and counted."""
    rig, counter = Rig(), metrics.vault_faults.labels("bad_request")
    before = counter._value.get()
    for name in ("web", "shop"):
        rig.brake.refused(name, failure(Fault.BAD_REQUEST))
    assert (counter._value.get(), rig.problem) == (before + 2, REFUSES_TWO)


def test_bad_requests_with_a_good_leaf_between() -> None:
    """A role that refuses a part of the mesh only is shown, whoever else gets leaves."""
    rig = Rig()
    for name in ("web", "shop"):
        rig.brake.refused(name, failure(Fault.BAD_REQUEST))
        rig.brake.judged("db", None)
    assert rig.problem == REFUSES_TWO


def test_a_leaf_for_whom_it_was_refused() -> None:
    """Is one refusal less, so that its fault ends when the role is mended."""
    rig = Rig()
    for name in ("web", "shop"):
        rig.brake.refused(name, failure(Fault.BAD_REQUEST))
    rig.brake.judged("web", None)
    assert rig.problem == ""


def test_bad_requests_of_long_ago() -> None:
    """Who does not ask again is not waited for: it may be gone."""
    rig = Rig()
    for name in ("web", "shop"):
        rig.brake.refused(name, failure(Fault.BAD_REQUEST))
    rig.clock.move(leaf_brake.RECENT)
    assert rig.problem == ""
    for name in ("web", "shop"):
        rig.brake.refused(name, failure(Fault.BAD_REQUEST))
    assert rig.problem == REFUSES_TWO


def test_another_fault_beside_bad_requests() -> None:
    """Is the one that is shown, as long as it lasts."""
    rig = Rig()
    for name in ("web", "shop"):
        rig.brake.refused(name, failure(Fault.BAD_REQUEST))
    rig.brake.failed(failure(Fault.SEALED))
    assert rig.problem == str(failure(Fault.SEALED))


@pytest.mark.parametrize("fault", [Fault.UNTRUSTED, Fault.NOT_VAULT, Fault.LOGIN_UNREADABLE])
def test_not_heard_after_an_outage(fault: Fault) -> None:
    """Whoever answered was not the server, so one at a time goes on asking whether it is there."""
    rig = Rig()
    rig.brake.failed(failure(Fault.SEALED))
    rig.clock.move(60)
    with rig.brake.asking("web"):
        rig.brake.refused("web", failure(fault))
        assert rig.refused("shop") == "vault_sealed"
    assert rig.problem == str(failure(fault))


def test_before_an_outage() -> None:
    """Nobody waits for anybody."""
    rig = Rig()
    with rig.brake.asking("web"):
        assert rig.refused("shop") == ""
