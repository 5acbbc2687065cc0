"""What the CA pushes, taken or refused."""

from __future__ import annotations

import base64
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509

from meshca.agent.envoys import Envoys, HeldUp, InForce, Rejected, Undecided
from meshca.agent.holding import Holding
from meshca.agent.intake import RECORD, PoliciesIntake, RootsIntake
from meshca.agent.pin import SystemRoots
from meshca.agent.state import State
from meshca.agent.trust import Trust
from meshca.config.resource_names import AUTHZ, DEFAULT, EXTENSION_TYPE_URL, SECRET_TYPE_URL
from meshca.discovery.event import Adopted, Event, Overdue, Refused, Subscribed
from meshca.errors import Unavailable
from meshca.identity.service_account import ServiceAccount
from meshca.wire.node import Node
from meshca.wire.xds_streams import Notice
from tests.fakes.agent_values import NOW, bundle_of, new_root, policies_of, policy_body, roots_body, svid_of
from tests.fakes.ca import OWN, FakeCa, Pair, certificate, usage
from tests.fakes.clock import FakeClock
from tests.fakes.logs import captured_logs

WEB = ServiceAccount(namespace="shop", name="web")
NO = Rejected(error="no")
YES = InForce(grade="envoy")
ILL = HeldUp(pids=(7,), error="pid 7 refuses default: no")


async def nothing() -> tuple[x509.Certificate, ...]:
    """Nobody presents anything here."""
    return ()


class Scene:
    """An agent that has met its CA."""

    def __init__(self, folder: Path) -> None:
        self.clock = FakeClock(NOW)
        self.ca = FakeCa(self.clock)
        self.state = State(folder)
        self.holding = Holding(self.clock)
        self.trust = Trust(
            SystemRoots(), fetch=nothing, clock=self.clock, state=self.state, changed=self.holding.take_bundle
        )
        self.hurried = 0
        self.roots = RootsIntake(self.holding, self.trust, self.clock, self._hurry)
        self.policies = PoliciesIntake(self.holding, self.state)

    def _hurry(self) -> None:
        self.hurried += 1

    def meet(self) -> None:
        """Get the first certificate."""
        self.trust.first(bundle_of(self.ca.root))
        self.holding.take_svid(svid_of(self.ca))

    def offered(self) -> bytes | None:
        """The policy set on the shelf."""
        shelf = self.holding.resources(EXTENSION_TYPE_URL)
        return shelf[AUTHZ].body if shelf else None


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    """With a certificate."""
    made = Scene(tmp_path)
    made.meet()
    return made


def test_pushed_roots_are_learnt_and_offered(scene: Scene) -> None:
    """To the Envoys, to our own channels, and to the next start."""
    both = bundle_of(scene.ca.root, new_root("next"))
    scene.roots.take(roots_body(both))
    assert scene.holding.bundle == both
    assert scene.trust.bundle == both
    assert scene.state.load("trust") == {"pin": "system", "roots": both.pem}


@pytest.mark.parametrize("body", [b"\xff", b""], ids=["garbage", "nothing"])
def test_bad_roots_replace_nothing(scene: Scene, body: bytes) -> None:
    """The good ones stay."""
    with pytest.raises(Unavailable):
        scene.roots.take(body)
    assert scene.holding.bundle == bundle_of(scene.ca.root)


def test_expired_roots_replace_nothing(scene: Scene) -> None:
    """Envoy would take them."""
    body = roots_body(bundle_of(scene.ca.root))
    scene.clock.move(11 * 365 * 86400)
    with pytest.raises(Unavailable, match="expired"):
        scene.roots.take(body)


def test_roots_without_any_held_one_replace_nothing(scene: Scene) -> None:
    """A rotation goes through both; anything else would lock the agent out."""
    with pytest.raises(Unavailable) as caught:
        scene.roots.take(roots_body(bundle_of(new_root("other"))))
    assert caught.value.reason == "no_common_root"
    assert scene.holding.bundle == bundle_of(scene.ca.root)


def test_a_rotation_goes_through_both_roots(scene: Scene) -> None:
    """And our own certificate is renewed when it is left behind, not before."""
    following = new_root("next")
    scene.roots.take(roots_body(bundle_of(scene.ca.root, following)))
    assert scene.hurried == 0
    scene.roots.take(roots_body(bundle_of(following)))
    assert scene.hurried == 1
    assert scene.holding.bundle == bundle_of(following)


