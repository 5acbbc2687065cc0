"""How many files and connections this process may have open, raised to what the administrator allows.

A process starts with the soft limit, 1024 on most machines, which is for programs that use select(2).
"""

from __future__ import annotations

import resource


def raise_limit() -> int:
    """Raise the soft limit to the hard one, for processes that this one starts as well; gives what holds now."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == hard:
        return soft
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    except (ValueError, OSError):  # a hard limit that the kernel does not grant (macOS: "unlimited")
        return soft
    return hard
