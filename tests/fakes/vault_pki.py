"""The PKI engine of a stand-in for Vault: a real CA that signs as each vendor does, or as a hostile one would.

mount = PkiMount.new(now)
certificate = sign(mount.current, body, now(), uris=["spiffe://other"])  # the one fault that a test wants
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from meshca.authority.material import to_pem
from meshca.svid.signature import hash_for
from tests.fakes.pki import SIGNS_CERTIFICATES, SIGNS_DATA, Ca, make_ca

BACKDATED = timedelta(seconds=30)  # leaves, as the role says
_BOTH = (ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH)


def sign(
    issuer: Ca,
    body: Mapping[str, Any],
    now: datetime,
    *,
    public_key: Any = None,
    subject: x509.Name | None = None,
    issuer_name: x509.Name | None = None,
    begin: datetime | None = None,
    end: datetime | None = None,
    constraints: x509.BasicConstraints | None = x509.BasicConstraints(ca=True, path_length=0),  # noqa: B008 - frozen
    usage: x509.KeyUsage | None = SIGNS_CERTIFICATES,
    uris: Sequence[str] | None = None,
    dns: Sequence[str] = (),
    authority: x509.AuthorityKeyIdentifier | str | None = "its own",
    key_id: bool = True,
    extra: Sequence[tuple[x509.ExtensionType, bool]] = (),
) -> x509.Certificate:
    """What `sign-intermediate` makes of a request: good unless told otherwise."""
    key = public_key or x509.load_pem_x509_csr(body["csr"].encode()).public_key()
    names = [body["uri_sans"]] if uris is None else uris
    san = [*map(x509.UniformResourceIdentifier, names), *map(x509.DNSName, dns)]
    own = x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.key.public_key())
    extensions: list[tuple[x509.ExtensionType | None, bool]] = [
        (constraints, True),
        (usage, True),
        (x509.SubjectAlternativeName(san) if san else None, False),
        (x509.SubjectKeyIdentifier.from_public_key(key) if key_id else None, False),
        (own if isinstance(authority, str) else authority, False),
        *extra,
    ]
    builder = (
        x509.CertificateBuilder()
        .subject_name(_subject(body) if subject is None else subject)
        .issuer_name(issuer_name or issuer.certificate.subject)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin or now - _seconds(body["not_before_duration"]))
        .not_valid_after(end or now + _seconds(body["ttl"]))
    )
    for extension, critical in extensions:
        if extension is not None:
            builder = builder.add_extension(extension, critical=critical)
    return builder.sign(issuer.key, hash_for(issuer.key))


def sign_leaf(
    issuer: Ca,
    body: Mapping[str, Any],
    now: datetime,
    *,
    public_key: Any = None,
    signing: Any = None,
    subject: x509.Name = x509.Name([]),  # noqa: B008 - frozen
    begin: datetime | None = None,
    end: datetime | None = None,
    constraints: x509.BasicConstraints = x509.BasicConstraints(ca=False, path_length=None),  # noqa: B008 - frozen
    usage: x509.KeyUsage = SIGNS_DATA,
    purposes: Sequence[x509.ObjectIdentifier] = _BOTH,
    uris: Sequence[str] | None = None,
    dns: Sequence[str] = (),
    critical: bool = True,
    extra: Sequence[tuple[x509.ExtensionType, bool]] = (),
) -> x509.Certificate:
    """What `sign/:role` makes of a request by a role as we want it: good unless told otherwise."""
    key = public_key or x509.load_pem_x509_csr(body["csr"].encode()).public_key()
    names = [body["uri_sans"]] if uris is None else uris
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.certificate.subject)
        .public_key(key)
        .serial_number(1 << 158 | x509.random_serial_number() >> 2)
        .not_valid_before(begin or now - BACKDATED)
        .not_valid_after(end or datetime.fromisoformat(body["not_after"]))
    )
    extensions: list[tuple[x509.ExtensionType, bool]] = [
        (constraints, True),
        (usage, True),
        (x509.ExtendedKeyUsage(purposes), False),
        (
            x509.SubjectAlternativeName([*map(x509.UniformResourceIdentifier, names), *map(x509.DNSName, dns)]),
            critical,
        ),
        (x509.SubjectKeyIdentifier.from_public_key(key), False),
        (x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.key.public_key()), False),
        *extra,
    ]
    for extension, is_critical in extensions:
        builder = builder.add_extension(extension, critical=is_critical)
    return builder.sign(signing or issuer.key, hash_for(issuer.key))


@dataclass(slots=True, kw_only=True)
class PkiMount:
    """A PKI engine.

    Attributes:
        now: the server's clock.
        issuers: by name; each with what is above it.
        default: the name of the default issuer.
        truncates: as Vault from 1.17: an end after the issuer's is cut, in place of signed with a warning.
        names_itself: whether `ca_chain` begins with the new certificate.
        with_root: whether `ca_chain` ends with the root; not when only an intermediate was imported.
        strays: in each `ca_chain`, besides what belongs there.
        forged: what `sign` does otherwise.
        roles: that sign leaves.
    """

    now: Callable[[], datetime]
    issuers: dict[str, tuple[Ca, ...]] = field(default_factory=dict)
    default: str = "one"
    truncates: bool = False
    names_itself: bool = True
    with_root: bool = True
    strays: Sequence[x509.Certificate] = ()
    forged: dict[str, Any] = field(default_factory=dict)
    roles: frozenset[str] = frozenset({"mesh-leaf"})

    @classmethod
    def new(cls, now: Callable[[], datetime]) -> PkiMount:
        """With one root, which signs."""
        return cls(now=now, issuers={"one": (make_ca("root one", begin=now() - timedelta(days=1)),)})

    @property
    def root(self) -> Ca:
        """The one above the default issuer."""
        return self.issuers[self.default][-1]

    def found(self, ref: str) -> str | None:
        """The name of an issuer by its name, id or `default`."""
        name = self.default if ref == "default" else ref.removeprefix("id-")
        return name if name in self.issuers else None

    def issuer(self, name: str) -> dict[str, Any]:
        """The data of `issuer/:ref/json`."""
        return {
            "issuer_id": f"id-{name}",
            "issuer_name": name,
            "certificate": to_pem(self.issuers[name][0].certificate),
            "ca_chain": [to_pem(one) for one in (*self._chain(name), *self.strays)],
        }

    def signed(self, name: str, body: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
        """The data and the warnings of `sign-intermediate`."""
        issuer, now = self.issuers[name][0], self.now()
        warnings = ["Max path length of the signed certificate is zero."]
        end = now + _seconds(body["ttl"])
        if end > issuer.certificate.not_valid_after_utc and self.truncates:
            end = issuer.certificate.not_valid_after_utc
        elif end > issuer.certificate.not_valid_after_utc:
            warnings.append("The expiration time for the signed certificate is after the CA's expiration time.")
        made = sign(issuer, body, now, **{"end": end, **self.forged})
        chain = [*([made] if self.names_itself else []), *self._chain(name), *self.strays]
        data = {
            "certificate": to_pem(made).strip(),
            "issuing_ca": to_pem(issuer.certificate).strip(),
            "ca_chain": [to_pem(one).strip() for one in chain],
            "serial_number": ":".join(f"{byte:02x}" for byte in made.serial_number.to_bytes(20, "big")),
            "expiration": int(made.not_valid_after_utc.timestamp()),
        }
        return data, warnings

    def leaf(self, name: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """The data of `sign/:role`."""
        return {"certificate": to_pem(sign_leaf(self.issuers[name][0], body, self.now())).strip()}

    def _chain(self, name: str) -> list[x509.Certificate]:
        chain = [ca.certificate for ca in self.issuers[name]]
        return chain if self.with_root or len(chain) == 1 else chain[:-1]


def _subject(body: Mapping[str, Any]) -> x509.Name:
    fields = ((NameOID.ORGANIZATION_NAME, "organization"), (NameOID.COMMON_NAME, "common_name"))
    return x509.Name([x509.NameAttribute(oid, body[name]) for oid, name in fields if name in body])


def _seconds(ttl: str) -> timedelta:
    return timedelta(seconds=int(ttl.removesuffix("s")))
