"""The spine: from a credential to a certificate, the one pipeline behind every door.

`issue` is the whole story; what each step checks is in the room that it calls. The order matters: the caller's
ASN.1 is parsed only once the caller is proven and admitted, and nothing is signed before its intent is durable.
Every decision is counted and leaves one audit event, never with a token, a key or a CSR.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from meshca import csr, metrics
from meshca.admission.decide import check_could_be_granted, decide, decide_for_workload
from meshca.admission.model import Grant, RuleSet
from meshca.authn.chain import Authenticator
from meshca.authn.node_proxy import NodeProxies
from meshca.authority.outside import Commission, LeafSigner, told, wrong_leaf
from meshca.authority.signing import Authority
from meshca.clock import Clock
from meshca.csr import ProvenKey
from meshca.decision import Decision
from meshca.errors import BadRequest
from meshca.identity.caller import Caller, Credential, ProvenBy
from meshca.identity.key_type import KeyType
from meshca.ledger.port import LedgerStore, SerialReused
from meshca.quota import Quota
from meshca.secret import Secret
from meshca.svid import profile
from meshca.svid.draft import Draft, Issued
from meshca.svid.profile import Profile


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What a proven caller asks for; nothing of it decides who it is.

    Attributes:
        csr: the certificate signing request, unverified.
        lifetime_seconds: 0 for the default.
        impersonated_identity: the identity of a workload, asked for by the proxy of its node; empty for the
            caller's own.
        cert_signer: the signer to use; not supported yet.
    """

    csr: str
    lifetime_seconds: int = 0
    impersonated_identity: str = ""
    cert_signer: str = ""


