"""What is made for istiod: issued, renewed, and never more often than it must be."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from meshca.app.istiod_certificate import LOOK_SECONDS, RULE, IstiodCertificate
from meshca.app.own_leaves import OwnLeaves
from meshca.authority.serials import Serials
from meshca.authority.served import validity
from meshca.authority.signing import Authority
from meshca.authority.slot import Slot
from meshca.errors import ConfigError, MeshcaError
from meshca.kube.api import Conflict, Forbidden
from meshca.kube.lease import NotLeading
from meshca.kube.tls_secret import TlsMaterial
from meshca.secret import Secret
from tests.fakes.clock import FakeClock
from tests.fakes.jitter import Jitter
from tests.fakes.ledger import FakeLedger
from tests.fakes.logs import captured_logs
from tests.fakes.pki import NOW, TRUST_DOMAIN, good_slot, make_ca, material_of
from tests.fakes.profiles import PROFILE

LIFETIME = timedelta(hours=24)
FORBIDDEN = Forbidden("kube_forbidden", "home: update secrets in istio-system: forbidden")


class FakePlace:
    """Implements the port of the Secret."""

    name = "istio-system/istiod-tls"

    def __init__(self) -> None:
        self.material: TlsMaterial | None = None
        self.written: list[TlsMaterial] = []
        self.unreadable: MeshcaError | None = None
        self.unwritable: MeshcaError | None = None

    async def read(self) -> TlsMaterial | None:
        """What lies there."""
        if self.unreadable is not None:
            raise self.unreadable
        return self.material

    async def write(self, material: TlsMaterial) -> None:
        """Put it there."""
        if self.unwritable is not None:
            raise self.unwritable
        self.material = material
        self.written.append(material)


class Rig:
    """One certificate on a fake clock."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.ledger = FakeLedger(self.clock)
        self.place = FakePlace()
        self.authority = Authority(Serials(5), PROFILE)
        self.authority.replace(good_slot())
        self.leading = True
        self.certificate = self.another()

    def another(self, *names: str) -> IstiodCertificate:
        """The same, as another replica or another configuration has it."""
        leaves = OwnLeaves(
            authority=self.authority, ledger=self.ledger, clock=self.clock, rule=RULE, request_id="parent"
        )
        return IstiodCertificate(
            place=self.place,
            authority=self.authority,
            leaves=leaves,
            names=names or ("istiod.istio-system.svc",),
            lifetime=LIFETIME,
            fence=self.fence,
            clock=self.clock,
            rng=Jitter(1.0),
        )

    def fence(self) -> None:
        """Lets us sign while we lead."""
        if not self.leading:
            raise NotLeading("not_leading", "somebody else leads")

    @property
    def made(self) -> int:
        """How many certificates were signed."""
        return len(self.ledger.intents)


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    """A certificate that is kept."""
    made = Rig()
    with captured_logs():
        task = asyncio.create_task(made.certificate.run())
        await made.clock.advance(0)
        yield made
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_made(rig: Rig) -> None:
    """Chain, key and roots, recorded with a rule of its own; its end is known."""
    (material,) = rig.place.written
    assert material.roots == rig.authority.current().issuer.roots
    assert material.chain.endswith("".join(rig.authority.current().issuer.chain))
    ((intent,),) = [tuple(rig.ledger.intents.values())]
    assert (intent.rule, intent.proven_by) == ("istiod", "self")
    assert rig.certificate.not_after == validity(material.chain)[1]


async def test_half_life(rig: Rig) -> None:
    """Renewed at half of its life with a fresh key, and not before."""
    await rig.clock.advance(LIFETIME.total_seconds() / 2 - 400)
    assert rig.made == 1
    await rig.clock.advance(400 + LOOK_SECONDS)
    first, second = rig.place.written
    assert first.key.reveal() != second.key.reveal()


async def test_another_signer(rig: Rig) -> None:
    """Renewed at once."""
    rig.authority.replace(good_slot())
    rig.certificate.signer_changed()
    await rig.clock.advance(0)
    assert rig.place.written[-1].roots == rig.authority.current().issuer.roots
    assert len(rig.place.written) == 2


async def test_serving_line(rig: Rig) -> None:
    """While a root is changed it is made below the old one with the new roots, and anew when the old one goes."""
    old_root, new_root = make_ca("old root"), make_ca("new root")
    both = [old_root, new_root]
    old = Slot.prove(material_of(make_ca("old", old_root), roots=both), TRUST_DOMAIN, NOW)
    new = Slot.prove(material_of(make_ca("new", new_root), roots=both), TRUST_DOMAIN, NOW)
    for serving in (old, new):
        rig.authority.replace(new, serving)
        rig.certificate.signer_changed()
        await rig.clock.advance(0)
        written = rig.place.written[-1]
        assert written.roots == old_root.pem + new_root.pem
        assert written.chain.endswith("".join(serving.issuer.chain))
    await rig.clock.advance(10 * LOOK_SECONDS)
    assert len(rig.place.written) == 3


