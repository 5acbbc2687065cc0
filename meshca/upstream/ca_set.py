"""The parts of a CA as Istio lays them out: which name holds what, and the parts read from their texts.

Knows the names and nothing of where the texts come from, a folder or a Secret. Contents must never reach an
error text: one of them is a private key.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from cryptography import x509

from meshca.authority.material import SigningMaterial, read_certificates, read_key
from meshca.errors import ConfigError
from meshca.svid.signature import SigningKey

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Names of the parts.

    Attributes:
        certificate: the signing certificate, perhaps with some above it.
        key: its private key.
        chain: further certificates; empty when the layout has no such part.
        roots: what clients shall trust.
    """

    certificate: str
    key: str
    chain: str
    roots: str

    @property
    def names(self) -> tuple[str, ...]:
        """All parts of the layout, each once."""
        return tuple(dict.fromkeys(filter(None, (self.certificate, self.key, self.chain, self.roots))))


CACERTS = Layout(certificate="ca-cert.pem", key="ca-key.pem", chain="cert-chain.pem", roots="root-cert.pem")
TLS = Layout(certificate="tls.crt", key="tls.key", chain="", roots="ca.crt")
# What Istio made itself: it reads two parts of that only, and its own rotation leaves `root-cert.pem` as it was.
GENERATED = Layout(certificate="ca-cert.pem", key="ca-key.pem", chain="", roots="ca-cert.pem")


@dataclass(frozen=True, slots=True, kw_only=True)
class CaSet:
    """What was read; a part that could not be is missing here and among the problems.

    Attributes:
        certificates: the signing certificate, then in any order what stands above it.
        roots: what clients shall trust.
        key: the private key of the signing certificate.
    """

    certificates: tuple[x509.Certificate, ...]
    roots: tuple[x509.Certificate, ...]
    key: SigningKey | None = field(repr=False)

    def material(self) -> SigningMaterial:
        """All of it, when nothing is missing."""
        assert self.key is not None  # noqa: S101 - a missing key is a problem, and with one nobody asks
        signing, *others = self.certificates
        return SigningMaterial(certificate=signing, others=tuple(others), roots=self.roots, key=self.key)


def read_ca_set(layout: Layout, contents: Mapping[str, bytes], problems: list[str]) -> CaSet:
    """Read every part that is there; whether they fit together is for `authority.faults`.

    Args:
        layout: names of the parts.
        contents: what could be had; a name that is not there is the caller's problem.
        problems: gets one line, beginning with the name, for each part that cannot be read.
    """
    certificates = _tried(layout.certificate, contents, problems, read_certificates) or []
    roots = (
        certificates
        if layout.roots == layout.certificate
        else _tried(layout.roots, contents, problems, read_certificates) or []
    )
    if contents.get(layout.chain, b"").strip():  # it may be empty, as Istio's can
        chain = _tried(layout.chain, contents, problems, read_certificates) or []
        certificates = certificates and [*certificates, *chain]
    return CaSet(
        certificates=tuple(dict.fromkeys(certificates)),
        roots=tuple(roots),
        key=_tried(layout.key, contents, problems, read_key),
    )


def _tried(
    name: str, contents: Mapping[str, bytes], problems: list[str], read: Callable[[bytes, str], T]
) -> T | None:
    """What a part holds; a fault goes to the problems."""
    if name not in contents:
        return None
    try:
        return read(contents[name], name)
    except ConfigError as error:
        problems += [f"{name}: {problem}" for problem in error.problems]
        return None
