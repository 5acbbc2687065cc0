"""The configuration of `meshca serve`, as one frozen value. Hard ceilings live here, not in files."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from meshca.config.admin import AdminConfig
from meshca.config.authn import AuthnConfig
from meshca.config.kubernetes import KubernetesConfig
from meshca.config.model import Duration, FilePath, ListenAddress, Model, PositiveDuration, TrustDomainName
from meshca.config.rotation import RotationConfig
from meshca.config.upstream import FilesConfig, SecretConfig, SelfSignedConfig, UpstreamConfig
from meshca.config.vault import VaultConfig
from meshca.identity.spiffe_id import TrustDomain

MAX_LIFETIME = timedelta(days=90)  # Istio's MAX_WORKLOAD_CERT_TTL; nobody may configure more
MAX_WORKERS = 64
MAX_SPOOL_AGE = timedelta(days=1)  # who issues longer without the others is a CA of its own
MAX_SPOOLED = 100_000  # records, about 1 KB each


class ListenConfig(Model):
    """Where the server listens; port 0 means any free one.

    Attributes:
        token: TLS for callers with a token (Istio's agents).
        mtls: TLS that demands a client certificate (renewal, meshca agents' xDS).
        http: metrics and health, plain HTTP.
        admin: Unix socket of the local administrator; `admin.sock` in the data directory when absent.
    """

    token: ListenAddress = "0.0.0.0:15012"  # noqa: S105 - an address, not a password
    mtls: ListenAddress = "0.0.0.0:15013"
    http: ListenAddress = "127.0.0.1:15014"
    admin: FilePath | None = None


class ServingConfig(Model):
    """The server's own certificate.

    Attributes:
        names: DNS names and IP addresses that clients call the server by.
        lifetime: of each serving certificate; renewed at half of it.
        max_connection_age: after which a connection is told to reconnect (it outlives its certificate).
        drain_timeout: how long in-flight requests may take after SIGTERM.
    """

    names: Annotated[tuple[str, ...], Field(strict=False, min_length=1)] = (
        "localhost",
        "127.0.0.1",
        "::1",
        "istiod.istio-system.svc",
    )
    lifetime: PositiveDuration = timedelta(hours=24)
    max_connection_age: PositiveDuration = timedelta(minutes=30)
    drain_timeout: PositiveDuration = timedelta(seconds=10)


class AdmissionConfig(Model):
    """The admission rule file; the rules shipped with meshca when absent."""

    file: FilePath | None = None


class SvidConfig(Model):
    """Lifetimes of issued certificates.

    Attributes:
        default_lifetime: when the caller asks for none.
        max_lifetime: the longest that is issued; at most 90 days.
        over_maximum: `clamp` gives the maximum and counts it, `refuse` answers InvalidArgument.
    """

    default_lifetime: PositiveDuration = timedelta(hours=24)
    max_lifetime: PositiveDuration = timedelta(hours=24)
    over_maximum: Literal["clamp", "refuse"] = "clamp"

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.default_lifetime > self.max_lifetime:
            raise ValueError("default_lifetime must not be longer than max_lifetime")
        if self.max_lifetime > MAX_LIFETIME:
            raise ValueError("max_lifetime must be at most 90d")
        return self


class CsrConfig(Model):
    """What happens to names in a CSR: `istio` ignores other names, `strict` refuses them."""

    mode: Literal["istio", "strict"] = "istio"


class SpoolConfig(Model):
    """Issuing while a shared store (PostgreSQL) is out of reach: records wait in `spool` in the data directory.

    Attributes:
        max_age: how long after the first such record others may follow; `0s` turns the spool off; at most 24 h.
        max_records: how many certificates' records may wait.
    """

    max_age: Duration = timedelta(minutes=15)
    max_records: Annotated[int, Field(ge=1, le=MAX_SPOOLED)] = 10_000

    @model_validator(mode="after")
    def _bounded(self) -> Self:
        if self.max_age > MAX_SPOOL_AGE:
            raise ValueError("max_age must be at most 1d")
        return self


class LedgerConfig(Model):
    """Where the ledger is kept and for how long.

    Attributes:
        url: database address, `sqlite:////path.db` or `postgresql://user@host/database`; a SQLite file `meshca.db`
            in the data directory when absent.
        retention: after which records of ended certificates are removed.
        spool: what is kept on this machine's disk while a PostgreSQL is out of reach.
    """

    url: str | None = None
    retention: PositiveDuration = timedelta(days=90)
    spool: SpoolConfig = SpoolConfig()


class BucketConfig(Model):
    """A token bucket: `rate` requests a second on average, `burst` at once."""

    rate: Annotated[float, Field(gt=0, le=1_000_000, strict=False)]
    burst: Annotated[int, Field(ge=1, le=1_000_000)]


class LimitsConfig(Model):
    """Limits of the whole server; each worker counts alone, with `rate / workers` and `burst / workers`.

    A worker's burst is cut to no less than 10. Callers are spread over the workers by their connections, so one
    with a single connection gets the share of one worker.
    """

    per_identity: BucketConfig = BucketConfig(rate=10.0, burst=100)
    per_namespace: BucketConfig = BucketConfig(rate=200.0, burst=2000)


class PoliciesConfig(Model):
    """Authorization policies pushed to agents.

    Attributes:
        dir: folder of YAML files; no policies at all when absent.
        root_namespace: whose policies hold in every namespace (Istio's meshConfig.rootNamespace).
    """

    dir: FilePath | None = None
    root_namespace: str = "istio-system"


class SdsConfig(Model):
    """Secrets straight from the CA, without an agent.

    Attributes:
        server_keys: whether the CA makes keys for callers; see docs/adr before turning it on.
    """

    server_keys: bool = False


class LogConfig(Model):
    """Logging: level, and format (`auto` is text on a terminal, JSON elsewhere)."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "json", "text"] = "auto"


def _workers(value: object) -> object:
    """One message; the union of types would have one for each."""
    if value == "auto" or (type(value) is int and 1 <= value <= MAX_WORKERS):
        return value
    raise ValueError(f"expected auto or 1 to {MAX_WORKERS}")


class ServerConfig(Model):
    """Everything that `meshca serve` can be told.

    Attributes:
        trust_domain: the trust domain of every identity issued.
        data_dir: keys, certificates and the ledger; mode 0700.
        workers: number of worker processes; `auto` is one for each core.
        kubernetes: the cluster whose workloads are served; none when absent, `{}` for the one around us.
        replica: our name among the servers on one PostgreSQL, which no other has; the host's when absent.
        ack_timeout: how long a subscriber may take to accept or refuse a push before it is reported as silent.
    """

    trust_domain: TrustDomainName = TrustDomain("cluster.local")
    data_dir: FilePath = Path("/var/lib/meshca")
    workers: Annotated[Literal["auto"] | int, BeforeValidator(_workers)] = "auto"
    listen: ListenConfig = ListenConfig()
    serving: ServingConfig = ServingConfig()
    authn: AuthnConfig = AuthnConfig()
    admission: AdmissionConfig = AdmissionConfig()
    csr: CsrConfig = CsrConfig()
    svid: SvidConfig = SvidConfig()
    upstream: UpstreamConfig = SelfSignedConfig()
    ledger: LedgerConfig = LedgerConfig()
    limits: LimitsConfig = LimitsConfig()
    policies: PoliciesConfig = PoliciesConfig()
    sds: SdsConfig = SdsConfig()
    admin: AdminConfig = AdminConfig()
    log: LogConfig = LogConfig()
    kubernetes: KubernetesConfig | None = None
    ack_timeout: PositiveDuration = timedelta(seconds=10)
    rotation: RotationConfig = RotationConfig()
    replica: Annotated[str, Field(pattern=r"^[A-Za-z0-9]([A-Za-z0-9.-]{0,62}[A-Za-z0-9])?\z")] | None = None

    @model_validator(mode="after")
    def _issuers_are_distinct(self) -> Self:
        """Rules must be able to tell a reviewed token from another issuer's."""
        cluster = self.kubernetes
        if cluster and cluster.token_review.enabled and cluster.name in {one.name for one in self.authn.issuers}:
            raise ValueError(
                f"kubernetes.name and an issuer of authn.issuers are both called {cluster.name}: give the issuer"
                " another name, or set kubernetes.token_review.enabled: false to check tokens by its keys alone"
            )
        return self

    @model_validator(mode="after")
    def _administrators_are_ours(self) -> Self:
        """An identity of another trust domain is never proven here."""
        ours = f"{self.trust_domain.id}/"
        if strangers := [name for name in self.admin.spiffe_ids if not name.startswith(ours)]:
            raise ValueError(
                f"admin.roles: {', '.join(strangers)} is not in the trust domain {self.trust_domain}, the only one"
                " that proves administrators; correct it"
            )
        return self

    @model_validator(mode="after")
    def _has_a_cluster(self) -> Self:
        field = "kind" if isinstance(self.upstream, SecretConfig) else "custody"
        if self.kubernetes is None and getattr(self.upstream, field, "") == "secret":
            wanted = "needs the section kubernetes; `kubernetes: {}` will do in a pod"
            raise ValueError(f"upstream.{field}: secret {wanted}")
        return self

    @model_validator(mode="after")
    def _rotation_fits_lifetimes(self) -> Self:
        """What can never settle, or is not counted while it lives."""
        rotation, svid = self.rotation, self.svid
        if rotation.settle >= svid.default_lifetime / 2:
            raise ValueError(
                "rotation.settle must be shorter than half of svid.default_lifetime: a certificate that is"
                " replaced at half life would count as in use for ever; shorten it"
            )
        if rotation.seen_within is not None and rotation.seen_within < svid.max_lifetime:
            raise ValueError(
                "rotation.seen_within must not be shorter than svid.max_lifetime: a workload that is away for less"
                " would come back with a certificate that nobody waited for; lengthen it, or leave it out"
            )
        return self

    @model_validator(mode="after")
    def _a_schedule_has_roots_to_make(self) -> Self:
        """A schedule that nothing follows would only be found out at the end of a root."""
        due, upstream = self.rotation.before_end, self.upstream
        if due is None:
            return self
        if isinstance(upstream, FilesConfig | VaultConfig) or (upstream.kind == "secret" and not upstream.rotate):
            raise ValueError(
                "rotation.before_end has no effect where meshca makes no roots: leave it out, and put another root"
                " in place when meshca root status warns; or use upstream.kind: secret with upstream.rotate"
            )
        if due >= upstream.root_lifetime:
            raise ValueError(
                "rotation.before_end must be shorter than upstream.root_lifetime: every new root would be due as"
                " soon as it is made; shorten it"
            )
        return self

    @property
    def worker_count(self) -> int:
        """How many worker processes to run."""
        return min(len(os.sched_getaffinity(0)), MAX_WORKERS) if self.workers == "auto" else self.workers

    @property
    def admin_socket(self) -> Path:
        """The administrator's socket."""
        return self.listen.admin or self.data_dir / "admin.sock"

    @property
    def workers_socket(self) -> Path:
        """Where workers pass administrators' calls on to the parent."""
        return self.data_dir / "workers.sock"

    @property
    def ledger_url(self) -> str:
        """The database of the ledger, adoption records and probes."""
        return self.ledger.url or f"sqlite:///{(self.data_dir / 'meshca.db').absolute()}"
