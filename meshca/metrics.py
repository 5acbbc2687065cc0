"""Every metric of the server in one table; the parent answers with the sum over all processes.

Labels come from our own code only (slugs, enums): a client must never be able to make a new time series.
Processes share a directory of memory-mapped files, one set for each process name; the name is that of the
worker's place, so a restarted worker goes on counting where the crashed one stopped. Both come from the
environment before this module is first imported (see `meshca.app.metrics_dir`). The agent does not import this.
"""

from __future__ import annotations

import functools
import math
import os
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest, values
from prometheus_client.mmap_dict import MmapedDict
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

DIRECTORY_VARIABLE: Final = "PROMETHEUS_MULTIPROC_DIR"  # prometheus_client's own name
PROCESS_VARIABLE: Final = "MESHCA_PROCESS_NAME"
CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"  # Prometheus exposition format 0.0.4

RESERVED: Final = 128 * 1024  # bytes of each file of a process; some 600 series


class _Reserved(MmapedDict):
    """A file whose space is there before anything is written to it.

    prometheus_client makes sparse files; a write to one on a full disk is no error but the end of the process
    (SIGBUS). Here a full disk is an OSError: of the import at start, of the new series when a file must grow.
    """

    def __init__(self, filename: str, read_mode: bool = False) -> None:  # noqa: FBT001, FBT002 - the library's
        if not read_mode:
            _reserve(filename, RESERVED)
        super().__init__(filename, read_mode)  # type: ignore[no-untyped-call] # untyped there

    def _init_value(self, key: str) -> None:
        needed = self._used + len(key.encode()) + _ENTRY
        if needed > self._capacity:
            _reserve(self._fname, max(needed, 2 * self._capacity))
        super()._init_value(key)  # type: ignore[no-untyped-call] # as above


_ENTRY: Final = 32  # bytes: the most that an entry has besides its key (its length, padding, two doubles)


