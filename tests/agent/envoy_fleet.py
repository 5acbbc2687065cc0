"""The Envoys of one agent: a test says what each asks for and answers, and reads the verdict."""

from __future__ import annotations

from meshca.agent.attendance import Attendance
from meshca.agent.envoys import Envoys
from meshca.config.resource_names import AUTHZ, EXTENSION_TYPE_URL, ROOTCA, SECRET_TYPE_URL
from meshca.discovery.event import Adopted, Closed, Event, Refused, Subscribed
from meshca.wire.node import Node
from meshca.wire.xds_streams import Notice

ROOT_NAMES = (ROOTCA, "spiffe://cluster.local")


class Fleet:
    """Envoys by a letter each; a stream for each of their names."""

    def __init__(self, attendance: Attendance | None = None) -> None:
        self.envoys = Envoys(attendance)

    def tell(self, envoy: str, name: str, event: Event) -> None:
        """Something happened on an Envoy's stream for a name."""
        type_url = EXTENSION_TYPE_URL if name == AUTHZ else SECRET_TYPE_URL
        notice = Notice(peer=envoy, stream=f"{envoy}-{name}", node=Node(), type_url=type_url, event=event)
        self.envoys.observe(notice, ord(envoy))

    def asks(self, envoy: str, *names: str) -> None:
        """Subscribe."""
        for name in names:
            self.tell(envoy, name, Subscribed(names=frozenset({name})))

    def takes(self, envoy: str, name: str, version: str) -> None:
        """Acknowledge."""
        self.tell(envoy, name, Adopted(versions={name: version}))

    def refuses(self, envoy: str, name: str, version: str, error: str = "no") -> None:
        """Refuse."""
        self.tell(envoy, name, Refused(versions={name: version}, error=error))

    def leaves(self, envoy: str, *names: str) -> None:
        """Disconnect."""
        for name in names:
            self.tell(envoy, name, Closed(names=frozenset({name})))

    def roots(self, version: str = "v2") -> object:
        """The verdict on the roots."""
        return self.envoys.verdict(SECRET_TYPE_URL, ROOT_NAMES, version)

    def policies(self, version: str = "p2") -> object:
        """The verdict on the policies."""
        return self.envoys.verdict(EXTENSION_TYPE_URL, (AUTHZ,), version)
