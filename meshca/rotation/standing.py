"""What is in force in every worker: who signs, who vouches for the server itself, and who must renew.

Values only. Made by `driver` from what the store says; whoever publishes them decides nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from meshca.authority.material import SigningMaterial


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """That leaves below some signing certificates are to be replaced.

    Attributes:
        signers: SHA-256 of their DER, lower-case hexadecimal; empty when nothing is ordered.
        begun_at: when the window began; None when nothing is ordered.
        window: within which the renewals are spread.
    """

    signers: tuple[str, ...] = ()
    begun_at: datetime | None = None
    window: timedelta = timedelta(0)


NO_ORDER = Order()


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What workers are told.

    Attributes:
        signer: signs workloads' leaves; its roots are the bundle in force.
        serving: signs the server's own certificate: below the root that everybody has trusted longest.
        order: who must renew.
        withheld: why `signer` signs nothing for workloads: nobody verifies it any more, or soon nobody will; empty
            while it signs.
        bundle: PEM of the bundle in force while it is withheld, for then it is not the signer's.
    """

    signer: SigningMaterial = field(repr=False)
    serving: SigningMaterial = field(repr=False)
    order: Order = NO_ORDER
    withheld: str = ""
    bundle: str = ""

    @property
    def fingerprint(self) -> str:
        """Equal for equal standings."""
        return f"{self.signer.fingerprint} {self.serving.fingerprint} {self.order} {self.withheld} {self.bundle}"
