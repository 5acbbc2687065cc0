"""The life of the roots, as the doctor tells it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from meshca.authority.history import Kind
from meshca.authority.lifecycle import State
from meshca.doctor.certificates import fingerprint
from meshca.doctor.finding import Said, Unseen, Verdict, ok
from meshca.doctor.root_life import (
    ABORT,
    ASK_THERE,
    LOOK,
    RESUME,
    ROTATE,
    SEE,
    root_expiry,
    root_retired,
    root_rotation,
)
from meshca.doctor.site import Site
from meshca.errors import Unavailable
from tests.fakes.doctor import ISTIO, ROOTS, FakeMesh, config_map
from tests.fakes.pki import DAY, NOW, make_ca
from tests.fakes.root_reports import HOUR, NEW, OLD, WEB, authority, gate, plan, record, root_report, straggler

DOWN = Unavailable("admin_socket", "there is no socket at /var/lib/meshca/admin.sock")
RETIRED = make_ca("retired")
RETIRED_ID = fingerprint(RETIRED.certificate)


@pytest.fixture
def mesh() -> FakeMesh:
    """One that is well."""
    return FakeMesh()


@pytest.mark.parametrize("check", [root_expiry, root_rotation, root_retired])
async def test_no_server_to_ask(mesh: FakeMesh, check: Callable[[Site], Awaitable[Said]]) -> None:
    """It is not known, and where to ask is said."""
    mesh.roots.fault = DOWN
    with pytest.raises(Unseen) as unseen:
        await check(mesh.site())
    assert (unseen.value.said.found, unseen.value.said.mend) == (DOWN.detail, (ASK_THERE,))


class TestExpiry:
    """What ends soon."""

    async def test_nothing(self, mesh: FakeMesh) -> None:
        """What signs, and until when."""
        below = record(id=NEW, kind=Kind.INTERMEDIATE, parent=OLD)
        both = (authority(), authority(record=below, not_after=NOW + 30 * DAY))
        mesh.roots.told = replace(mesh.roots.told, authorities=both)
        until = "root 0a0a0a0a0a0a until 2035-12-30T00:00:00+00:00"
        assert await root_expiry(mesh.site()) == ok(
            f"{until}, intermediate 0b0b0b0b0b0b until 2026-01-31T00:00:00+00:00"
        )

    async def test_no_root(self, mesh: FakeMesh) -> None:
        """Before the first."""
        mesh.roots.told = replace(mesh.roots.told, authorities=())
        assert (await root_expiry(mesh.site())).verdict is Verdict.UNKNOWN

    @pytest.mark.parametrize(
        ("ending", "of_plan", "mend"),
        [
            (record(), None, ROTATE),
            (record(), plan(), "a rotation is under way: see what `root-rotation` says"),
            (record(), plan(old="0c" * 32), ROTATE),
            (
                record(id=NEW, kind=Kind.INTERMEDIATE, parent=OLD),
                None,
                LOOK,
            ),
        ],
        ids=["root", "its-rotation", "another's-rotation", "intermediate"],
    )
    async def test_soon(self, mesh: FakeMesh, ending: Any, of_plan: Any, mend: str) -> None:
        """Half a year ahead of a root's end, in plain words, with the command that mends it."""
        life = timedelta(days=3650) if ending.kind is Kind.ROOT else 40 * DAY
        left = timedelta(days=170) if ending.kind is Kind.ROOT else 9 * DAY
        near = authority(record=ending, not_before=NOW + left - life, not_after=NOW + left)
        mesh.roots.told = replace(mesh.roots.told, authorities=(near,), plan=of_plan)
        said = await root_expiry(mesh.site())
        assert (said.verdict, said.mend) == (Verdict.WRONG, (mend,))
        assert f"{ending.kind} {ending.id[:12]} ends at " in said.found
        assert f", in {left.days} days: " in said.found

    async def test_two_that_mend_alike(self, mesh: FakeMesh) -> None:
        """Each end is told, and what mends both once."""
        ends = {"not_before": NOW - 3650 * DAY, "not_after": NOW + 5 * DAY}
        near = (authority(**ends), authority(record=record(id=NEW, state=State.RETIRING), **ends))
        mesh.roots.told = replace(mesh.roots.told, authorities=near)
        said = await root_expiry(mesh.site())
        assert said.mend == (ROTATE,)
        assert OLD[:12] in said.found
        assert NEW[:12] in said.found


