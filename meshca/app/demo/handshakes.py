"""Envoy's own counts of TLS handshakes: the proof that every single request tried the certificates."""

from __future__ import annotations

from dataclasses import dataclass

from meshca.app.envoy_process import EnvoyProcess

NOT_TLS = "connection_error"  # what arrived was no TLS, or its handshake broke
NOT_OURS = "fail_verify_error"  # the certificate does not lead to a root of the mesh
_FAILED = (NOT_TLS, NOT_OURS, "fail_verify_no_cert", "fail_verify_san")


@dataclass(frozen=True, slots=True, kw_only=True)
class Handshakes:
    """TLS handshakes since Envoy's start.

    Attributes:
        completed: all of them, resumed ones included.
        resumed: those that resumed a session and so checked no certificate.
        failed: connections that ended in an error or in a refused certificate.
    """

    completed: int
    resumed: int
    failed: int

    def since(self, before: Handshakes) -> Handshakes:
        """What was added after an earlier reading."""
        return Handshakes(
            completed=self.completed - before.completed,
            resumed=self.resumed - before.resumed,
            failed=self.failed - before.failed,
        )


async def handshakes(envoy: EnvoyProcess) -> Handshakes:
    """What one Envoy counted over its listeners and clusters.

    Raises:
        Unavailable: its administration page does not answer.
    """
    return Handshakes(
        completed=await tls_count(envoy, "handshake"),
        resumed=await tls_count(envoy, "session_reused"),
        failed=await tls_count(envoy, *_FAILED),
    )


async def tls_count(envoy: EnvoyProcess, *names: str) -> int:
    """The sum of some of Envoy's TLS statistics over its listeners and clusters.

    Raises:
        Unavailable: its administration page does not answer.
    """
    return await _total(envoy, rf"\.ssl\.({'|'.join(names)})$")


async def retries(envoy: EnvoyProcess) -> int:
    """How many requests this Envoy has sent a second time, which would hide a failure from the caller.

    Raises:
        Unavailable: its administration page does not answer.
    """
    return await _total(envoy, r"^cluster\..*\.upstream_rq_retry$")


async def _total(envoy: EnvoyProcess, pattern: str) -> int:
    return sum(int(value) for value in (await envoy.stats(pattern)).values())
