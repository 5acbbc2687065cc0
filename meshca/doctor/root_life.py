"""The life of the roots: what ends soon, a rotation that stands still, a root that is dropped and still published.

Asked of the running server on its own socket, because only it knows who trusts what. Nothing is decided here: what
an end means is `rotation.explain`'s to say, what a step waits for the gate's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol

from meshca.authority.gate import Gate
from meshca.authority.history import Kind
from meshca.authority.lifecycle import State
from meshca.authority.straggling import short, when
from meshca.clock import Clock
from meshca.doctor.certificates import fingerprints, read_pem
from meshca.doctor.finding import Said, Unseen, ok, some, unknown, wrong
from meshca.doctor.root_config_map import managers, maps_of, text_of
from meshca.doctor.site import Roots, Site
from meshca.errors import MeshcaError
from meshca.rotation.explain import Ending, endings
from meshca.rotation.report import RootReport

NAMED: Final = 3  # stragglers that are named; `meshca root status` has all
SEE: Final = "meshca root status"
ROTATE: Final = 'meshca root rotate --wait --reason "<why>"; with --dry-run it says first who would break'
ABORT: Final = 'or give it up: meshca root abort {how}--reason "<why>"'
RESUME: Final = 'meshca root resume {how}--reason "<why>"'
LOOK: Final = "`meshca status` says why there is no new signer, and the server's log (signer.refused) since when"
ASK_THERE: Final = "run it where the server runs, as its user, with the server's --config"


class HasRoots(Protocol):
    """What the checks that need no cluster look at; `site.Site` is one."""

    @property
    def roots(self) -> Roots:
        """Of the running server."""
        ...

    @property
    def clock(self) -> Clock:
        """Ours."""
        ...


async def root_expiry(site: HasRoots) -> Said:
    """No root or intermediate ends soon."""
    report = await _report(site)
    found = endings(report.authorities, site.clock.now())
    if found:
        return wrong("; ".join(one.words for one in found), *dict.fromkeys(_mend(one, report) for one in found))
    ends = [one for one in report.authorities if one.record.state is State.ACTIVE]
    told = [f"{one.record.kind.value} {short(one.record.id)} until {when(one.not_after)}" for one in ends]
    return ok(", ".join(told)) if told else unknown("no root is active yet", "see `meshca status`")


def _mend(ending: Ending, report: RootReport) -> str:
    if ending.kind is Kind.INTERMEDIATE:
        return LOOK
    if report.plan is not None and ending.authority in {report.plan.old, report.plan.new}:
        return "a rotation is under way: see what `root-rotation` says"
    return ROTATE


async def root_rotation(site: HasRoots) -> Said:
    """No root is being replaced, or the next step comes by itself."""
    report = await _report(site)
    plan, gate = report.plan, report.gate
    if plan is None:
        return ok(report.next_step or "no root is being replaced")
    if report.fleet is None:
        return unknown(gate.why if gate else report.next_step, "see `meshca status` for the store")
    how = "--compromised " if plan.compromised else ""  # nobody stops that one in passing
    if plan.paused:
        return wrong(report.next_step, RESUME.format(how=how), ABORT.format(how=how))
    if gate is None or gate.open:
        return ok(f"under way: {report.next_step}")
    if gate.opens_at is not None:
        return ok(f"under way: {report.next_step}; at {when(gate.opens_at)} at the latest")
    return wrong(f"held: {report.next_step}", *_stragglers(gate), SEE, ABORT.format(how=how))


def _stragglers(gate: Gate) -> Sequence[str]:
    named = gate.stragglers[:NAMED]
    return [" ".join(filter(None, (one.workload.identity, one.workload.pod))) + f": {one.why}" for one in named]


async def root_retired(site: Site) -> Said:
    """No root that is trusted no more is still published."""
    try:
        records = await site.roots.records()
    except MeshcaError as error:
        raise Unseen(error.detail, ASK_THERE) from None
    retired = frozenset(one.id for one in records if one.state is State.RETIRED)
    if not retired:
        return ok("no root was retired")
    config = site.kubernetes.root_config_map
    found = {namespace: item for namespace, item in (await maps_of(site)).items() if item is not None}
    held = {name: fingerprints(read_pem(text_of(item, config.key))) & retired for name, item in found.items()}
    places = [name for name, roots in held.items() if roots]
    if not places:
        return ok(f"none of {len(retired)} retired is in {config.name}")
    roots = some([short(root) for root in sorted(frozenset().union(*held.values()))])
    writers = some(sorted({writer for name in places for writer in managers(found[name], config.key)}))
    begun = "meshca writes it anew" if config.enabled else "then write it anew without the retired root"
    where = f"{config.name} of {len(places)} of {len(found)} namespaces ({some(places)})"
    return wrong(
        f"{roots}: retired, but readers of {where} trust it still; written by {writers or 'nobody known'}",
        *(f"kubectl -n {name} delete configmap {config.name}; {begun}" for name in places[:NAMED]),
    )


async def _report(site: HasRoots) -> RootReport:
    """How the roots stand.

    Raises:
        Unseen: the server cannot be asked.
    """
    try:
        return await site.roots.report()
    except MeshcaError as error:
        raise Unseen(error.detail, ASK_THERE) from None
