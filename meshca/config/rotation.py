"""Configuration of how roots are rotated."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Self

from pydantic import Field, model_validator

from meshca.config.model import Duration, Model, PositiveDuration
from meshca.duration import format_duration

LONGEST_WINDOW = timedelta(days=7)


class RotationConfig(Model):
    """When a step of a rotation is safe, and what begins one.

    Attributes:
        share: of the live workloads that acknowledge roots, how many must trust a root before it signs, 0.5 to 1.
        seen_within: a workload that was not seen for so long does not count; `svid.max_lifetime` when absent, for
            by then it holds nothing that is valid, and at least that.
        settle: how long a workload without acknowledgements (pilot-agent, ztunnel) must have had a root before it
            counts as trusting it, and how long a leaf still counts as in use after the one came that is known to
            have taken its place; shorter than half of `svid.default_lifetime`.
        published_for: how long roots must have been published before a new one signs, where they are published
            (ConfigMaps, ClusterTrustBundle): nobody knows who reads them.
        window: within which the leaves below a compromised root are replaced, unless the command says otherwise;
            0s is at once, 7d the longest.
        before_end: a rotation of the root begins by itself so long before its end; never when absent. Where roots
            are made here (`upstream.kind` self_signed, or secret below a root that Istio or meshca made).
    """

    share: Annotated[float, Field(ge=0.5, le=1.0, strict=False)] = 1.0
    seen_within: PositiveDuration | None = None
    settle: Duration = timedelta(minutes=1)
    published_for: Duration = timedelta(minutes=5)
    window: Duration = timedelta(minutes=5)
    before_end: PositiveDuration | None = None

    @model_validator(mode="after")
    def _bounded(self) -> Self:
        if self.window > LONGEST_WINDOW:
            raise ValueError(
                f"window must be at most {format_duration(LONGEST_WINDOW)}: so long is a compromised root trusted"
            )
        return self
