"""A compromised root replaced below many agents: from the decision to each client's acknowledgement.

    python -m bench.rotation [--streams 200] [--processes 2] [--window 0] [--runs 3]

The decision is the recorded change by which `rotate --compromised` began, at its own time; the new root does not
exist before it. A stream is done when its client has acknowledged a leaf below that root. Server, agents and
clients share this machine, so their CPU time is part of every figure; in a mesh each agent has a node of its own.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Final

from bench.crowd import Ack, acks_file, read_acks, token_file
from bench.figures import Samples, figure, percentile, table
from bench.processes import cpu_seconds
from bench.server import Ca, running_ca
from meshca.app.admin_client import connect
from meshca.app.root_client import RootClient
from meshca.authority.history import Change, Kind, Record
from meshca.authority.lifecycle import Act, State
from meshca.identity.service_account import ServiceAccount

STREAMS: Final = 200
PROCESSES: Final = 2
WORKERS: Final = 2
NAMESPACES: Final = 20
SECONDS: Final = 300.0  # more than any phase takes beyond its window
LOOK_SECONDS: Final = 0.25  # rarely enough to cost nothing
SETTLED_SECONDS: Final = 12.0  # for what agents do once after a new certificate: a stream with it within 8 s


@dataclass(frozen=True, slots=True, kw_only=True)
class Crowd:
    """Running agents.

    Attributes:
        files: where their processes write what was acknowledged.
        processes: they.
        count: how many agents there are.
    """

    files: Sequence[Path]
    processes: Sequence[subprocess.Popen[bytes]]
    count: int

    def cpu_seconds(self) -> float:
        """User and system time of agents and clients so far."""
        return sum(cpu_seconds(process.pid) for process in self.processes)

    def acks(self) -> list[Ack]:
        """Everything that was acknowledged so far."""
        return [ack for path in self.files for ack in read_acks(path)]

    async def agents_under(self, signers: set[str] | None = None) -> None:
        """Return once every agent's client has acknowledged a leaf, of these signers if they are named."""
        give_up = time.monotonic() + SECONDS
        while True:
            under = {ack.agent for ack in self.acks() if signers is None or ack.signer in signers}
            if len(under) == self.count:
                return
            if time.monotonic() > give_up or any(process.poll() is not None for process in self.processes):
                message = f"{len(under)} of {self.count} agents have a new certificate; see their logs"
                raise RuntimeError(message)
            await asyncio.sleep(LOOK_SECONDS)