def test_a_new_certificate_of_the_same_root_key_leaves_nobody_behind(scene: Scene) -> None:
    """What leads to the one leads to the other."""
    again = certificate(
        "root",
        scene.ca.root.key.public_key(),
        None,
        scene.ca.root.key,
        begin=scene.clock.now(),
        end=scene.clock.now() + timedelta(days=1),
        extensions=[(x509.BasicConstraints(ca=True, path_length=None), True), (usage(signs=True), True)],
    )
    renewed = Pair(again, scene.ca.root.key)
    scene.roots.take(roots_body(bundle_of(scene.ca.root, renewed)))
    scene.roots.take(roots_body(bundle_of(renewed)))
    assert scene.hurried == 0
    assert scene.holding.bundle == bundle_of(renewed)


def test_roots_may_come_before_the_certificate(tmp_path: Path) -> None:
    """There is nothing to renew then."""
    scene = Scene(tmp_path)
    scene.roots.take(roots_body(bundle_of(scene.ca.root)))
    assert scene.hurried == 0


def serial(scene: Scene) -> str:
    """Of the certificate that the agent has."""
    assert scene.holding.svid is not None
    return scene.holding.svid.serial


class Envoy:
    """One Envoy that asks for its certificate only."""

    def __init__(self) -> None:
        self.envoys = Envoys()
        self.tell(Subscribed(names=frozenset({DEFAULT})))

    def tell(self, event: Event) -> None:
        """Something happened there."""
        self.envoys.observe(
            Notice(peer="one", stream="1", node=Node(), type_url=SECRET_TYPE_URL, event=event), pid=7
        )


def test_before_the_first_certificate_none_is_in_force(tmp_path: Path) -> None:
    """Roots can be."""
    assert Scene(tmp_path).roots.verdict(Envoys()) == InForce(grade="agent")


@pytest.mark.parametrize("answer", [Refused, Overdue, None], ids=["refused", "late", "awaited"])
def test_a_certificate_that_an_envoy_has_not_taken_is_not_in_force(
    scene: Scene, answer: type[Refused | Overdue] | None
) -> None:
    """The one before it is, until it is taken."""
    envoy, first = Envoy(), serial(scene)
    envoy.tell(Adopted(versions={DEFAULT: first}))
    assert scene.roots.verdict(envoy.envoys) == InForce(grade="agent", leaf=first)
    scene.holding.take_svid(svid_of(scene.ca))
    second = {DEFAULT: serial(scene)}
    if answer is not None:
        envoy.tell(Overdue(versions=second) if answer is Overdue else Refused(versions=second, error="no"))
    assert scene.roots.verdict(envoy.envoys) == InForce(grade="agent", leaf=first)
    envoy.tell(Adopted(versions=second))
    assert scene.roots.verdict(envoy.envoys) == InForce(grade="agent", leaf=serial(scene))


def test_the_verdict_on_roots_is_the_envoys(scene: Scene) -> None:
    """Here there is none, so the certificate is in force with them."""
    assert scene.roots.verdict(Envoys()) == InForce(grade="agent", leaf=serial(scene))
    scene.roots.decided(NO)
    assert scene.holding.bundle == bundle_of(scene.ca.root)
    assert scene.roots.type_url == SECRET_TYPE_URL


def test_pushed_policies_are_offered(scene: Scene) -> None:
    """And stored once they are in force."""
    scene.policies.take(policy_body("a"))
    assert scene.offered() == policy_body("a")
    assert scene.state.load(RECORD) is None
    scene.policies.decided(YES)
    stored = {"spiffe_id": OWN, "policies": base64.b64encode(policy_body("a")).decode()}
    assert scene.state.load(RECORD) == stored


def test_bad_policies_replace_nothing(scene: Scene) -> None:
    """The good ones stay."""
    scene.policies.take(policy_body("a"))
    with pytest.raises(Unavailable):
        scene.policies.take(b"\xff")
    assert scene.offered() == policy_body("a")


def test_refused_policies_are_taken_back(scene: Scene) -> None:
    """All Envoys of a workload go by the same set; the store keeps the good one."""
    scene.policies.take(policy_body("a"))
    scene.policies.decided(YES)
    scene.policies.take(policy_body("b"))
    with captured_logs() as logs:
        scene.policies.decided(NO)
    assert scene.offered() == policy_body("a")
    assert logs[0]["event"] == "policies.refused"
    stored = scene.state.load(RECORD)
    assert stored is not None
    assert base64.b64decode(stored["policies"]) == policy_body("a")


