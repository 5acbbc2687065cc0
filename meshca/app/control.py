"""What the parent and a worker say to each other: JSON, one message a line, over a socket pair.

The only channel on which a signing key leaves the parent; nothing that passes here is ever logged. When one end
is gone the other reads end-of-file, which ends an orphaned worker.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Final

import orjson

from meshca.app.leaf_messages import AskLeaf, DropLeaf, GaveLeaf, JudgedLeaf
from meshca.authn.cluster import ClusterState

MAX_LINE: Final = 64 * 1024 * 1024  # bytes; a policy folder is the largest thing that passes


@dataclass(frozen=True, slots=True, kw_only=True)
class Configure:
    """Parent to worker, first: everything that does not change while the worker lives.

    Attributes:
        config: the server's configuration as JSON text.
        token_address: numeric host:port to listen on for callers with a token.
        mtls_address: the same for callers with a certificate.
        name: the worker's name, for logs, metrics and serial prefixes.
        prefix: what its serial numbers begin with.
    """

    config: str = field(repr=False)
    token_address: str
    mtls_address: str
    name: str
    prefix: int


@dataclass(frozen=True, slots=True, kw_only=True)
class UseAuthority:
    """Parent to worker: sign with this from now on; all PEM, signing certificate first.

    Attributes:
        chain, key: below the root that is active; sign what workloads get.
        roots: the whole bundle: every root that is trusted.
        withheld: why nothing is signed for workloads; empty while it is. Then only our own ports are signed for.
        chain_roots: the roots that the chains lead to while nothing is signed, because the bundle may lack them;
            empty otherwise.
        serving_chain, serving_key: below the oldest root that is still trusted and has signed; sign what our own
            ports show, so that who knows only that root still verifies them. Both empty when they are the same.
    """

    chain: str = field(repr=False)
    roots: str = field(repr=False)
    key: str = field(repr=False)
    serving_chain: str = field(default="", repr=False)
    serving_key: str = field(default="", repr=False)
    withheld: str = ""
    chain_roots: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class UseOrder:
    """Parent to worker: leaves below these signing certificates are to be replaced; takes the place of any before.

    Attributes:
        signers: SHA-256 of each signing certificate's DER, lower-case hexadecimal; none: nothing is ordered.
        begun_at: when the window began, ISO 8601 with its offset; empty when nothing is ordered.
        window: seconds over which the replacements are spread.
    """

    signers: tuple[str, ...] = ()
    begun_at: str = ""
    window: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class UseAdmission:
    """Parent to worker: these admission rules, which the parent has parsed without a problem."""

    text: str = field(repr=False)
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class UsePolicies:
    """Parent to worker: these policy files (path to text), which the parent has parsed without a problem."""

    files: Mapping[str, str] = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """Parent to worker: sign and verify a probe certificate, write and read the store, then answer `Probed`."""

    id: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Drain:
    """Parent to worker: take no new work, finish what is in flight within the seconds, then end.

    Attributes:
        replaced: another worker serves in its place already, so connections are simply sent there.
    """

    seconds: float
    replaced: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Ready:
    """Worker to parent: both ports answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """Worker to parent, last: it cannot start, and why, in our own words."""

    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Probed:
    """Worker to parent: how the probe went.

    Attributes:
        id: of the probe.
        ok: whether everything works.
        detail: what does not, in our own words.
        serving: PEM of its TLS certificate.
        answered: false only where the parent made this because the worker said nothing.
        clusters: how it sees Kubernetes clusters.
    """

    id: int
    ok: bool
    detail: str = ""
    serving: str = ""
    answered: bool = True
    clusters: Sequence[ClusterState] = ()


Message = (
    Configure
    | UseAuthority
    | UseOrder
    | UseAdmission
    | UsePolicies
    | AskLeaf
    | DropLeaf
    | GaveLeaf
    | JudgedLeaf
    | Probe
    | Drain
    | Ready
    | Failed
    | Probed
)
_KINDS: Final[dict[str, type[Message]]] = {
    "config": Configure,
    "authority": UseAuthority,
    "order": UseOrder,
    "admission": UseAdmission,
    "policies": UsePolicies,
    "ask_leaf": AskLeaf,
    "drop_leaf": DropLeaf,
    "gave_leaf": GaveLeaf,
    "judged_leaf": JudgedLeaf,
    "probe": Probe,
    "drain": Drain,
    "ready": Ready,
    "failed": Failed,
    "probed": Probed,
}
_NAMES: Final = {kind: name for name, kind in _KINDS.items()}


def kind_of(message: Message) -> str:
    """What a message is called on the channel."""
    return _NAMES[type(message)]


def encode(message: Message) -> bytes:
    """One line, its newline included."""
    return orjson.dumps({"kind": kind_of(message), **asdict(message)}) + b"\n"


def decode(line: bytes) -> Message:
    """The message of one line; both ends run the same code, so a fault here is a bug."""
    tree: dict[str, Any] = orjson.loads(line)
    kind = _KINDS[tree.pop("kind")]
    if kind is UseOrder:
        tree["signers"] = tuple(tree["signers"])
    if kind is Probed:
        tree["clusters"] = tuple(ClusterState(**state) for state in tree["clusters"])
    return kind(**{known.name: tree[known.name] for known in fields(kind)})


def worker_instance(name: str, pid: int) -> str:
    """What the store knows one worker process by; a restarted worker is another instance."""
    return f"{name}-{pid}"


class Channel:
    """One end of a control channel."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def over(cls, connected: socket.socket) -> Channel:
        """The end that a connected socket is; the channel owns it from now on."""
        return cls(*await asyncio.open_connection(sock=connected, limit=MAX_LINE))

    def post(self, *messages: Message) -> None:
        """Give messages to the channel, nothing of anyone else between them, and wait for nobody."""
        if not self._writer.is_closing():  # to a peer that is gone they are lost, like the peer
            self._writer.write(b"".join(map(encode, messages)))

    async def taken(self) -> None:
        """Return once the peer has read most of what was posted, or is gone; a peer that hangs never does."""
        with contextlib.suppress(ConnectionError):
            await self._writer.drain()

    async def send(self, *messages: Message) -> None:
        """Post messages and see them taken; the reading side notices a peer that is gone."""
        self.post(*messages)
        await self.taken()

    async def messages(self) -> AsyncIterator[Message]:
        """What the other end says, until it is gone."""
        with contextlib.suppress(ConnectionError):
            while line := await self._reader.readline():
                if not line.endswith(b"\n"):
                    return  # the other end was killed in the middle of a line
                yield decode(line)

    async def close(self) -> None:
        """Close this end."""
        self._writer.close()
        with contextlib.suppress(ConnectionError):
            await self._writer.wait_closed()
