"""Our request for an intermediate, and the judgement of what came back, which is checked as hostile.

Sources: X1 and X4 to X8 of X509-SVID.md; RFC 5280 sections 4.2.1.9 and 6.1. OpenBao signs beyond the end of the
issuer with only a warning, makes a DNS name of a common name unless told not to, and both servers put chains
together in several ways, so nothing is believed for its place in a list. Key usage may be keyCertSign and cRLSign,
which is what both servers give: with digitalSignature our CA certificate could be shown in a TLS handshake.
Of constraints on names only the form is judged here: the trial leaf meets them, and refuses those on URIs, which
the library cannot verify.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Final, TypeVar

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtensionOID, NameOID

from meshca import der
from meshca.authority.chain import find_path
from meshca.authority.faults import find_faults
from meshca.authority.material import SigningMaterial
from meshca.config.vault import SHORTEST
from meshca.identity.spiffe_id import TrustDomain
from meshca.svid.signature import SigningKey, hash_for
from meshca.upstream.ca_certificates import BACKDATE
from meshca.upstream.readable import unreadable
from meshca.upstream.sound_root import trial_faults

Ext = TypeVar("Ext", bound=x509.ExtensionType)
_USAGES: Final = (
    "digital_signature",
    "content_commitment",
    "key_encipherment",
    "data_encipherment",
    "key_agreement",
)
_STRINGS: Final = frozenset({0x0C, 0x13})  # UTF8String, PrintableString (RFC 5280 section 4.1.2.4)
_EXTENSIONS: Final = frozenset(
    {
        ExtensionOID.BASIC_CONSTRAINTS,
        ExtensionOID.KEY_USAGE,
        ExtensionOID.SUBJECT_ALTERNATIVE_NAME,
        ExtensionOID.SUBJECT_KEY_IDENTIFIER,
        ExtensionOID.AUTHORITY_KEY_IDENTIFIER,
        ExtensionOID.NAME_CONSTRAINTS,
        ExtensionOID.CERTIFICATE_POLICIES,
        ExtensionOID.AUTHORITY_INFORMATION_ACCESS,  # these two when the mount has URLs configured
        ExtensionOID.CRL_DISTRIBUTION_POINTS,
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """An intermediate that is asked for.

    Attributes:
        key: ours; never sent.
        common_name: of its subject, which nobody else has.
        trust_domain: that it signs for.
        lifetime: at most.
    """

    key: SigningKey
    common_name: str
    trust_domain: TrustDomain
    lifetime: timedelta

    @property
    def subject(self) -> x509.Name:
        """The whole subject, as the server shall write it."""
        return x509.Name(
            [
                x509.NameAttribute(NameOID.ORGANIZATION_NAME, "meshca"),
                x509.NameAttribute(NameOID.COMMON_NAME, self.common_name),
            ]
        )

    def body(self) -> Mapping[str, object]:
        """What `sign-intermediate` is sent: everything but the key is said outside the CSR, which it ignores."""
        builder = x509.CertificateSigningRequestBuilder().subject_name(self.subject)
        csr = builder.sign(self.key, hash_for(self.key)).public_bytes(Encoding.PEM).decode()
        return {
            "csr": csr,
            "common_name": self.common_name,
            "organization": "meshca",
            "uri_sans": self.trust_domain.id,
            "ttl": f"{int(self.lifetime.total_seconds())}s",
            "not_before_duration": f"{int(BACKDATE.total_seconds())}s",
            "max_path_length": 0,
            "exclude_cn_from_sans": True,
            "use_csr_values": False,
            "format": "pem",
        }


def judge(
    wish: Wish,
    given: x509.Certificate,
    above: Sequence[x509.Certificate],
    roots: Sequence[x509.Certificate],
    now: datetime,
) -> tuple[SigningMaterial | None, list[str]]:
    """The material, once nothing is wrong with it, or everything that is.

    Args:
        wish: what was asked for.
        given: the certificate.
        above: what the server says is above it, in any order, with anything among it.
        roots: that count; nothing else may end the chain.
        now: the present instant.
    """
    path = find_path(given, [one for one in above if one != given], roots)
    between = path[1:-1]
    problems = list(_own_faults(wish, given, now))
    if not path:
        problems.append("no chain of signatures leads from it to a root that counts")
    problems += find_faults((given, *between), list(roots), wish.key, wish.trust_domain, now)
    problems += [*_outliving(path), *_misnamed(path), *_unread(path or (given,))]
    if problems:
        return None, list(dict.fromkeys(problems))
    material = SigningMaterial(certificate=given, others=between, roots=tuple(roots), key=wish.key)
    problems += trial_faults(material, wish.trust_domain, now)
    return (None, problems) if problems else (material, [])


def _own_faults(wish: Wish, given: x509.Certificate, now: datetime) -> Iterator[str]:
    """What differs from the wish; whether it is a CA for our key is among `authority.faults`."""
    if given.subject != wish.subject:
        yield f"its subject is not {wish.subject.rfc4514_string()}, which was asked for"
    if not _string_tags(given.subject) <= _STRINGS:
        yield "its subject is not of UTF8String or PrintableString"
    if given.public_key() != wish.key.public_key():
        yield "it is for another key than ours"
    if _names(given) != [x509.UniformResourceIdentifier(wish.trust_domain.id)]:
        yield f"its names are not exactly {wish.trust_domain.id}"
    yield from _extension_faults(given)
    if given.not_valid_after_utc - now < SHORTEST:
        ends = given.not_valid_after_utc.isoformat()
        yield f"it ends at {ends}, in less than a minute: the issuer may have ended"
    if given.not_valid_after_utc > now + wish.lifetime + SHORTEST:
        yield f"it lives longer than the {wish.lifetime} that were asked for"


def _extension_faults(given: x509.Certificate) -> Iterator[str]:
    constraints = _value(given, x509.BasicConstraints)
    if constraints is None or not constraints.ca:
        yield "it is no CA: a role of leaves may have signed it; upstream.issuer needs an issuer"
    elif constraints.path_length != 0:
        yield "its path length is not 0, so another CA could be made below it"
    usage = _value(given, x509.KeyUsage)
    if usage is not None and any(getattr(usage, name) for name in _USAGES):
        yield "its key usage allows more than signing"
    for extension in given.extensions:
        if extension.oid not in _EXTENSIONS:
            yield f"it has the extension {extension.oid.dotted_string}, which was not asked for"


def _unread(certificates: Sequence[x509.Certificate]) -> Iterator[str]:
    for certificate in certificates:
        for fault in unreadable(certificate):
            yield f"{certificate.subject.rfc4514_string()!r}: {fault}"


def _string_tags(name: x509.Name) -> set[int]:
    """Of which types of string a name is made; the library compares what they say alone."""
    parts = [part for together in der.children(name.public_bytes()) for part in der.children(together)]
    return {der.children(part)[1][0] for part in parts}


def _outliving(path: Sequence[x509.Certificate]) -> Iterator[str]:
    for above in path[1:]:
        if path[0].not_valid_after_utc > above.not_valid_after_utc:
            yield (
                f"it ends at {path[0].not_valid_after_utc.isoformat()}, after {above.subject.rfc4514_string()!r}"
                f" above it at {above.not_valid_after_utc.isoformat()}"
            )


def _misnamed(path: Sequence[x509.Certificate]) -> Iterator[str]:
    """Key identifiers that do not fit: Envoy then finds no issuer, whatever the signature (RFC 5280 4.2.1.1)."""
    for below, above in pairwise(path):
        named, mine = _value(below, x509.AuthorityKeyIdentifier), _value(above, x509.SubjectKeyIdentifier)
        if named is None and below == path[0]:
            yield "it has no authority key identifier"
        elif named and mine and named.key_identifier not in {None, mine.digest}:
            yield f"the authority key identifier of {below.subject.rfc4514_string()!r} is not its issuer's"


def _names(certificate: x509.Certificate) -> list[x509.GeneralName]:
    found = _value(certificate, x509.SubjectAlternativeName)
    return [] if found is None else list(found)


def _value(certificate: x509.Certificate, kind: type[Ext]) -> Ext | None:
    return next((one.value for one in certificate.extensions if isinstance(one.value, kind)), None)
