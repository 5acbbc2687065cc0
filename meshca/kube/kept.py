"""What a keeper keeps: where the text goes, and what is known of each object that holds it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from meshca.errors import MeshcaError
from meshca.kube.api import Tree
from meshca.kube.held import Held
from meshca.kube.rivalry import Rivalry


class Place(Protocol):
    """What is kept where.

    Attributes:
        kind: config_map or trust_bundle: metric label and log field.
    """

    kind: str

    def path(self, key: str) -> str:
        """Of the object with this key."""
        ...

    def body(self, key: str, text: str) -> Tree:
        """What is applied."""
        ...

    def read(self, item: Tree) -> Held:
        """What an object holds."""
        ...


@dataclass(slots=True)
class KeptObject:
    """What is known of one object."""

    held: Held | None = None
    wrote: str = ""  # digest of what we wrote last, until it was taken from us
    version: str = ""  # the resourceVersion of that
    deleted: bool = False  # seen since our write under way began
    rivalry: Rivalry = Rivalry()  # noqa: RUF009 - frozen
    failing: int = 0
    error: MeshcaError | None = None
    foreign: str = ""  # why what somebody else keeps there is left to them


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """How it stands.

    Attributes:
        in_sync: objects that hold the text.
        pending: those that do not yet.
        failing: key -> why the last write was refused.
        contested: key -> who keeps changing it.
        foreign: key -> what of somebody else it holds that must not be replaced, and what to do.
        error: why nothing can be written at all; empty when something can.
    """

    in_sync: int
    pending: int
    failing: tuple[tuple[str, str], ...] = ()
    contested: tuple[tuple[str, str], ...] = ()
    foreign: tuple[tuple[str, str], ...] = ()
    error: str = ""

    @property
    def everywhere(self) -> bool:
        """Whether there are objects, every one of which holds the text and is left in peace."""
        amiss = self.pending or self.failing or self.contested or self.foreign or self.error
        return self.in_sync > 0 and not amiss
