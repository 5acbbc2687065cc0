"""A session with the client's half of the conversation."""

from __future__ import annotations

from meshca.discovery.event import Push, Resource
from meshca.discovery.session import Session

TIMEOUT = 10.0


def res(name: str, version: str) -> Resource:
    """A resource whose body says what it is."""
    return Resource(name=name, version=version, body=f"{name} {version}".encode())


def shelf(**versions: str) -> dict[str, Resource]:
    """Resources by name."""
    return {name: res(name, version) for name, version in versions.items()}


class Client:
    """A session with the client's half of the conversation."""

    def __init__(self, **versions: str) -> None:
        self.session = Session(stream_id="s", answer_timeout=TIMEOUT)
        self.session.offer(shelf(**versions))
        self.now = 0.0
        self.names: list[str] = []

    def ask(self, *names: str) -> tuple[object, ...]:
        """The first request of a stream."""
        self.names = list(names)
        return self.session.ask(self.names)

    def push(self) -> Push:
        """What is sent now."""
        push = self.session.next_push(self.now)
        assert push is not None
        return push

    def sent(self) -> dict[str, str] | None:
        """Versions by name of what is sent now, None for silence."""
        push = self.session.next_push(self.now)
        return None if push is None else {r.name: r.version for r in push.resources}

    def ack(self, push: Push, *names: str) -> tuple[object, ...]:
        """An acknowledgement, with other names if given."""
        self.names = list(names) or self.names
        return self.session.ask(self.names, nonce=push.nonce, version=push.version)

    def nack(self, push: Push, version: str = "", error: str = "bad") -> tuple[object, ...]:
        """A refusal, naming the version in use."""
        return self.session.ask(self.names, nonce=push.nonce, version=version, error=error)


def settled(**versions: str) -> Client:
    """A client that has acknowledged all of these."""
    client = Client(**versions)
    client.ask(*versions)
    client.ack(client.push())
    return client
