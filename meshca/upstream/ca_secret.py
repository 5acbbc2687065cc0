"""Secrets that hold a CA, as Istio reads and writes them: which one counts, what is in it, how one is made.

Pure. Istio looks at `cacerts` first, unless it generated that itself (`istio-generated`), then at
`istio-ca-secret`, then at a `cacerts` that it generated. A Secret without contents counts as none.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from meshca.authority.material import to_pem
from meshca.authority.secret_source import StoredSecret
from meshca.svid.signature import SigningKey
from meshca.upstream.ca_set import CACERTS, GENERATED, TLS, CaSet, Layout, read_ca_set

LARGEST: Final = 512 * 1024  # bytes; a CA bundle of a whole company is half of that
ISTIO_ROOT: Final = "istio.io/ca-root"
ISTIO_SECRET: Final = "istio-ca-secret"  # noqa: S105 - a name
ISTIO_GENERATED: Final = "istio-generated"
_PLUGGED_IN: Final = "cacerts"
_MADE: Final = "key.pem"  # empty; in what Istio or we made, and in nothing that is plugged in
_KINDS: Final = {CACERTS: {"Opaque"}, TLS: {"kubernetes.io/tls", "Opaque"}, GENERATED: {ISTIO_ROOT, "Opaque"}}


def choose(secrets: Sequence[StoredSecret]) -> StoredSecret | None:
    """The Secret that counts: the first that holds something, one that Istio generated in `cacerts` last."""
    holding = [secret for secret in secrets if secret.contents]
    return min(holding, key=lambda secret: ISTIO_GENERATED in secret.contents, default=None)


def layout_of(secret: StoredSecret) -> Layout:
    """How to read it; `tls.crt` wins, as in Istio."""
    if TLS.certificate in secret.contents:
        return TLS
    by_istio = secret.kind == ISTIO_ROOT or secret.name == ISTIO_SECRET or ISTIO_GENERATED in secret.contents
    return GENERATED if by_istio else CACERTS


def is_made(secret: StoredSecret) -> bool:
    """Whether Istio or we made what a Secret with a root holds, even if somebody else made the Secret."""
    return _MADE in secret.contents or layout_of(secret) == GENERATED


def emptied(secret: StoredSecret) -> StoredSecret:
    """The Secret without contents: it counts as none, and whoever may not create one can fill it again."""
    return StoredSecret(name=secret.name, kind=secret.kind, contents={}, version=secret.version)


def read(secret: StoredSecret, problems: list[str]) -> CaSet:
    """The parts of the CA.

    Args:
        secret: of any type and with any contents.
        problems: gets one line, beginning with the key, for everything that keeps it from being read.
    """
    layout = layout_of(secret)
    if secret.kind not in _KINDS[layout]:
        wanted = " or ".join(sorted(_KINDS[layout]))
        problems.append(f"its type is {secret.kind!r}, expected {wanted}; make it anew with that type")
    size = sum(map(len, secret.contents.values()))
    if size > LARGEST:
        problems.append(f"it holds {size} bytes, at most {LARGEST} are read")
        return CaSet(certificates=(), roots=(), key=None)
    problems += [
        f"{name}: is missing; all of {', '.join(layout.names)} are needed"
        for name in layout.names
        if name not in secret.contents
    ]
    return read_ca_set(layout, secret.contents, problems)


def of_root(
    name: str, root: x509.Certificate, key: SigningKey, *, into: StoredSecret | None = None
) -> StoredSecret:
    """A Secret with a self-signed root, as Istio makes its own and takes it over.

    Args:
        name: of the Secret.
        root: the certificate.
        key: its key.
        into: an empty Secret that exists; its type cannot be changed.
    """
    pem = to_pem(root).encode()
    contents = {
        CACERTS.certificate: pem,
        CACERTS.key: key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
        CACERTS.roots: pem,
        CACERTS.chain: b"",
        _MADE: b"",
    }
    if name == _PLUGGED_IN:
        contents[ISTIO_GENERATED] = b""
    if into is None:
        return StoredSecret(name=name, kind=ISTIO_ROOT, contents=contents)
    return StoredSecret(name=name, kind=into.kind, contents=contents, version=into.version)
