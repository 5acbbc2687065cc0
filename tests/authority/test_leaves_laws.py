"""Over any history: what somebody may still show holds the gate of its root."""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from meshca.authority.adoption import standing
from meshca.authority.fleet import fleet
from meshca.authority.gate import retire_gate
from meshca.authority.history import Lifecycle
from meshca.authority.leaves import Leaf
from tests.fakes.adoption_store import FakeAdoption
from tests.fakes.pki import DAY, NOW
from tests.fakes.roots import MINUTE, agent, intermediate, leaf, root

MOST = 40  # leaves that are asked for; each is below a root of its own, as if a rotation came between any two
ROOTS = tuple(f"{number:x}" for number in range(1, MOST + 1))
LIFE = Lifecycle(records=(*map(root, ROOTS), *(intermediate(f"i{name}", name) for name in ROOTS)))
LIFETIME = 30  # minutes that a leaf lives; histories are longer


@dataclass(slots=True)
class Workload:
    """What is true of one; `shown` is in force at its Envoys, `got` came last; it speaks on `stream`."""

    pod: str
    speaks: bool
    instance: str = ""
    shown: Leaf | None = None
    got: Leaf | None = None
    stream: int = 0


@dataclass(slots=True)
class History:
    """A mesh, and all that its ledger and its adoption records know of it."""

    minute: int = 0
    leaves: list[Leaf] = field(default_factory=list)
    workloads: list[Workload] = field(
        default_factory=lambda: [
            Workload(pod="web-1", instance="a", speaks=True),
            Workload(pod="web-1", instance="b", speaks=True),
            Workload(pod="", instance="c", speaks=True),
            Workload(pod="pilot-1", speaks=False),
            Workload(pod="pilot-2", speaks=False),
        ]
    )
    told: FakeAdoption = field(default_factory=FakeAdoption)

    def __post_init__(self) -> None:
        """Every agent has a stream."""
        for who in self.workloads:
            self.say(who)

    def ask(self, who: Workload, *, comes: bool) -> None:
        """By the certificate in hand, or else by a token; the answer comes or is lost on its way."""
        now = NOW - DAY + self.minute * MINUTE
        by = who.got if who.got is not None and who.got.ends >= now and who.pod != "pilot-2" else None
        serial = f"{len(self.leaves) + 1:x}"
        made = leaf(
            serial,
            now,
            pod=who.pod,
            parent=by.serial if by else "",
            signer=f"i{serial}",
            ends=now + LIFETIME * MINUTE,
        )
        self.leaves.append(made)
        if comes:
            who.got = made
            if not who.speaks:
                who.shown = made

    def say(self, who: Workload, leaf: Leaf | None = None) -> None:
        """Something, on the agent's stream; both agents of the pod have one name."""
        if who.speaks:
            serial = leaf.serial if leaf else ""
            now = NOW - DAY + self.minute * MINUTE
            stream = f"{who.instance}{who.stream}"
            self.told.record(agent(pod=who.pod, instance=who.instance, stream=stream, leaf=serial, seen_at=now))

    def end(self, who: Workload) -> None:
        """The agent's stream; its Envoys go on."""
        self.told.disconnected("worker", f"{who.instance}{who.stream}")

    def act(self, deed: str, who: Workload) -> None:
        """One thing happens; a minute later the next."""
        self.minute += 1
        match deed:
            case "renews":
                self.ask(who, comes=True)
            case "asks in vain":
                self.ask(who, comes=False)
            case "forgets":
                who.got = None  # its agent starts anew, and its Envoys go on
            case "takes":
                who.shown = who.got or who.shown
            case "comes back":
                self.end(who)
                who.stream += 1
                self.say(who)
            case "ends":
                self.end(who)
            case _:
                self.say(who, who.shown)

    def drops_nothing_that_is_held(self) -> None:
        """No root may go below which somebody has a certificate."""
        now = NOW - DAY + self.minute * MINUTE
        rows = standing(self.told.latest.values())
        found = fleet(rows, self.leaves, LIFE, now, seen_within=DAY, settle=0 * MINUTE)
        for one in (held for who in self.workloads for held in (who.shown, who.got)):
            assert one is None or one.ends < now or not retire_gate(found, one.serial).open


DEEDS = ("renews", "renews", "asks in vain", "forgets", "takes", "takes", "says", "says", "ends", "comes back")


@settings(max_examples=200)
@given(
    deeds=st.lists(
        st.tuples(st.sampled_from(DEEDS), st.sampled_from([0, 0, 1, 1, 2, 3, 4])),
        min_size=MOST // 2,
        max_size=MOST,
    )
)
def test_a_root_is_not_dropped_while_somebody_may_show_a_leaf_below_it(deeds: list[tuple[str, int]]) -> None:
    """Whatever was lost, refused or never said, and without any time to settle."""
    history = History()
    for deed, number in deeds:
        history.act(deed, history.workloads[number])
        history.drops_nothing_that_is_held()
