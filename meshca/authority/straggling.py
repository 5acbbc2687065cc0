"""Why a workload holds up a step, in words that help at three in the morning: what it lacks, and what to do.

Pure. What an agent wrote is shown as a quotation without control characters, whose end it cannot forge; it is
never believed.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from meshca.authority.fleet import Workload
from meshca.printable import printable

LONGEST_TROUBLE: Final = 200  # characters of what an agent wrote
LONGEST_POD: Final = 253  # characters of a pod's name (RFC 1123 subdomain, as Kubernetes has it)


def short(authority: str) -> str:
    """An id, as far as people read it."""
    return authority[:12]


def when(moment: datetime) -> str:
    """An instant, to the second."""
    return moment.isoformat(timespec="seconds")


def next_leaf(workload: Workload) -> datetime | None:
    """When one that was last seen as it got its leaf asks for the next: at half life; None without a leaf."""
    if workload.leaf_ends is None:
        return None
    return workload.seen_at + (workload.leaf_ends - workload.seen_at) / 2


def lacks(workload: Workload, root: str, settle: timedelta, now: datetime) -> str:
    """Why a workload does not count as trusting a root.

    Args:
        workload: one that does not.
        root: its id.
        settle: how long one that cannot acknowledge must have had it.
        now: the time.
    """
    if workload.acknowledges and not workload.connected:
        return _gone(workload)
    if workload.trouble:
        said = quoted(workload.trouble)
        return f"refuses or holds up the roots: {said}; mend that, then it is told again by itself"
    if workload.connected:
        return "is connected but has not acknowledged the roots yet; see the log of its agent if that lasts"
    if root in workload.trusts and workload.given_at is not None:
        return f"got the roots at {when(workload.given_at)}, counts from {when(workload.given_at + settle)} on"
    return f"never got the roots; {_gets_them(workload, now)}"


def holds(workload: Workload, root: str) -> str:
    """Why a workload would break when a root is dropped.

    Args:
        workload: one that holds a leaf below it.
        root: its id.
    """
    until = workload.ends_below(root)
    held = f"holds a certificate below {short(root)}" + (f" until {when(until)}" if until is not None else "")
    if workload.acknowledges and not workload.connected:
        return f"{held}; {_gone(workload)}"
    if workload.trouble:
        return f"{held}; its agent says: {quoted(workload.trouble)}"
    if workload.connected:
        return f"{held}; its agent is connected and renews it"
    return f"{held}; nothing says when it has another instead, so wait until that ends"


def _gone(workload: Workload) -> str:
    wait = "it counts as gone"
    if workload.leaf_ends is not None:
        wait = f"its certificate ends at {when(workload.leaf_ends)}"
    said = f" and said {quoted(workload.trouble)}" if workload.trouble else ""
    return (
        f"is not connected, was last seen at {when(workload.seen_at)}{said}; start it again, or wait until {wait}"
    )


def _gets_them(workload: Workload, now: datetime) -> str:
    due = next_leaf(workload)
    if due is None:
        return "gets them when it asks for a certificate"
    if due <= now:
        return f"its next certificate is overdue since about {when(due)}; restart it, or wait until it is gone"
    return f"gets them with its next certificate at about {when(due)}, sooner when it is restarted"


def named(workload: Workload) -> str:
    """Who a workload is; a pod's name may be the caller's own word."""
    pod = quoted(workload.pod, LONGEST_POD) if workload.pod else "no pod"
    return f"{printable(workload.identity)} in {pod}"


def quoted(text: str, longest: int = LONGEST_TROUBLE) -> str:
    """What somebody else wrote, cut, as a quotation that ends where we say."""
    escaped = text[:longest].replace("\\", "\\\\").replace('"', '\\"')
    return f'"{printable(escaped)}"'
