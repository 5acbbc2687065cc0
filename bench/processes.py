"""CPU time and memory of a process and everything below it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path


def family(pid: int) -> Iterator[int]:
    """The process and all its descendants."""
    yield pid
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            yield from family(int(child))


def cpu_seconds(pid: int) -> float:
    """User and system time of the family so far, in seconds."""
    return sum(_cpu(member) for member in family(pid))


def resident_mb(pid: int, *, whole_family: bool = False) -> float:
    """Resident memory in MB (10^6 bytes) of one process, or of its family."""
    members = family(pid) if whole_family else [pid]
    return sum(_resident_kb(member) for member in members) * 1024 / 1e6


def _cpu(pid: int) -> float:
    """By the process's own clock (clock_getcpuclockid(3), as Linux numbers them); /proc counts in 10 ms."""
    return time.clock_gettime(~pid << 3 | 2)


def _resident_kb(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    message = f"process {pid} has no VmRSS"
    raise LookupError(message)
