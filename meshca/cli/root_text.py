"""How roots look on a terminal: tables, bars and words, 100 columns wide at most. Rules only, no printing.

Whatever somebody else wrote passes `printable`.
"""

from __future__ import annotations

import dataclasses
import enum
import textwrap
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from meshca.cli.columns import WIDTH, exact, fit, iso, workload
from meshca.cli.output import table
from meshca.duration import format_duration
from meshca.printable import printable

if TYPE_CHECKING:
    from meshca.authority.gate import Gate, Straggler
    from meshca.authority.history import Bundle, Change, Plan, Record, Request
    from meshca.cli.root_certificate import Says
    from meshca.rotation.report import AuthorityReport, FleetReport, Forecast, RootReport

SHORT: Final = 12  # characters of an id: enough to be typed back
BAR: Final = 30  # characters
ITSELF: Final = "meshca"  # who does what nobody asked for
SHOWN: Final = 10  # stragglers; `--output json` has all that the server names


def plain(value: Any) -> Any:  # noqa: ANN401 - any part of a report
    """A value as scripts get it: times in UTC, sets sorted, enumerations by their value."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, frozenset):
        return sorted(value)
    if isinstance(value, list | tuple):
        return [plain(part) for part in value]
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, timedelta):
        return format_duration(value)
    return exact(value) if isinstance(value, datetime) else value


def short(id_: str) -> str:
    """The first digits of an id."""
    return printable(id_[:SHORT])


def minute(instant: datetime | None) -> str:
    """`2026-01-01T00:00Z`, or a dash."""
    return instant.astimezone(UTC).strftime("%Y-%m-%dT%H:%MZ") if instant else "-"


def bar(ready: int, of: int) -> str:
    """`[#####-----] 512 of 1024`; full only when nobody is missing."""
    filled = BAR if ready >= of else ready * BAR // of
    return f"[{'#' * filled}{'-' * (BAR - filled)}] {ready} of {of}"


def status(report: RootReport) -> str:
    """How the roots stand."""
    parts = [
        _heading(report),
        authorities(report.authorities),
        "\n".join(_bars(report)),
        fleet(report.fleet),
        _next(report),
        stragglers(report.gate.stragglers, report.gate.unnamed) if report.gate and not report.gate.open else "",
        "\n".join(["WARNINGS", *map(_item, report.warnings)] if report.warnings else []),
    ]
    return "\n\n".join(part for part in parts if part)


def progress(report: RootReport) -> str:
    """A rotation under way as one looks at it all the time: what is waited for and who holds it up come first."""
    parts = [
        _next(report),
        stragglers(report.gate.stragglers, report.gate.unnamed) if report.gate and not report.gate.open else "",
        "\n".join(_bars(report)),
        _heading(report),
    ]
    return "\n\n".join(part for part in parts if part)


def holders(gate: Gate) -> str:
    """Who holds a gate up, in a few words: account and pod of each, and how many more there are."""
    shown = [
        f"{printable(workload(one.workload.identity))} ({printable(one.workload.pod) or 'no pod'})"
        for one in gate.stragglers[:SHOWN]
    ]
    more = gate.unnamed + len(gate.stragglers[SHOWN:])
    return ", ".join(shown) + (f" and {more} more" if more else "")


def _heading(report: RootReport) -> str:
    driver = f"driven by {fit(report.driven_by, 40)}" if report.driven_by else "no replica takes steps now"
    version = short(report.bundle_version)
    lines = [f"bundle {report.sequence} ({version}), generation {report.generation}, {driver}"]
    if report.plan:
        lines += wrapped(rotation(report.plan))
    return "\n".join(lines)


def rotation(plan: Plan) -> str:
    """A rotation in words."""
    how = "paused" if plan.paused else "steps are taken as gates open" if plan.automatic else "step by step"
    begun = f"since {iso(plan.started_at)} by {printable(plan.by)}"
    why = f": {printable(plan.reason)}" if plan.reason else ""
    window = format_duration(plan.window)
    urgent = f", as {printable(plan.urgent_by)} said" if plan.urgent_by else ""
    compromised = f"; the old one is compromised{urgent}, window {window}" if plan.compromised else ""
    return f"rotating from {short(plan.old)} to {short(plan.new)}, {how}{compromised}, {begun}{why}"


def authorities(reports: Sequence[AuthorityReport]) -> str:
    """Each authority, who trusts it and who holds leaves below it."""
    rows = [
        {
            "authority": one.record.kind.value,
            "id": short(one.record.id),
            "state": one.record.state.value,
            "ends": minute(one.not_after),
            "trusted by": one.trusted_by,
            "leaves": one.leaves,
            "last leaf ends": minute(one.last_leaf_ends),
        }
        for one in reports
    ]
    return table(rows, ("authority", "id", "state", "ends", "trusted by", "leaves", "last leaf ends"))


def _bars(report: RootReport) -> Iterator[str]:
    if report.plan is None or report.fleet is None:
        return
    known = {one.record.id: one for one in report.authorities}
    seen = report.fleet.seen
    if new := known.get(report.plan.new):
        yield f"trusts new root    {bar(new.trusted_by, seen)}"
    if old := known.get(report.plan.old):
        yield f"left the old root  {bar(max(0, seen - old.leaves), seen)}"


def fleet(report: FleetReport | None) -> str:
    """Who counts, and on whose word."""
    if report is None:
        return "the store cannot be read now: nobody knows who trusts what, and every gate is closed"
    oldest = f", the longest silent at {iso(report.oldest_seen)}" if report.oldest_seen else ""
    lines = wrapped(
        f"{report.seen} workloads seen since {iso(report.seen_since)}{oldest}; they have the newest bundle as"
        f" acknowledged {report.acknowledged} (in force at every Envoy), delivered {report.delivered} (sent; that"
        f" it is used is not known), not at all {report.none}"
    )
    return "\n".join(lines)


def _next(report: RootReport) -> str:
    lines = ["NEXT", *wrapped(printable(report.next_step or "nothing: no rotation is under way"))]
    return "\n".join(lines + ([gate(report.gate, report.next_step)] if report.gate else []))


def gate(found: Gate, said: str) -> str:
    """What was found of a guard, after what was said already."""
    opens = f"; opens at {iso(found.opens_at)} at the latest" if found.opens_at and not found.open else ""
    state = "open" if found.open else "closed"
    why = "" if found.why in said else f": {printable(found.why)}"
    return "\n".join(wrapped(f"gate {state}, {found.ready} of {found.of} ready{why}{opens}"))


def stragglers(found: Sequence[Straggler], unnamed: int, title: str = "WHO WOULD BREAK") -> str:
    """Who would break: identity, pod, when it was seen, until when its leaf lives, and why."""
    if not found and not unnamed:
        return ""
    lines = [f"{title} ({len(found) + unnamed})"]
    for one in found[:SHOWN]:
        lines += _straggler(one)
    if more := unnamed + len(found[SHOWN:]):
        lines.append(f"… {more} more")
    return "\n".join(lines)


def _straggler(straggler: Straggler) -> list[str]:
    one = straggler.workload
    seen = "connected" if one.connected else f"seen {minute(one.seen_at)}"
    lines = [f"{fit(workload(one.identity), 42):42}  {fit(one.pod or '(no pod)', 32):32}  {seen}"]
    lines += wrapped(printable(straggler.why), "    ")
    if one.signers:
        ends = f" until {minute(one.leaf_ends)}" if one.leaf_ends else ""
        lines += wrapped(f"holds leaves below {', '.join(map(short, sorted(one.signers)))}{ends}", "    ")
    return lines + (wrapped(f"it says: {printable(one.trouble)}", "    ") if one.trouble else [])


def forecast(found: Forecast) -> str:
    """What an act would do, who would hold up which step, and who would break."""
    lines = []
    if found.plan is not None:
        lines = [*wrapped(f"a rotation is under way: {rotation(found.plan)}"), ""]
    left = "what is left to do" if found.plan is not None else "what would be done"
    lines.append(f"{left}, at the earliest; nothing was done now:")
    for number, step in enumerate(found.steps, start=1):
        lines += wrapped(f"{number}. {printable(step.says)}")
        if held := stragglers(step.holders, step.unnamed, f"WHO HOLDS UP STEP {number}"):
            lines.append(held)
    losers = stragglers(found.losers, found.unnamed) or "nobody would break"
    return "\n".join([*lines, "", losers])


@dataclasses.dataclass(frozen=True, slots=True)
class Stay:
    """From when to when a root was trusted, by the sequence numbers of bundles.

    Attributes:
        entered: of the first with it; None when there is none, or that is not remembered.
        left: of the first without it after that; None when there is none.
        trusted: whether it was ever in one that is remembered.
    """

    entered: int | None = None
    left: int | None = None
    trusted: bool = True

    def __str__(self) -> str:
        """`3-` when it is in every bundle from the third on, `3-5` when it left with the sixth."""
        if not self.trusted:
            return "-"
        entered = "…" if self.entered is None else self.entered
        return f"{entered}-{'' if self.left is None else self.left - 1}"


def stay(root: str, bundles: Sequence[Bundle]) -> Stay:
    """Where a root was in a history of bundles, the newest last."""
    held = [one.sequence for one in bundles if root in one.roots]
    if not held:
        return Stay(trusted=False)
    is_known = held[0] == 1 or held[0] != bundles[0].sequence
    after = [one.sequence for one in bundles if one.sequence > held[-1]]
    return Stay(held[0] if is_known else None, min(after, default=None))


def records(found: Sequence[tuple[Record, Says]], bundles: Sequence[Bundle] = ()) -> str:
    """Every root with what its certificate says, oldest first."""
    rows = [
        {
            "root": short(one.id),
            "state": one.state.value,
            "bundles": stay(one.id, bundles),
            "since": minute(one.since),
            "ends": minute(says.not_after),
            "subject": fit(says.subject, 25),
        }
        for one, says in found
    ]
    return table(rows, ("root", "state", "bundles", "since", "ends", "subject"))


def changes(found: Sequence[Change]) -> str:
    """What was done, newest first, with why below each."""
    lines = ["TIME                  ACT         AUTHORITY     STATE         BY"] if found else ["(none)"]
    for one in found:
        act = one.act.value if one.act else "made"
        line = f"{iso(one.at)}  {act:10}  {short(one.authority):12}  {one.after.value:12}  {fit(one.by, 36)}"
        lines.append(line.rstrip())
        unsaid = "" if one.by == ITSELF else "no reason given"
        told = [one.reason or unsaid, one.guard, "forced" if one.forced else ""]
        if said := "; ".join(printable(part) for part in told if part):
            lines += wrapped(said, "    ")
    return "\n".join(lines)


def requests(found: Sequence[Request]) -> str:
    """What waits for a second person."""
    if not found:
        return "nothing waits for a second person"
    return "\n".join(line for one in found for line in request(one))


def request(one: Request) -> list[str]:
    """One that waits, and how to approve it."""
    urgent = ", urgent, as a key is stolen" if one.urgent else ""
    why = f": {printable(one.reason)}" if one.reason else ""
    return [
        *wrapped(f"{printable(one.id)}  {printable(one.says)}"),
        *wrapped(f"asked by {printable(one.by)} at {iso(one.at)}{urgent}{why}", "    "),
        *wrapped(f"until {iso(one.until)} another administrator can: meshca approve {printable(one.id)}", "    "),
    ]


def wrapped(text: str, indent: str = "") -> list[str]:
    """Lines of a text that fit."""
    return textwrap.wrap(text, WIDTH, initial_indent=indent, subsequent_indent=indent or "  ")


def _item(text: str) -> str:
    return textwrap.fill(printable(text), WIDTH, initial_indent="- ", subsequent_indent="  ")
