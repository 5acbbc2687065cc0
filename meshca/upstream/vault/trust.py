"""Which roots of the mount count: those that the operator pinned, or accepts because the configuration says so.

Whoever may write to the mount must not be able to decide whom the mesh trusts, unless that was chosen.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Sequence

from cryptography import x509

from meshca import durable
from meshca.authority.chain import signed_by
from meshca.authority.material import certificate_id, read_certificates
from meshca.config.vault import VaultRoots
from meshca.errors import ConfigError

MeshRoots = Callable[[], Awaitable[Collection[str]]]
"""Gives the ids of the roots that the mesh trusts now, whoever signs for it; none before its first."""


async def no_mesh() -> Collection[str]:
    """Of a mesh that has not begun."""
    return ()


def pinned_by_file(config: VaultRoots) -> tuple[x509.Certificate, ...]:
    """The roots in the file, which may lack in the mount; none when roots are not pinned by a file.

    Raises:
        ConfigError: it cannot be read, or holds something else than roots.
    """
    if config.file is None:
        return ()
    source = f"upstream.roots.file: {config.file}"
    roots = read_certificates(durable.read(config.file), source)
    strange = [root for root in roots if not signed_by(root, root)]
    if strange:
        named = ", ".join(one.subject.rfc4514_string() for one in strange)
        raise ConfigError(
            source, [f"holds a certificate that is not self-signed, so no root: {named}; take it out"]
        )
    return tuple(dict.fromkeys(roots))


def still_pinned(config: VaultRoots, known: Sequence[x509.Certificate]) -> tuple[x509.Certificate, ...]:
    """Of the roots that counted before those that the pins of today, if there are any, name.

    Raises:
        ConfigError: as `pinned_by_file`.
    """
    if config.file is None and not config.sha256:
        return tuple(known)
    pinned = {*config.sha256, *map(certificate_id, pinned_by_file(config))}
    return tuple(root for root in known if certificate_id(root) in pinned)


def accepted(  # noqa: PLR0913 - what it goes by, by name
    config: VaultRoots,
    offered: Sequence[x509.Certificate],
    *,
    pinned: Sequence[x509.Certificate],
    current: x509.Certificate | None,
    known: Sequence[x509.Certificate],
    mesh: Collection[str] = (),
) -> tuple[x509.Certificate, ...]:
    """The roots that count, in the order of the mount, pinned ones first.

    Args:
        config: how roots are accepted.
        offered: the self-signed certificates of the mount.
        pinned: the roots of the file.
        current: the root above the issuer that signs; None when the mount does not have it.
        known: that were accepted before.
        mesh: ids of the roots that the mesh trusts: the first use is over when it has one, whoever met it.
    """
    if config.file is not None:
        return tuple(pinned)
    if config.sha256:
        return tuple(root for root in offered if certificate_id(root) in config.sha256)
    if config.accept == "any":
        return tuple(offered)
    first = () if current is None else (current,)
    if mesh:
        return tuple(root for root in dict.fromkeys((*known, *first)) if certificate_id(root) in mesh)
    return tuple(known) or first