@contextlib.contextmanager
def running_crowd(ca: Ca, count: int, processes: int) -> Iterator[Crowd]:
    """Start so many agents in so many processes, and stop them at the end."""
    for number in range(count):
        account = ServiceAccount(namespace=f"bench-{number % NAMESPACES}", name=f"workload-{number}")
        token = ca.issuer.mint(account, pod=f"pod-{number}", expires_in=timedelta(hours=1))
        token_file(ca.directory, number).write_text(token.reveal())
    firsts = [count * part // processes for part in range(processes + 1)]
    with contextlib.ExitStack() as stack:
        started = [
            stack.enter_context(_process(ca.directory, first, end - first))
            for first, end in itertools.pairwise(firsts)
        ]
        files = [acks_file(ca.directory, first) for first in firsts[:-1]]
        yield Crowd(files=files, processes=started, count=count)


@contextlib.contextmanager
def _process(folder: Path, first: int, count: int) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "bench.crowd", str(folder), "--first", str(first), "--count", str(count)]
    with (folder / f"crowd-{first}.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            yield process
        finally:
            process.terminate()
            process.wait(timeout=30)


def measure(folder: Path, *, streams: int, window: timedelta, runs: int, processes: int = PROCESSES) -> Samples:
    """So many rotations, one after the other, below the same agents."""
    environment = {"MESHCA__WORKERS": str(WORKERS)}
    with running_ca(folder, environment) as ca, running_crowd(ca, streams, processes) as crowd:
        return asyncio.run(_measure(ca, crowd, window, runs))


async def _measure(ca: Ca, crowd: Crowd, window: timedelta, runs: int) -> Samples:
    await crowd.agents_under()
    samples: Samples = {}
    async with connect(Path((ca.directory / "endpoint-admin").read_text().strip())) as client:
        for _ in range(runs):
            await asyncio.sleep(SETTLED_SECONDS)
            for key, value in (await _rotation(ca, client.roots, crowd, window)).items():
                samples.setdefault(key, []).append(value)
    return samples


async def _rotation(ca: Ca, roots: RootClient, crowd: Crowd, window: timedelta) -> dict[str, float]:
    """One rotation; the next may follow."""
    before = {record.id for record in await roots.records()}
    served, ran = cpu_seconds(ca.pid), crowd.cpu_seconds()
    await roots.rotate(compromised=True, window=window, reason="benchmark")
    new, signers = await _signing(roots, before)
    await crowd.agents_under(signers)
    served, ran = cpu_seconds(ca.pid) - served, crowd.cpu_seconds() - ran
    await _ended(roots)
    moments = _moments(await roots.changes(limit=100), new)
    begun = moments["decided"]
    took: dict[int, float] = {}
    for ack in sorted(crowd.acks(), key=lambda one: one.at):
        if ack.signer in signers:
            took.setdefault(ack.agent, ack.at - begun)
    issued = _issued(ca, signers)
    of = f"rotation.streams_{crowd.count}" if not window else f"rotation.window_{window.seconds}s_{crowd.count}"
    peak = float(busiest(issued))
    spread = {f"{of}.peak_to_mean": peak / (len(issued) / window.total_seconds())} if window else {}
    return spread | {
        f"{of}.p50_s": percentile(list(took.values()), 0.5),
        f"{of}.p99_s": percentile(list(took.values()), 0.99),
        f"{of}.last_s": max(took.values()),
        f"{of}.distributed_s": moments["activated"] - begun,
        f"{of}.activated_s": max(took.values()) - (moments["activated"] - begun),
        f"{of}.dropped_s": moments["dropped"] - moments["tainted"],
        f"{of}.issued_at_peak_per_s": peak,
        f"{of}.server_cpu_ms_per_stream": 1000 * served / crowd.count,
        f"{of}.agents_cpu_ms_per_stream": 1000 * ran / crowd.count,
    }


def busiest(moments: Sequence[float]) -> int:
    """The most that happened within any second."""
    ordered, first, most = sorted(moments), 0, 0
    for last, moment in enumerate(ordered):
        while moment - ordered[first] >= 1.0:
            first += 1
        most = max(most, last - first + 1)
    return most


async def _signing(roots: RootClient, before: set[str]) -> tuple[Record, set[str]]:
    """The new root and what signs below it, once something does."""
    while True:
        found = await roots.records(intermediates=True)
        for root in found:
            if root.kind is Kind.ROOT and root.id not in before and root.state is State.ACTIVE:
                signers = {one.id for one in found if one.kind is Kind.INTERMEDIATE and one.parent == root.id}
                if signers:
                    return root, signers
        await asyncio.sleep(LOOK_SECONDS)


async def _ended(roots: RootClient) -> None:
    """Return once the new root is the only one; asking for a report would count the fleet each time."""
    while True:
        found = await roots.records()
        if [one.state for one in found].count(State.RETIRED) == len(found) - 1:
            return
        await asyncio.sleep(LOOK_SECONDS)


def _moments(changes: Sequence[Change], new: Record) -> dict[str, float]:
    """When each step of the rotation to this root was kept, in seconds since 1970; changes come newest first."""
    plan = next(one for one in changes if one.act is Act.PLAN and one.authority == new.id)
    activated = next(one for one in changes if one.act is Act.ACTIVATE and one.authority == new.id)
    later = [one for one in changes if one.at >= plan.at and one.kind is Kind.ROOT and one.authority != new.id]
    tainted = next(one for one in later if one.act is Act.TAINT)
    dropped = next(one for one in later if one.act is Act.RETIRE)
    named = {"decided": plan, "activated": activated, "tainted": tainted, "dropped": dropped}
    return {name: change.at.timestamp() for name, change in named.items()}


def _issued(ca: Ca, signers: set[str]) -> list[float]:
    """When each leaf of workloads below these signers was issued, as the ledger has it."""
    place = f"file:{ca.directory / 'data' / 'meshca.db'}?mode=ro"
    with contextlib.closing(sqlite3.connect(place, uri=True)) as ledger:
        rows = ledger.execute(
            "SELECT intended_at, signer FROM issuance_intent WHERE namespace LIKE 'bench-%'"
        ).fetchall()
    return [moment / 1e6 for moment, signer in rows if signer in signers]


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(prog="bench.rotation", description=__doc__)
    parser.add_argument("--streams", type=int, default=STREAMS, help="agents, each with one stream")
    parser.add_argument("--processes", type=int, default=PROCESSES, help="that share the agents")
    parser.add_argument("--window", type=float, default=0.0, help="seconds; 0 is at once")
    parser.add_argument("--runs", type=int, default=3, help="rotations, one after the other")
    parser.add_argument("--keep", type=Path, help="a folder to work in and to leave, for its logs")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-") as temporary:
        samples = measure(
            arguments.keep or Path(temporary),
            streams=arguments.streams,
            processes=arguments.processes,
            window=timedelta(seconds=arguments.window),
            runs=arguments.runs,
        )
    print(table({key: figure(values) for key, values in samples.items()}))


if __name__ == "__main__":
    main()
