"""The pipeline from a credential to a certificate, with nobody but the test behind it."""

from __future__ import annotations

from typing import Any

from cryptography import x509

from meshca.admission.parse import shipped
from meshca.authn.node_proxy import NodeProxies
from meshca.authority.serials import Serials
from meshca.authority.signing import Authority
from meshca.errors import MeshcaError, Unauthenticated
from meshca.identity.caller import Caller, Credential
from meshca.issuance import Issuing, Wish
from meshca.quota import Quota, Rate
from meshca.svid.profile import Profile
from tests.fakes.callers import caller
from tests.fakes.clock import FakeClock
from tests.fakes.ledger import FakeLedger
from tests.fakes.pki import TRUST_DOMAIN, ec_key, good_slot, make_csr
from tests.fakes.profiles import PROFILE

CREDENTIAL = Credential()


class Chain:
    """Proves whoever the test says."""

    name = "chain"

    def __init__(self) -> None:
        self.caller: Caller | None = caller()
        self.error: MeshcaError = Unauthenticated("no_credential", "nothing was shown")

    async def prove(self, credential: Credential) -> Caller:
        """The caller, or the error."""
        if self.caller is None:
            raise self.error
        return self.caller


class IssuanceRig:
    """A pipeline of real rooms with a fake chain, ledger and clock."""

    def __init__(
        self,
        *,
        strict: bool = False,
        profile: Profile | None = None,
        burst: int = 1000,
        node_proxies: NodeProxies | None = None,
    ) -> None:
        self.clock = FakeClock()
        self.chain = Chain()
        self.ledger = FakeLedger(self.clock)
        self.authority = Authority(Serials(5), PROFILE)
        self.authority.replace(good_slot())
        rate = Rate(per_second=1.0, burst=burst)
        self.issuing = Issuing(
            chain=self.chain,
            rules=shipped(TRUST_DOMAIN),
            profile=profile or PROFILE,
            strict=strict,
            authority=self.authority,
            ledger=self.ledger,
            quota=Quota(per_identity=rate, per_namespace=rate),
            clock=self.clock,
            node_proxies=node_proxies,
        )
        self.key = ec_key()

    async def issue(self, **wish: Any) -> x509.Certificate:
        """One issuance for the rig's key; the leaf."""
        wish.setdefault("csr", make_csr(self.key))
        issued = await self.issuing.issue(CREDENTIAL, lambda: Wish(**wish), "r1")
        return x509.load_pem_x509_certificate(issued.chain[0].encode())


def uris(leaf: x509.Certificate) -> list[str]:
    """The URI names."""
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return names.get_values_for_type(x509.UniformResourceIdentifier)
