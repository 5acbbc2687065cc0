"""A signer that has proven itself: key, certificates and templates that fit together.

The only way to a `Slot` is `Slot.prove`, which checks everything again wherever the material came from, and
signs and verifies a trial leaf through the whole chain (ADR 10). The private key must never
leave a slot.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from types import MappingProxyType

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import verification

from meshca import csr
from meshca.admission.model import Grant
from meshca.authority.chain import find_path
from meshca.authority.faults import find_faults
from meshca.authority.material import SigningMaterial, to_pem
from meshca.errors import ConfigError, InvariantBroken
from meshca.identity.key_type import KeyType
from meshca.identity.spiffe_id import SpiffeId, TrustDomain
from meshca.public_key import allowed
from meshca.svid import signature, template
from meshca.svid.draft import Draft, Stamp, draft
from meshca.svid.issuer import Issuer

TRIAL_PATH = "/meshca/trial"  # nobody is ever granted it: granted identities are /ns/<namespace>/sa/<account>
_TRIAL_SERIAL = 1 << 127
_TRIAL_LIFETIME = timedelta(minutes=1)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Slot:
    """A proven signer.

    Attributes:
        issuer: its public side.
        path: the signing certificate, those above it, and last the root.
        root_set: all roots that clients shall trust, DER.
        templates: what leaves are made from, for each type of leaf key.
        key: of the signing certificate.
    """

    issuer: Issuer
    path: tuple[x509.Certificate, ...]
    root_set: frozenset[bytes]
    templates: Mapping[KeyType, template.Template] = field(repr=False)
    key: signature.SigningKey = field(repr=False)

    @classmethod
    def prove(cls, material: SigningMaterial, trust_domain: TrustDomain, now: datetime) -> Slot:
        """Check the material, learn the templates, sign a trial leaf and verify it.

        Raises:
            ConfigError: with every fault found.
        """
        certificates = (material.certificate, *material.others)
        if faults := find_faults(certificates, material.roots, material.key, trust_domain, now):
            raise ConfigError("signing material", faults)
        path = find_path(material.certificate, material.others, material.roots)
        issuer = issuer_of(path, to_pem(*dict.fromkeys(material.roots)), trust_domain)
        learnt = {key_type: template.learn(issuer, key_type) for key_type in KeyType}
        slot = cls(
            issuer=issuer,
            path=path,
            root_set=material.root_set,
            templates=MappingProxyType(learnt),
            key=material.key,
        )
        try:
            slot.try_leaf(now)
        except InvariantBroken as broken:
            raise ConfigError(
                "signing material", [f"a trial certificate does not verify: {broken.detail}"]
            ) from None
        return slot

    def sign(self, tbs: bytes) -> bytes:
        """The issuer's signature; only `Draft.sign` may call this."""
        return signature.sign(self.key, tbs)

    def draft(self, grant: Grant, key: csr.ProvenKey, lifetime: timedelta, stamp: Stamp) -> Draft:
        """Draft an X.509-SVID under this signer.

        Raises:
            Denied: reason `key_type`.
            Unavailable: reason `signer_not_begun` or `signer_expired`.
            InvariantBroken: reason `lint`.
        """
        return draft(grant, key, self.templates[key.key_type], lifetime, stamp)

    def try_leaf(self, now: datetime) -> None:
        """Issue a leaf by the way that all leaves go and verify it as a client would (RFC 5280 section 6).

        Verified by the library's path validation, from the leaf to our root: signatures, names, validity,
        CA flags, path lengths, name constraints, key and signature algorithms; client authentication.

        Raises:
            InvariantBroken: reason `lint` or `trial_leaf`.
            Unavailable: reason `signer_not_begun` or `signer_expired`.
        """
        _, key = csr.fresh_key(KeyType.EC_P256)
        grant = Grant(
            identity=SpiffeId(self.issuer.trust_domain, TRIAL_PATH),
            max_lifetime=_TRIAL_LIFETIME,
            key_types=frozenset({key.key_type}),
            rule="trial leaf",
        )
        stamp = Stamp(serial=_TRIAL_SERIAL, now=now, backdate=timedelta(0))
        issued = self.draft(grant, key, _TRIAL_LIFETIME, stamp).sign(self.sign)
        leaf = x509.load_pem_x509_certificate(issued.chain[0].encode())
        try:
            _verifier(self.path[-1], now).verify(leaf, list(self.path[:-1]))
        except verification.VerificationError as error:
            raise InvariantBroken("trial_leaf", str(error)) from None

    @property
    def root(self) -> str:
        """PEM of the root at the end of its path."""
        return to_pem(self.path[-1])

    @property
    def expiries(self) -> dict[str, datetime]:
        """When which certificate ends: `root`, and `intermediate` unless the root signs itself."""
        ends = {"root": self.path[-1].not_valid_after_utc}
        if len(self.path) > 1:
            ends["intermediate"] = min(certificate.not_valid_after_utc for certificate in self.path[:-1])
        return ends


def issuer_of(path: Sequence[x509.Certificate], roots: str, trust_domain: TrustDomain) -> Issuer:
    """The public side of whoever signs by the first certificate of a path.

    Args:
        path: up to and with the root; nothing of it is checked.
        roots: PEM of all that clients shall trust.
        trust_domain: that is signed for.

    Raises:
        IndexError: the path is empty.
        BadRequest: the key is of no type that we support.
        x509.ExtensionNotFound: it has no key identifier.
    """
    certificate = path[0]
    public_key, _ = allowed(certificate.public_key())
    return Issuer(
        signer_id=hashlib.sha256(certificate.public_bytes(Encoding.DER)).hexdigest(),
        certificate=certificate,
        public_key=public_key,
        algorithm=signature.algorithm(public_key),
        key_id=certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value,
        trust_domain=trust_domain,
        not_before=max(above.not_valid_before_utc for above in path),
        not_after=min(above.not_valid_after_utc for above in path),
        chain=tuple(to_pem(above) for above in path[:-1]),
        roots=roots,
    )


def _verifier(root: x509.Certificate, now: datetime) -> verification.ClientVerifier:
    """A verifier that asks of CA certificates no more than RFC 5280; `authority.faults` asks for the rest."""
    ca_policy = verification.ExtensionPolicy.permit_all().require_present(
        x509.BasicConstraints, verification.Criticality.AGNOSTIC, None
    )
    return (
        verification.PolicyBuilder()
        .store(verification.Store([root]))
        .time(now)
        .extension_policies(ca_policy=ca_policy, ee_policy=verification.ExtensionPolicy.webpki_defaults_ee())
        .build_client_verifier()
    )