def test_policies_that_an_ill_envoy_holds_up_stay_offered(scene: Scene) -> None:
    """All Envoys took them: they are what a later refusal goes back to, and what the next start finds."""
    scene.policies.take(policy_body("a"))
    scene.policies.decided(YES)
    scene.policies.take(policy_body("b"))
    scene.policies.decided(ILL)
    assert scene.offered() == policy_body("b")
    scene.policies.take(policy_body("c"))
    scene.policies.decided(NO)
    assert scene.offered() == policy_body("b")
    stored = scene.state.load(RECORD)
    assert stored is not None
    assert base64.b64decode(stored["policies"]) == policy_body("b")


def test_what_was_held_up_is_judged_again(scene: Scene) -> None:
    """Without a new push."""
    scene.policies.take(policy_body("a"))
    scene.policies.decided(ILL)
    assert scene.policies.verdict(Envoys()) == InForce(grade="agent")


def test_roots_that_are_held_up_stay_offered(scene: Scene) -> None:
    """The agent has checked them."""
    both = bundle_of(scene.ca.root, new_root("next"))
    scene.roots.take(roots_body(both))
    scene.roots.decided(ILL)
    assert scene.holding.bundle == both


def test_a_refusal_stands_until_the_next_push(scene: Scene) -> None:
    """That the Envoy took the old set back is no adoption of the new one."""
    scene.policies.take(policy_body("a"))
    scene.policies.decided(YES)
    scene.policies.take(policy_body("b"))
    scene.policies.decided(NO)
    assert scene.policies.verdict(Envoys()) == NO
    scene.policies.take(policy_body("c"))
    assert scene.policies.verdict(Envoys()) == InForce(grade="agent")
    assert scene.offered() == policy_body("c")


def test_refused_first_policies_stay_offered(scene: Scene) -> None:
    """There is nothing better; Envoy denies by itself."""
    scene.policies.take(policy_body("a"))
    scene.policies.decided(NO)
    assert scene.offered() == policy_body("a")


def test_nothing_decided_changes_nothing(scene: Scene) -> None:
    """Neither stored nor taken back."""
    scene.policies.decided(YES)
    scene.policies.take(policy_body("a"))
    scene.policies.decided(Undecided())
    assert scene.offered() == policy_body("a")
    assert scene.state.load(RECORD) is None


def test_stored_policies_are_offered_after_a_restart(scene: Scene, tmp_path: Path) -> None:
    """To Envoys that start while the CA is out of reach."""
    scene.policies.take(policy_body("a"))
    scene.policies.decided(YES)
    restarted = Scene(tmp_path)
    restarted.policies.restore(WEB)
    assert restarted.offered() == policy_body("a")


@pytest.mark.parametrize("account", [None, ServiceAccount(namespace="shop", name="api")])
def test_stored_policies_of_another_workload_are_not_offered(
    scene: Scene, tmp_path: Path, account: ServiceAccount | None
) -> None:
    """Nor of one that nobody knows: Envoy denies rather than allow what was meant for somebody else."""
    scene.policies.take(policy_body("a"))
    scene.policies.decided(YES)
    restarted = Scene(tmp_path)
    restarted.policies.restore(account)
    assert restarted.offered() is None


@pytest.mark.parametrize(
    "record",
    [
        pytest.param({}, id="empty"),
        pytest.param({"spiffe_id": OWN, "policies": "!"}, id="no base64"),
        pytest.param({"spiffe_id": OWN, "policies": "/w=="}, id="garbage"),
        pytest.param(
            {"spiffe_id": "x", "policies": base64.b64encode(policy_body("a")).decode()}, id="no identity"
        ),
    ],
)
def test_damaged_stored_policies_are_not_offered(scene: Scene, record: dict[str, str]) -> None:
    """And mentioned in the log."""
    scene.state.save(RECORD, record)
    with captured_logs() as logs:
        scene.policies.restore(WEB)
    assert scene.offered() is None
    assert [entry["event"] for entry in logs] == ["policies.stored_refused"]


def test_without_a_state_folder_nothing_is_stored() -> None:
    """By the operator's choice."""
    holding = Holding(FakeClock(NOW))
    intake = PoliciesIntake(holding, None)
    intake.restore(WEB)
    intake.take(policy_body("a"))
    intake.decided(YES)
    assert holding.policies == policies_of("a")
