"""What the mount has: its issuers, and which of them signs. Asked without a login, so that it costs no token.

Certificates are parsed here and judged elsewhere: whether a root is trusted is for `upstream.vault.trust`.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from meshca.authority.chain import find_path, signed_by
from meshca.authority.material import read_certificates
from meshca.errors import ConfigError
from meshca.upstream.vault.answer import MOST, Part
from meshca.upstream.vault.client import Client
from meshca.upstream.vault.faults import Fault, failure

_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")  # becomes part of a path


@dataclass(frozen=True, slots=True, kw_only=True)
class Issuer:
    """One issuer.

    Attributes:
        id: what the server calls it for ever.
        certificate: its certificate.
        others: what the server says is above it, in any order.
    """

    id: str
    certificate: x509.Certificate
    others: tuple[x509.Certificate, ...]

    def path(self, roots: Sequence[x509.Certificate]) -> tuple[x509.Certificate, ...]:
        """From its certificate up to one of these roots, found by signatures; empty when there is no way."""
        return find_path(self.certificate, self.others, roots)


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """A mount at one moment.

    Attributes:
        current: the issuer that the configuration names.
        issuers: all, the current one first.
    """

    current: Issuer
    issuers: tuple[Issuer, ...]

    @property
    def roots(self) -> tuple[x509.Certificate, ...]:
        """Every self-signed certificate in the mount, each once, those above the current issuer first."""
        found = (one for issuer in self.issuers for one in (issuer.certificate, *issuer.others))
        return tuple(dict.fromkeys(one for one in found if signed_by(one, one)))

    @property
    def digest(self) -> str:
        """Equal for an equal mount."""
        digest = hashlib.sha256(self.current.id.encode())
        for issuer in sorted(self.issuers, key=lambda one: one.id):
            for certificate in (issuer.certificate, *issuer.others):
                digest.update(certificate.public_bytes(Encoding.DER))
        return digest.hexdigest()


async def look(client: Client, mount: str, ref: str) -> Look:
    """Read the mount.

    Args:
        client: asks without a token.
        mount: path of the engine.
        ref: the issuer that shall sign: a name, an id, or `default`.

    Raises:
        Unavailable: reason `vault_<fault>`.
    """
    issuers = [await _issuer(client, mount, ref)]
    for id_ in await _listed(client, mount):
        if id_ != issuers[0].id:
            issuers.append(await _issuer(client, mount, id_))
        if len({one for issuer in issuers for one in (issuer.certificate, *issuer.others)}) > MOST:
            raise failure(
                Fault.ANSWER, f"more than {MOST} certificates in the mount: delete issuers that are over"
            )
    return Look(current=issuers[0], issuers=tuple(issuers))


async def _listed(client: Client, mount: str) -> Sequence[str]:
    data = (await client.call("get", f"{mount}/issuers?list=true")).data
    keys = data.fields.get("keys")
    if isinstance(keys, list) and len(keys) > MOST:
        raise failure(Fault.ANSWER, f"more than {MOST} issuers: delete old ones")
    return [_id(one) for one in data.texts("keys")]


async def _issuer(client: Client, mount: str, ref: str) -> Issuer:
    data = (await client.call("get", f"{mount}/issuer/{ref}/json")).data
    return Issuer(
        id=_id(data.text("issuer_id")),
        certificate=certificates((data.text("certificate"),))[0],
        others=certificates(data.texts("ca_chain")),
    )


def _id(text: str) -> str:
    """An issuer's id, fit to be part of a path.

    Raises:
        Unavailable: reason `vault_answer`.
    """
    if not _ID.fullmatch(text):
        raise failure(Fault.ANSWER, "it names an issuer by no id")
    return text


def certificates(pems: Sequence[str]) -> tuple[x509.Certificate, ...]:
    """The certificates in some texts of an answer, each once.

    Raises:
        Unavailable: reason `vault_answer`, when one cannot be read, or there are too many.
    """
    try:
        found = [one for pem in pems for one in read_certificates(pem.encode(), "answer")]
    except ConfigError:
        raise failure(Fault.ANSWER, "it holds a text that is no certificate") from None
    if len(found) > MOST:
        raise failure(Fault.ANSWER, f"it holds more than {MOST} certificates")
    return tuple(dict.fromkeys(found))


def chain_of(data: Part) -> tuple[x509.Certificate, ...]:
    """What a signing answer says is above the new certificate, itself included or not, in any order."""
    issuing = data.fields.get("issuing_ca")
    return certificates((*data.texts("ca_chain"), *((data.text("issuing_ca"),) if issuing else ())))