async def test_other_names(rig: Rig) -> None:
    """Another configuration makes it anew."""
    task = asyncio.create_task(rig.another("istiod-canary.istio-system.svc").run())
    await rig.clock.advance(0)
    task.cancel()
    assert len(rig.place.written) == 2


async def test_another_replica(rig: Rig) -> None:
    """Who leads next finds it good, and does nothing."""
    task = asyncio.create_task(rig.another().run())
    await rig.clock.advance(60)
    task.cancel()
    assert rig.made == 1


@pytest.mark.parametrize("left", [None, TlsMaterial(chain="", key=Secret(""), roots="")])
async def test_deleted_or_emptied(rig: Rig, left: TlsMaterial | None) -> None:
    """Made anew at the next look."""
    rig.place.material = left
    await rig.clock.advance(LOOK_SECONDS)
    assert len(rig.place.written) == 2


async def test_clock_that_was_set_back(rig: Rig) -> None:
    """One that has not begun yet is of no use."""
    rig.clock._now -= timedelta(hours=2)
    await rig.clock.advance(60 + LOOK_SECONDS)
    assert len(rig.place.written) == 2


async def test_end_of_the_signer_is_not_hurried(rig: Rig) -> None:
    """Near the end of a signer a minute passes between renewals."""
    root = make_ca("root")
    signer = make_ca("signer", root, end=NOW + timedelta(minutes=10))
    rig.authority.replace(Slot.prove(material_of(signer, roots=[root]), TRUST_DOMAIN, NOW))
    rig.certificate.signer_changed()
    await rig.clock.advance(599)
    assert 2 < rig.made <= 12


async def test_somebody_elses(rig: Rig) -> None:
    """A Secret that is not ours is shown, and nothing is signed for it."""
    rig.place.unreadable = ConfigError("Secret istio-system/istiod-tls", ["was made by somebody else"])
    with captured_logs() as logs:
        await rig.clock.advance(LIFETIME.total_seconds())
    assert rig.made == 1
    assert "made by somebody else" in rig.certificate.error
    assert len(logs) == 1
    rig.place.unreadable = None
    await rig.clock.advance(LOOK_SECONDS)
    assert (rig.certificate.error, rig.made) == ("", 2)


async def test_one_that_cannot_be_written() -> None:
    """What is signed in vain is signed ever more rarely; each is in the ledger."""
    rig = Rig()
    rig.place.unwritable = FORBIDDEN
    task = asyncio.create_task(rig.certificate.run())
    with captured_logs():
        await rig.clock.advance(3600)
    task.cancel()
    assert rig.made < 20
    assert rig.certificate.error == FORBIDDEN.detail


async def test_lost_race(rig: Rig) -> None:
    """When another was faster, what it wrote is looked at."""
    rig.place.material = None
    rig.place.unwritable = Conflict("kube_conflict", "home: create secrets: AlreadyExists")
    await rig.clock.advance(LOOK_SECONDS)
    rig.place.material = rig.place.written[0]
    made = rig.made
    await rig.clock.advance(60)
    assert (rig.made, rig.certificate.error) == (made, "")


async def test_fence() -> None:
    """Who does not lead signs nothing."""
    rig = Rig()
    rig.leading = False
    task = asyncio.create_task(rig.certificate.run())
    with captured_logs():
        await rig.clock.advance(60)
    task.cancel()
    assert rig.made == 0


async def test_no_signer_yet() -> None:
    """Before there is a signer there is nothing to do but wait."""
    rig = Rig()
    rig.authority._slot = None
    rig.place.material = TlsMaterial(chain="", key=Secret(""), roots="")
    task = asyncio.create_task(rig.certificate.run())
    with captured_logs():
        await rig.clock.advance(60)
        assert "no signing certificate" in rig.certificate.error
        rig.authority.replace(good_slot())
        await rig.clock.advance(LOOK_SECONDS)
    task.cancel()
    assert len(rig.place.written) == 1


async def test_former_leader() -> None:
    """Who does not lead any more shows neither an old error nor an end that another replica has moved."""
    rig = Rig()
    task = asyncio.create_task(rig.certificate.run())
    with captured_logs():
        await rig.clock.advance(0)
        rig.place.unreadable = FORBIDDEN
        await rig.clock.advance(LOOK_SECONDS)
    assert (rig.certificate.error, rig.certificate.not_after is None) == (FORBIDDEN.detail, False)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert (rig.certificate.error, rig.certificate.not_after) == ("", None)
