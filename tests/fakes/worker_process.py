"""A process that speaks the control channel as its arguments say, in place of a worker.

`python tests/fakes/worker_process.py MODE… FD`; modes: serve, fail, crash, deaf (reads but never answers),
hung (says that it serves, then is stopped like a process that hangs), asks (for a leaf while it drains, says
that it is good, and what it was given as why it ends), drops (asks for two leaves and takes the first back,
else as asks).
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys

from meshca.app.control import Channel, Drain, Failed, Message, Probe, Probed, Ready
from meshca.app.leaf_messages import AskLeaf, DropLeaf, GaveLeaf, JudgedLeaf

FIRST, SECOND = (AskLeaf(id=number, csr="CSR", identity="web", not_after="now", issuer="one") for number in (1, 2))
ASKING: dict[str, list[Message]] = {"asks": [FIRST], "drops": [SECOND, FIRST, DropLeaf(id=2), DropLeaf(id=2)]}


async def main(mode: str, fd: int) -> int:
    """Behave as the mode says until the parent closes the channel."""
    channel = await Channel.over(socket.socket(fileno=fd))
    if mode == "crash":
        return 3
    if mode == "fail":
        await channel.send(Failed(detail="the store is not there"))
        await channel.close()
        return 1
    if mode in {"serve", "hung", *ASKING}:
        await channel.send(Ready())
    if mode == "hung":
        os.kill(os.getpid(), signal.SIGSTOP)
    async for message in channel.messages():
        match message:
            case Probe(id=number) if mode == "serve":
                await channel.send(Probed(id=number, ok=True, detail=os.environ.get("WORKER", "")))
            case Drain() if mode == "serve":
                await channel.close()
                return 0
            case Drain() if mode in ASKING:
                await channel.send(*ASKING[mode])
            case GaveLeaf(id=1, leaf=leaf):
                await channel.send(JudgedLeaf(identity=FIRST.identity), Failed(detail=leaf))
                await channel.close()
                return 0
            case _:
                pass
    return 4


if __name__ == "__main__":
    sys.exit(asyncio.run(main(sys.argv[1], int(sys.argv[2]))))
