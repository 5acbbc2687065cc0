"""Who is in the demo's mesh and what the policy says. Values and texts only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from meshca.identity.service_account import ServiceAccount
from meshca.identity.spiffe_id import SpiffeId, TrustDomain

TRUST_DOMAIN = TrustDomain("cluster.local")

WEB = ServiceAccount(namespace="shop", name="web")
PAYMENTS = ServiceAccount(namespace="shop", name="payments")
INTRUDER = ServiceAccount(namespace="other", name="intruder")
WORKLOADS = (PAYMENTS, WEB, INTRUDER)

CHARGES = "/charges"  # what web may read
REFUNDS = "/refunds"  # what nobody may, until the policy is edited

# Short, so that every certificate is renewed before the audience leaves. Renewal is at half of it.
LIFETIME = timedelta(seconds=20)
TOKEN_LIFETIME = "12h"  # noqa: S105 - how long a token of the local issuer lasts; the demo may be kept running


@dataclass(frozen=True, slots=True)
class Places:
    """Where everything of one demo is: one private folder."""

    folder: Path

    @property
    def ca(self) -> Path:
        """The folder of the CA."""
        return self.folder / "ca"

    @property
    def vault(self) -> Path:
        """The folder of Vault, if there is one."""
        return self.folder / "vault"

    @property
    def policies(self) -> Path:
        """The folder whose policies the CA pushes."""
        return self.folder / "policies"

    @property
    def policy(self) -> Path:
        """The one policy of the demo; edited while it runs."""
        return self.policies / "payments.yaml"

    def of(self, account: ServiceAccount) -> Path:
        """The folder of one workload: token, socket, Envoy's files, logs."""
        return self.folder / account.name


def spiffe_id(account: ServiceAccount) -> SpiffeId:
    """The identity that the CA gives this service account."""
    return SpiffeId.of(TRUST_DOMAIN, account)


def policy(paths: Sequence[str]) -> str:
    """Istio's AuthorizationPolicy: web may GET these paths of payments; everything else is denied."""
    principal = str(spiffe_id(WEB)).removeprefix("spiffe://")
    return f"""\
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata:
  name: payments
  namespace: {PAYMENTS.namespace}
spec:
  action: ALLOW
  rules:
    - from:
        - source:
            principals: ["{principal}"]
      to:
        - operation:
            methods: ["GET"]
            paths: [{", ".join(f'"{path}"' for path in paths)}]
"""
