"""The port of an upstream: whoever signs our signing certificate, and who has or makes our roots.

An upstream reads or makes; it never decides what is in force. `rotation` proves what it offers, decides below
which root is signed, and keeps the last good material when an offer is bad.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from cryptography import x509

from meshca.authority.material import SigningMaterial
from meshca.authority.outside import LeafSource
from meshca.errors import MeshcaError


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """Signing material, and when to ask for other.

    Attributes:
        material: read, but not proven.
        renew_at: when to ask again although nothing changed; None when only a change gives other material.
    """

    material: SigningMaterial
    renew_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A root, as the upstream has or names it.

    Attributes:
        root: its certificate.
        signs: whether material below it can be had; a root that is only named is trusted, but nothing is signed
            below it.
        wanted: whether whoever plugged it in still names it; one that is no longer named can still be kept here,
            so that it signs until another may. Nothing begins with one that is not wanted.
        kept: whether it has signed here: leaves below it may be in use although nobody names it any more.
        made: whether it lies where an operator plugs roots in, but was made there by Istio or by us: it is named
            for as long as it is not forgotten, so nobody has to take it away before it is trusted no more.
        current: whether what signs below it is there now, not only kept here from before; of several that sign and
            are wanted, whoever plugs them in means this one.
        first_use: whether nobody named it: whoever has it was believed the first time. It may begin a mesh, and
            never joins one.
    """

    root: x509.Certificate
    signs: bool
    wanted: bool = True
    kept: bool = False
    made: bool = False
    current: bool = False
    first_use: bool = False


class Upstream(Protocol):
    """Gives signing material below its roots, which are named by `authority.material.certificate_id`."""

    @property
    def problem(self) -> MeshcaError | None:
        """What the operator gave last and cannot be used, or why whoever signs does not, since the last `lines`.

        It is to be shown and changes nothing: what is kept from before goes on. When no line that signs is wanted
        it says why nothing can begin.
        """
        ...

    @property
    def reached_at(self) -> datetime | None:
        """When whoever signs was last there and answered; None before that, and where nobody has to be reached."""
        ...

    @property
    def leaves(self) -> LeafSource | None:
        """Who signs leaves in our place; None where we sign them, and while nobody is open yet."""
        ...

    async def lines(self) -> Sequence[Line]:
        """Every root that there is, the one that began first first; at a first start one is made.

        Raises:
            ConfigError: what the operator gave cannot be used and nothing that signs is kept from before; every
                problem at once.
            Unavailable: it cannot be had now; asking again may help.
        """
        ...

    async def obtain(self, root: str) -> Offer:
        """The material that shall sign below a root: the same as before while it is good, otherwise new.

        Durable before it is offered, so that a restart offers the same; what may be in memory only says so.

        Raises:
            ConfigError: nothing signs below this root, or what does cannot be used and nothing that can is kept.
            Unavailable: it cannot be had now; asking again may help.
        """
        ...

    async def may_make_root(self) -> None:
        """Whether `make_root` could make one with a new key; nothing is made.

        Raises:
            Refused: reason `upstream`, as `make_root` would.
            Unavailable: that cannot be told now.
        """
        ...

    async def make_root(self, *, same_key: str = "") -> Line:
        """A new root with a new key; it is durable, proven, and one of the `lines` when this returns.

        Where replicas share the place and it has room for one new root, the one that another replica has made
        there, even one that was killed then, is given.

        Args:
            same_key: the id of a root whose key is used again, because an operator said so.

        Raises:
            Refused: reason `upstream`: roots are not made here; says where the operator puts one. Or there is no
                root of ours with the id `same_key`.
            ConfigError: the key to be used again, or what was made, is not sound; nothing is left of it.
            Unavailable: it cannot be made now; nothing is left of it.
        """
        ...

    async def forget(self, keep: Collection[str]) -> None:
        """Delete roots that we made or kept and that are not among these, with their keys and all below them.

        What the operator plugged in is the operator's: it is left where it is. Where replicas share the place, a
        root that the last `lines` did not tell is left as well: another has made it since.

        Raises:
            InvariantBroken: reason `forget`: not one that signs is to be kept; nothing was deleted.
            ConfigError: what is there is damaged, so nothing was deleted, or will never be accepted in its place.
            Unavailable: it cannot be deleted now; asking again may help.
        """
        ...

    async def changed(self) -> None:
        """Return when the source has changed since the last `lines`, even if that one failed.

        An upstream whose source does not change by itself never returns.
        """
        ...
