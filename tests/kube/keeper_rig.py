"""A keeper of three namespaces, on a cluster in memory and a clock that tests move."""

from __future__ import annotations

from typing import Any

from meshca.kube.api import Forbidden
from meshca.kube.held import Held, read_held
from meshca.kube.keeper import Keeper
from meshca.kube.lease import NotLeading
from tests.fakes.clock import FakeClock
from tests.fakes.jitter import Jitter
from tests.fakes.kube_objects import FakeKube

KEY = "root-cert.pem"
FORBIDDEN = Forbidden("kube_forbidden", "home: patch configmaps in a: forbidden")


class Place:
    """ConfigMaps, by namespace."""

    kind = "config_map"

    def path(self, key: str) -> str:
        """Of one."""
        return f"/api/v1/namespaces/{key}/configmaps/roots"

    def body(self, key: str, text: str) -> dict[str, Any]:
        """What is applied."""
        metadata = {"name": "roots", "namespace": key, "annotations": {"meshca.io/written-by": "a/b"}}
        return {"metadata": metadata, "data": {KEY: text}}

    def read(self, item: Any) -> Held:
        """What one holds."""
        return read_held(item, ("data", KEY), {})


class Rig:
    """A keeper of the namespaces a, b and c, that leads."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.kube = FakeKube()
        self.leading = True
        self.place = Place()
        self.keeper = Keeper(self.kube.api, self.place, self.fence, "a/b", self.clock, rng=Jitter(0.0))
        for name in "abc":
            self.kube.namespace(name)
            self.keeper.keep(name)

    def fence(self) -> None:
        """Lets writes through while we lead."""
        if not self.leading:
            raise NotLeading("not_leading", "somebody else leads")

    async def settle(self, seconds: float = 1.0) -> None:
        """Let it work."""
        await self.clock.advance(seconds)

    def look(self, key: str) -> None:
        """What a watch would tell."""
        text = self.kube.text(self.place.path(key))
        self.keeper.saw(key, None if text is None else self.place.read(self.kube._shown(self.place.path(key))))

    async def edit(self, key: str = "a", manager: str = "them") -> None:
        """Somebody changes an object, and the watch tells of it."""
        self.kube.edit(self.place.path(key), manager, KEY, "edited")
        self.look(key)
        await self.settle(0.1)

    def texts(self) -> list[str | None]:
        """What a, b and c hold."""
        return [self.kube.text(self.place.path(key)) for key in "abc"]