class TestRotation:
    """A rotation that stands still."""

    async def test_none(self, mesh: FakeMesh) -> None:
        """Nothing waits."""
        assert await root_rotation(mesh.site()) == ok("no root is being replaced")

    async def test_prepared(self, mesh: FakeMesh) -> None:
        """What a root that nobody trusts yet waits for is said."""
        mesh.roots.told = replace(mesh.roots.told, next_step="0b0b: prepared")
        assert await root_rotation(mesh.site()) == ok("0b0b: prepared")

    async def test_held(self, mesh: FakeMesh) -> None:
        """By whom, and what can be done; nothing says that it ends by itself."""
        four = (*(straggler(pod=f"web-{number}") for number in range(3)), straggler(pod="", why="last"))
        mesh.roots.told = root_report(gate=gate(stragglers=four))
        said = await root_rotation(mesh.site())
        assert said.verdict is Verdict.WRONG
        assert said.found == "held: sign below the new root; waits until every workload trusts it"
        assert said.mend == (
            *(f"{WEB} web-{number}: does not trust the new root yet; restart its agent" for number in range(3)),
            SEE,
            ABORT.format(how=""),
        )

    async def test_nobody_is_named(self, mesh: FakeMesh) -> None:
        """A workload without a pod is called by its identity."""
        mesh.roots.told = root_report(gate=gate(stragglers=(straggler(pod="", why="away"),)))
        assert (await root_rotation(mesh.site())).mend[0] == f"{WEB}: away"

    @pytest.mark.parametrize(
        ("at", "more"),
        [
            (gate(open=True), ""),
            (None, ""),
            (gate(opens_at=NOW + HOUR), "; at 2026-01-01T01:00:00+00:00 at the latest"),
        ],
        ids=["open", "no-gate", "opens-by-itself"],
    )
    async def test_goes_on(self, mesh: FakeMesh, at: Any, more: str) -> None:
        """One that needs nobody is well."""
        mesh.roots.told = root_report(next_step="sign", gate=at)
        assert await root_rotation(mesh.site()) == ok(f"under way: sign{more}")

    @pytest.mark.parametrize(("compromised", "how"), [(False, ""), (True, "--compromised ")])
    async def test_paused(self, mesh: FakeMesh, compromised: bool, how: str) -> None:  # noqa: FBT001 - a row
        """Somebody has to resume it; where a stolen root is replaced they have to say that they know."""
        mesh.roots.told = root_report(plan=plan(paused=True, compromised=compromised), next_step="paused")
        said = await root_rotation(mesh.site())
        assert (said.verdict, said.found, said.mend) == (
            Verdict.WRONG,
            "paused",
            (RESUME.format(how=how), ABORT.format(how=how)),
        )

    @pytest.mark.parametrize(("at", "found"), [(gate(why="no store"), "no store"), (None, "sign")])
    async def test_nobody_can_be_counted(self, mesh: FakeMesh, at: Any, found: str) -> None:
        """Whether it stands still is not known."""
        mesh.roots.told = root_report(fleet=None, next_step="sign", gate=at)
        said = await root_rotation(mesh.site())
        assert (said.verdict, said.found) == (Verdict.UNKNOWN, found)


class TestRetired:
    """A root that is trusted no more by us, and still by others."""

    @pytest.fixture
    def mesh(self) -> FakeMesh:
        """One whose root was replaced."""
        mesh = FakeMesh()
        mesh.roots.kept = [record(id=RETIRED_ID, state=State.RETIRED), record()]
        return mesh

    async def test_none_was(self) -> None:
        """Nothing is looked at."""
        mesh = FakeMesh()
        assert await root_retired(mesh.site()) == ok("no root was retired")
        assert mesh.server.asked == []

    async def test_gone(self, mesh: FakeMesh) -> None:
        """A namespace without the ConfigMap publishes nothing."""
        del mesh.server.objects[ROOTS.format("shop")]
        assert await root_retired(mesh.site()) == ok("none of 1 retired is in istio-ca-root-cert")

    async def test_still_there(self, mesh: FakeMesh) -> None:
        """Where, by whom, and what takes it out."""
        left = config_map({"root-cert.pem": mesh.ca.pem + RETIRED.pem}, "shop", manager="kubectl-edit")
        mesh.server.objects[ROOTS.format("shop")] = left
        said = await root_retired(mesh.site())
        assert said.verdict is Verdict.WRONG
        assert said.found == (
            f"{RETIRED_ID[:12]}: retired, but readers of istio-ca-root-cert of 1 of 2 namespaces (shop) trust it"
            " still; written by kubectl-edit"
        )
        assert said.mend == ("kubectl -n shop delete configmap istio-ca-root-cert; meshca writes it anew",)

    async def test_published_by_others(self, mesh: FakeMesh) -> None:
        """Where meshca does not write, they write it anew."""
        mesh.configure(root_config_map={"enabled": False, "namespaces": [ISTIO, "shop"]})
        left = config_map({"root-cert.pem": RETIRED.pem}, ISTIO)
        del left["metadata"]["managedFields"]
        mesh.server.objects[ROOTS.format(ISTIO)] = left
        said = await root_retired(mesh.site())
        assert said.found.endswith("written by nobody known")
        (mend,) = said.mend
        assert mend.endswith("delete configmap istio-ca-root-cert; then write it anew without the retired root")