def _reserve(filename: str, size: int) -> None:
    descriptor = os.open(filename, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        os.posix_fallocate(descriptor, 0, size)
    finally:
        os.close(descriptor)


if os.environ.get(DIRECTORY_VARIABLE):
    values.MmapedDict = _Reserved  # type: ignore[attr-defined] # the one place where the library makes files
    _name = os.environ.get(PROCESS_VARIABLE, str(os.getpid()))
    values.ValueClass = values.MultiProcessValue(lambda: _name)  # type: ignore[no-untyped-call] # untyped there

# From 250 µs (below a certificate's own arithmetic) to 5 s (a client has given up).
LATENCY_BUCKETS: Final = (0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)

certificates = Counter(
    "meshca_certificates_total",
    "Decisions about certificates: result is issued, denied, refused or failed; reason says why not",
    ["result", "authenticator", "key_type", "reason"],
)
issuance_seconds = Histogram(
    "meshca_issuance_seconds",
    "Time from the request's arrival to the decision, whatever it was",
    buckets=LATENCY_BUCKETS,
)
lifetimes_clamped = Counter(
    "meshca_lifetimes_clamped_total", "Certificates issued with a shorter lifetime than the caller asked for"
)
rpc_failures = Counter(
    "meshca_rpc_failures_total", "Calls and streams that ended with an error", ["method", "code", "reason"]
)
certificate_expiry = Gauge(
    "meshca_certificate_expiry_timestamp_seconds",
    "When a certificate of ours ends, in seconds since 1970: kind is root, intermediate, serving or istiod",
    ["kind"],
    multiprocess_mode="livemin",
)
streams = Gauge(
    "meshca_streams", "Open subscription streams: kind is agent or sds", ["kind"], multiprocess_mode="livesum"
)
answers = Counter(
    "meshca_subscription_answers_total",
    "What subscribers said to a push: answer is ack, nack or overdue",
    ["resource", "answer"],
)
ledger_queue = Gauge(
    "meshca_ledger_queue", "Ledger writes that wait for the next group commit", multiprocess_mode="livesum"
)
ledger_spooled = Gauge(
    "meshca_ledger_spooled",
    "Records on this replica's disk that wait for the shared store to come back",
    multiprocess_mode="livemax",
)
ledger_spool_age = Gauge(
    "meshca_ledger_spool_age_seconds",
    "Age of the oldest record that waits so; issuing ends when it reaches ledger.spool.max_age",
    multiprocess_mode="livemax",
)
worker_restarts = Counter("meshca_worker_restarts_total", "Workers started again after they ended by themselves")
workers_ready = Gauge("meshca_workers_ready", "Workers that serve", multiprocess_mode="livesum")
reload_failures = Counter(
    "meshca_reload_failures_total",
    "Changes refused while the last good thing stays: what is config, admission, policies or upstream",
    ["what"],
)
upstream_autonomy = Gauge(
    "meshca_upstream_autonomy_seconds",
    "For how long certificates can be issued if whoever signs for us gives nothing more: until the signing"
    " certificate ends, or what is above it",
    multiprocess_mode="livemax",
)
vault_faults = Counter(
    "meshca_vault_faults_total",
    "Faults that looks, signatures and logins met; fault is a row of the table in docs/operations/vault.md",
    ["fault"],
)
transitions = Counter(
    "meshca_authority_transitions_total",
    "Steps of roots and intermediates, by what was reached",
    ["kind", "state"],
)
root_expiry = Gauge(
    "meshca_root_expiry_timestamp_seconds",
    "When the first trusted root of a state ends, in seconds since 1970, +Inf without one: state is distributing,"
    " active, retiring or tainted",
    ["state"],
    multiprocess_mode="livemin",
)
rotation_held = Gauge(
    "meshca_rotation_held",
    "Whether the next step of a rotation waits for its gate, or a stolen root stays trusted by a pause",
    multiprocess_mode="livemax",
)
rotation_stragglers = Gauge(
    "meshca_rotation_stragglers",
    "Workloads for which the next step of a rotation waits",
    multiprocess_mode="livemax",
)
rotation_seconds = Gauge(
    "meshca_rotation_seconds", "Since when a rotation is under way; 0 without one", multiprocess_mode="livemax"
)
rotation_workloads = Gauge(
    "meshca_rotation_workloads",
    "Workloads as a step of a rotation or a report counted them last: word is acknowledged, delivered or none",
    ["word"],
    multiprocess_mode="livemax",
)
background_failures = Counter(
    "meshca_background_failures_total", "Faults of ours in work beside serving, which was begun again", ["task"]
)
leader = Gauge("meshca_leader", "Whether this replica writes to the cluster", multiprocess_mode="livemax")
published_objects = Gauge(
    "meshca_published_objects",
    "Objects for the roots: kind is config_map or trust_bundle; state is in_sync, pending, failing or contested",
    ["kind", "state"],
    multiprocess_mode="livesum",
)
published_writes = Counter(
    "meshca_published_writes_total",
    "Writes of the roots to the cluster: result is written, or the reason why it was not",
    ["kind", "result"],
)
published_takeovers = Counter(
    "meshca_published_takeovers_total", "Fields that another manager owned and that were taken from it", ["kind"]
)
published_takings = Counter(
    "meshca_published_takings_total", "Changes by somebody else to what this server had written", ["kind"]
)
roots_left_out = Gauge(
    "meshca_roots_left_out",
    "Certificates among the roots that are not published: ended, damaged, or no CA's",
    multiprocess_mode="livemax",
)
clusters = Gauge(
    "meshca_kubernetes_clusters",
    "Kubernetes clusters as one worker sees them: state is good, failing (its watch does not work) or refused",
    ["state"],
    multiprocess_mode="livemax",
)
token_reviews = Counter(
    "meshca_token_reviews_total",
    "Callers' questions about tokens: result is good, refused or failed (the API server was asked), remembered or"
    " shared (it was not), turned_away (it is paused, or too many wait)",
    ["cluster", "result"],
)
token_reviews_in_flight = Gauge(
    "meshca_token_reviews_in_flight",
    "Token reviews that an API server works on",
    ["cluster"],
    multiprocess_mode="livesum",
)
token_review_seconds = Histogram(
    "meshca_token_review_seconds",
    "Time that a token review took: part is queue (for a place) or call (to the API server)",
    ["cluster", "part"],
    buckets=LATENCY_BUCKETS,
)
token_reviews_paused = Gauge(
    "meshca_token_reviews_paused",
    "Workers that ask this cluster's API server nothing for now, because it did not answer",
    ["cluster"],
    multiprocess_mode="livesum",
)
build = Gauge("meshca_build_info", "The running version", ["version"], multiprocess_mode="livemax")


@functools.cache
def _decision(result: str, authenticator: str, key_type: str, reason: str) -> Counter:
    return certificates.labels(result, authenticator, key_type, reason)


def decided(result: str, *, authenticator: str, key_type: str, reason: str, seconds: float) -> None:
    """Count one decision and the time it took."""
    _decision(result, authenticator, key_type, reason).inc()
    issuance_seconds.observe(seconds)


def expires(kind: str, at: datetime) -> None:
    """Show when the root, intermediate or serving certificate ends."""
    certificate_expiry.labels(kind).set(at.timestamp())


def roots_expire(ends: Mapping[str, datetime | None]) -> None:
    """Show when the first root of each state ends; None for a state in which none is."""
    for state, at in ends.items():
        root_expiry.labels(state).set(math.inf if at is None else at.timestamp())


def render(directory: Path) -> bytes:
    """All processes' metrics as one Prometheus page."""
    registry = CollectorRegistry()
    MultiProcessCollector(registry, str(directory))  # type: ignore[no-untyped-call] # untyped there
    return generate_latest(registry)


def forget(process: str, directory: Path) -> None:
    """Drop the gauges of a process that ended; its counters stay, for the next of that name."""
    mark_process_dead(process, str(directory))  # type: ignore[no-untyped-call] # untyped there
