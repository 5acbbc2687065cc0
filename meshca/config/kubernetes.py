"""Configuration of everything that talks to Kubernetes; absent means that nothing does."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, ConfigDict, Field, model_validator

from meshca.config.model import Duration, FilePath, Model, PositiveDuration
from meshca.errors import BadRequest
from meshca.identity.service_account import ServiceAccount

MAX_CONCURRENCY = 48  # each on a connection of its own (kube.connection has more, for the rest)
MAX_REVIEW_CACHE = timedelta(seconds=10)  # the API server itself remembers good answers for as long
ClusterName = Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\z")]
Namespace = Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\z")]


def account_of(value: str) -> ServiceAccount:
    """The account that `namespace/name` means.

    Raises:
        BadRequest: it is spelled another way.
    """
    namespace, _, name = value.partition("/")
    return ServiceAccount(namespace=namespace, name=name)


def _account(value: str) -> str:
    try:
        account_of(value)
    except BadRequest:
        raise ValueError("expected namespace/service-account, such as istio-system/ztunnel") from None
    return value


class TokenReviewConfig(Model):
    """Tokens proven by asking the API server.

    Attributes:
        enabled: whether tokens are reviewed at all.
        audiences: sent with each review; the answer must name one of them.
        mode: `review` asks about every token; `local` checks the signature by the cluster's own keys first and
            asks only about what that lets through; `pods` checks the signature and looks at the pod alone, and
            never asks (docs/operations/kubernetes.md says what each can and cannot see).
        cache: for how long a good answer is used again: the delay of a revocation; at most 10 s, 0s for never.
        concurrency: reviews under way at once, in each worker.
        queue: how many callers may wait for a place, in each worker.
    """

    enabled: bool = True
    audiences: Annotated[tuple[str, ...], Field(strict=False, min_length=1)] = ("istio-ca",)
    mode: Literal["review", "local", "pods"] = "review"
    cache: Duration = MAX_REVIEW_CACHE
    concurrency: Annotated[int, Field(ge=1, le=MAX_CONCURRENCY)] = 16
    queue: Annotated[int, Field(ge=0, le=100_000)] = 10_000

    @model_validator(mode="after")
    def _bounded(self) -> Self:
        if self.cache > MAX_REVIEW_CACHE or self.cache < timedelta(0):
            raise ValueError("cache must be 0s to 10s")
        return self


class RemoteClustersConfig(Model):
    """Other clusters whose workloads may be proven here; what they are issued is for the admission rules to say.

    Attributes:
        enabled: whether kubeconfig Secrets in our own namespace are looked for.
        label: of those Secrets, `name=value`; each data key is a cluster id, its value a kubeconfig.
    """

    enabled: bool = False
    label: str = "istio/multiCluster=true"


class RootConfigMapConfig(Model):
    """The roots in a ConfigMap of every selected namespace, where Istio's agents look for them.

    Attributes:
        enabled: whether it is written.
        name: of the ConfigMap.
        key: in its data.
        namespaces: only these; all when empty.
        except_: never these.
        replace_foreign: whether a living root that somebody else published and that is none of ours is replaced:
            what is below it is refused from then on.
    """

    model_config = ConfigDict(serialize_by_alias=True)

    enabled: bool = False
    name: Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?\z")] = "istio-ca-root-cert"
    key: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,253}\z")] = "root-cert.pem"
    namespaces: Annotated[tuple[Namespace, ...], Field(strict=False)] = ()
    except_: Annotated[tuple[Namespace, ...], Field(strict=False, alias="except")] = (
        "kube-public",
        "kube-node-lease",
        "local-path-storage",
    )
    replace_foreign: bool = False


class ClusterTrustBundleConfig(Model):
    """The roots as a ClusterTrustBundle, where the API exists.

    Attributes:
        enabled: whether it is written.
        signer: its signerName; the object is called `<signer, / as :>:root-cert`.
    """

    enabled: bool = False
    signer: Annotated[str, Field(pattern=r"^[a-z0-9.-]+/[a-z0-9.-]+\z")] = "meshca.io/workloads"


class IstiodCertificateConfig(Model):
    """istiod's own serving certificate, issued and renewed as a Secret.

    Attributes:
        enabled: whether it is.
        secret: name of the Secret, of type kubernetes.io/tls with `ca.crt`.
        namespace: of istiod.
        names: DNS names in the certificate.
        lifetime: renewed at half of it.
    """

    enabled: bool = False
    secret: Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?\z")] = "istiod-tls"  # noqa: S105 - a name
    namespace: Namespace = "istio-system"
    names: Annotated[tuple[str, ...], Field(strict=False, min_length=1)] = ("istiod.istio-system.svc",)
    lifetime: PositiveDuration = timedelta(hours=24)


class KubernetesConfig(Model):
    """A cluster whose workloads we serve.

    Attributes:
        kubeconfig: how to reach it; from inside a pod when absent.
        name: our name for it: the issuer in admission rules, ledger and logs. The shipped rules grant identities
            to `home` only.
        cluster_ids: values of the `clusterid` header that mean this cluster, besides none at all.
        namespace: that we run in; the kubeconfig's or the pod's when absent.
        timeout: of one call.
        token_review: tokens proven by asking the API server.
        trusted_node_accounts: `namespace/name` of accounts that may ask for the identities of workloads on their
            node (ztunnel); none by default.
        remote_clusters: further clusters.
        root_config_map: the roots for agents, in every namespace.
        cluster_trust_bundle: the roots as a ClusterTrustBundle.
        istiod_certificate: istiod's serving certificate.
        lease: name of the Lease by which replicas agree who writes.
    """

    kubeconfig: FilePath | None = None
    name: ClusterName = "home"
    cluster_ids: Annotated[tuple[str, ...], Field(strict=False)] = ("Kubernetes",)
    namespace: Namespace | None = None
    timeout: PositiveDuration = timedelta(seconds=5)
    token_review: TokenReviewConfig = TokenReviewConfig()
    trusted_node_accounts: Annotated[
        tuple[Annotated[str, AfterValidator(_account)], ...], Field(strict=False)
    ] = ()
    remote_clusters: RemoteClustersConfig = RemoteClustersConfig()
    root_config_map: RootConfigMapConfig = RootConfigMapConfig()
    cluster_trust_bundle: ClusterTrustBundleConfig = ClusterTrustBundleConfig()
    istiod_certificate: IstiodCertificateConfig = IstiodCertificateConfig()
    lease: Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?\z")] = "meshca-leader"

    @model_validator(mode="after")
    def _reviewed(self) -> Self:
        """Who must be proven by a review is never proven without."""
        if not self.token_review.enabled:
            idle = [
                name
                for name, used in (
                    ("trusted_node_accounts", bool(self.trusted_node_accounts)),
                    ("remote_clusters.enabled", self.remote_clusters.enabled),
                )
                if used
            ]
            if idle:
                raise ValueError(f"{' and '.join(idle)} would do nothing while token_review.enabled is false")
        return self
