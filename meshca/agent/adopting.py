"""One subscription of the agent at the CA as a pure state table: when to acknowledge, refuse, or say more.

The CA must learn what is in force at the Envoys, no more: there is no acknowledgement before the verdict, and
another one for the same push when the verdict changes. What an ill Envoy holds up is neither acknowledged nor
refused; it is reported beside the protocol, with a nonce that the CA never gave. It must never do I/O.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from meshca.agent.envoys import HeldUp, InForce, Missing, Rejected, Undecided, Verdict

VOID = "void"  # no nonce of any server of ours; an answer to a nonce that is not the newest is void (xDS protocol)


@dataclass(frozen=True, slots=True, kw_only=True)
class Say:
    """What to send to the CA.

    Attributes:
        version: what is in force, or was before a refusal.
        nonce: the push that is answered; empty in the first request of a stream, VOID when nothing is answered.
        error: why it is refused; empty for everything else.
        verdict: on whose word it is acknowledged, or what holds it up; None in a first request and a refusal.
    """

    version: str
    nonce: str = ""
    error: str = ""
    verdict: InForce | HeldUp | None = None


@dataclass(slots=True)
class Adopting:
    """The state of one subscription; it outlives the streams that carry it.

    Versions here are the CA's, as it sends them.
    """

    _acknowledged: str = ""
    _before: str = ""
    _offered: str = ""
    _nonce: str = ""
    _invalid: str = ""
    _told: Verdict = field(default_factory=Undecided)
    _by_envoy: bool = False  # an Envoy has vouched for the push

    def begin(self) -> Say:
        """A new stream: ask with the version that is in force, as an xDS client that reconnects does."""
        self._nonce = ""
        return Say(version=self._acknowledged)

    def pushed(self, version: str, nonce: str, *, invalid: str = "") -> None:
        """The CA sent a version; `invalid` is why we ourselves refuse it."""
        self._before = self._acknowledged if self._acknowledged != version else self._before
        self._offered, self._nonce, self._invalid = version, nonce, invalid
        self._told, self._by_envoy = Undecided(), False

    def review(self, verdict: Verdict) -> Say | None:
        """What to say now that the Envoys are judged so; None when the CA knows already.

        Args:
            verdict: on what was pushed last; it does not matter while that is invalid.
        """
        if not self._nonce:
            return None
        if self._invalid:
            verdict = Rejected(error=self._invalid)
        if isinstance(verdict, InForce):
            verdict = self._at_least(verdict)
        if isinstance(verdict, Undecided | Missing) or self._known(verdict):
            return None
        self._told = verdict
        if isinstance(verdict, Rejected):
            return Say(version=self._before, nonce=self._nonce, error=verdict.error)
        if isinstance(verdict, HeldUp):
            return Say(version=self._acknowledged, nonce=VOID, verdict=verdict)
        self._acknowledged = self._offered
        return Say(version=self._offered, nonce=self._nonce, verdict=verdict)

    def _known(self, verdict: Verdict) -> bool:
        """Told already; a refusal is told once, whatever words follow."""
        return verdict == self._told or (isinstance(verdict, Rejected) and isinstance(self._told, Rejected))

    def _at_least(self, verdict: InForce) -> InForce:
        """An Envoy that adopted and left has adopted: the grade does not fall again for the same push."""
        self._by_envoy = self._by_envoy or verdict.grade == "envoy"
        return replace(verdict, grade="envoy") if self._by_envoy else verdict