class Issuing:
    """Everything that issuing needs, wired once; the admission rules may be replaced while it runs."""

    def __init__(  # noqa: PLR0913 - the pipeline's parts, by name
        self,
        *,
        chain: Authenticator,
        rules: RuleSet,
        profile: Profile,
        strict: bool,
        authority: Authority,
        ledger: LedgerStore,
        quota: Quota,
        clock: Clock,
        node_proxies: NodeProxies | None = None,
        leaf_signer: LeafSigner | None = None,
    ) -> None:
        self._chain = chain
        self._rules = rules
        self._profile = profile
        self._strict = strict
        self._authority = authority
        self._ledger = ledger
        self._quota = quota
        self._clock = clock
        self._node_proxies = node_proxies
        self._leaf_signer = leaf_signer

    def use_rules(self, rules: RuleSet) -> None:
        """Decide by these admission rules from the next request on."""
        self._rules = rules

    async def issue(self, credential: Credential, wish: Callable[[], Wish], request_id: str) -> Issued:
        """A certificate for the caller's own key, and for its own identity or that of a workload on its node.

        Args:
            credential: what the caller showed, unverified.
            wish: reads the request; called only once the caller is proven.
            request_id: the call's, for the ledger and the audit event.

        Raises:
            Unauthenticated: the caller could not be proven, or may not ask for another's identity.
            Denied: no admission rule grants this.
            Exhausted: too many requests of this identity, its namespace or the node proxy that asks for it.
            BadRequest: the request is wrong.
            Unavailable: no signer, or the store cannot be written; nothing was signed.
            InvariantBroken: what would have been signed breaks a rule; nothing was given out.
        """
        with Decision(request_id, self._clock) as decision:
            caller = await self._proven(decision, credential)
            asked = self._supported(wish())
            if asked.impersonated_identity:
                grant = await self._granted_to_proxy(decision, caller, asked.impersonated_identity)
            else:
                grant = self._granted(decision, caller)
            key = decision.certifies(csr.prove(asked.csr))
            csr.check_names(key, grant.identity, strict=self._strict)
            return await self._certify(decision, key, asked.lifetime_seconds, lambda: csr.forwarded(asked.csr))

    async def issue_with_server_key(self, credential: Credential, request_id: str) -> tuple[Issued, Secret[str]]:
        """A certificate for a key made here, which is given out once and kept nowhere.

        Raises:
            Unauthenticated, Denied, Exhausted, Unavailable, InvariantBroken: as `issue`.
        """
        with Decision(request_id, self._clock) as decision:
            caller = await self._proven(decision, credential)
            grant = self._granted(decision, caller)
            private_key, key = csr.fresh_key(_preferred(grant))
            decision.certifies(key)
            return await self._certify(decision, key, 0, lambda: csr.request(private_key)), private_key

    async def admitted(self, credential: Credential) -> Caller:
        """A caller who may be issued its own identity now: what a stream of keys asks first.

        Raises:
            Unauthenticated, Denied, Unavailable: as `issue`.
        """
        caller = await self._chain.prove(credential)
        decide(self._rules, caller, caller.identity(self._rules.trust_domain))
        return caller

    async def could_be_admitted(self, credential: Credential) -> Caller:
        """A caller who may be braked now, but whose issuer a rule lets speak for its identity.

        Raises:
            Unauthenticated, Unavailable: as `issue`.
            Denied: no rule could ever grant it its own identity.
        """
        caller = await self._chain.prove(credential)
        check_could_be_granted(self._rules, caller, caller.identity(self._rules.trust_domain))
        return caller

    async def _proven(self, decision: Decision, credential: Credential) -> Caller:
        return decision.proves(await self._chain.prove(credential))

    def _granted(self, decision: Decision, caller: Caller) -> Grant:
        wanted = caller.identity(self._rules.trust_domain)
        grant = decision.grants(decide(self._rules, caller, wanted))
        return self._within_quota(grant, renewal=caller.proven_by is ProvenBy.CLIENT_CERT)

    async def _granted_to_proxy(self, decision: Decision, proxy: Caller, unverified_identity: str) -> Grant:
        assert self._node_proxies is not None  # noqa: S101 - `_supported` has seen to it
        # Before anybody is asked about pods: what is not found costs a question to the API server.
        self._quota.ask(proxy, self._clock.monotonic())
        workloads = await self._node_proxies.workloads(proxy, unverified_identity)
        decision.certifies_for(workloads[0])
        return self._within_quota(decision.grants(decide_for_workload(self._rules, proxy, workloads)))

    def _within_quota(self, grant: Grant, *, renewal: bool = False) -> Grant:
        # After admission: a denial costs us little, and must not use up what the namespace's own workloads need.
        self._quota.take(grant.identity, self._clock.monotonic(), renewal=renewal)
        return grant

    def _supported(self, wish: Wish) -> Wish:
        if wish.impersonated_identity and self._node_proxies is None:
            raise BadRequest(
                "impersonation",
                "ImpersonatedIdentity is only for kubernetes.trusted_node_accounts, which names none",
            )
        if wish.cert_signer:
            raise BadRequest("cert_signer", "CertSigner is not supported yet; leave it out")
        return wish

    async def _certify(
        self, decision: Decision, key: ProvenKey, asked_seconds: int, request: Callable[[], str]
    ) -> Issued:
        grant = decision.grant
        lifetime = self._lifetime(grant, asked_seconds)
        draft = self._authority.draft(grant, key, lifetime, self._clock.now())
        if self._leaf_signer is not None:
            return await self._certify_outside(decision, key, draft, self._leaf_signer, request())
        async with decision.recorded(draft, self._ledger):
            return decision.issues(self._authority.sign(draft, self._clock.now()))

    async def _certify_outside(
        self, decision: Decision, key: ProvenKey, draft: Draft, signer: LeafSigner, request: str
    ) -> Issued:
        """What was asked for is durable before anybody signs, and what was given before anybody has it."""
        async with decision.asked(draft, self._ledger) as asked:
            slot = self._authority.drafter(draft, self._clock.now())
            commission = Commission(slot=slot, draft=draft, key=key, identity=decision.grant.identity)
            with told(commission, signer):
                wish = commission.wish(request)
            unverified = await signer.sign(wish)
            with told(commission, signer):
                issued = commission.judge(unverified, self._clock.now())
            try:
                async with decision.given(asked, issued, self._ledger) as given:
                    signer.judged(given.spiffe_id, None)
                    self._authority.current()  # nothing is given any more when signing was withheld meanwhile
                    self._authority.drafter(draft, self._clock.now())  # nor when the signer has gone
            except SerialReused as reused:  # only the ledger knows that
                with told(commission, signer):
                    raise wrong_leaf(reused.detail) from reused
            return decision.issues(issued)

    def _lifetime(self, grant: Grant, asked_seconds: int) -> timedelta:
        lifetime, clamped = profile.lifetime(self._profile, grant.max_lifetime, asked_seconds)
        if clamped:
            metrics.lifetimes_clamped.inc()
        return lifetime


def _preferred(grant: Grant) -> KeyType:
    """The fastest of the key types that a grant allows."""
    return next(key_type for key_type in KeyType if key_type in grant.key_types)
