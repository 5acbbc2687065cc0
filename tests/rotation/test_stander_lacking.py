"""What stands where nothing is to be had below a root: what signed before, as long as it is verified."""

from __future__ import annotations

from dataclasses import replace

import pytest

from meshca.authority.history import Kind, Lifecycle
from meshca.authority.lifecycle import State
from meshca.authority.material import certificate_id, to_pem
from meshca.errors import ConfigError, MeshcaError, Unavailable
from meshca.rotation.stander import order_of
from meshca.rotation.standing import Standing
from tests.fakes.logs import captured_logs
from tests.fakes.pki import NOW, ec_key
from tests.rotation.stander_scene import NEW_CA, NEW_SIGNS, OLD_CA, OLD_SIGNS, PLAN, Scene, id_of, kept_of, record


class TestBehind:
    """A replica that has nothing below the active root."""

    def behind(self, old: State) -> Scene:
        """It has what signed before."""
        scene = Scene(kept_of(old, State.ACTIVE), replica="two")
        scene.upstream.offer(OLD_SIGNS)
        return scene

    async def test_what_signed_before_goes_on_while_its_root_retires(self) -> None:
        """With the bundle in force; why is told, and everybody can see who signs below it."""
        scene = self.behind(State.RETIRING)
        standing = await scene.stand()
        assert standing.signer is standing.serving
        assert (standing.signer.certificate, standing.withheld) == (OLD_SIGNS.certificate, "")
        assert to_pem(*standing.signer.roots) == OLD_CA.pem + NEW_CA.pem
        assert "nothing signs below the root" in str(scene.stander.problem)
        (found,) = scene.store.lifecycle.of(Kind.INTERMEDIATE, State.ACTIVE)
        assert (found.parent, found.replica) == (certificate_id(OLD_CA.certificate), "two")

    async def test_it_also_goes_on_where_the_new_one_cannot_be_had_now(self) -> None:
        """Whatever the reason."""
        scene = Scene(kept_of(State.RETIRING, State.ACTIVE))
        obtain = scene.upstream.obtain

        async def down(root: str) -> object:
            if root == certificate_id(NEW_CA.certificate):
                raise Unavailable("test", "down")
            return await obtain(root)

        scene.upstream.obtain = down  # type: ignore[method-assign,assignment] # below one root only
        assert (await scene.stand()).signer.certificate == OLD_SIGNS.certificate

    async def test_once_it_has_the_new_one_that_signs(self) -> None:
        """And nothing is told any more; what signed before is this replica's no longer."""
        scene = self.behind(State.RETIRING)
        await scene.stand()
        scene.upstream.offer(OLD_SIGNS, NEW_SIGNS)
        standing = await scene.stand()
        assert (standing.signer.certificate, scene.stander.problem) == (NEW_SIGNS.certificate, None)
        assert scene.states() == {id_of(OLD_SIGNS): State.RETIRING, id_of(NEW_SIGNS): State.ACTIVE}

    @pytest.mark.parametrize("old", [State.TAINTED, State.RETIRED], ids=str)
    async def test_nothing_is_signed_below_another_root(self, old: State) -> None:
        """Neither below one whose key is not ours alone nor below one that nobody trusts."""
        with pytest.raises(ConfigError, match="nothing signs below"):
            await self.behind(old).stand()


class TestWithheld:
    """What stands while nothing may be signed."""

    @pytest.mark.parametrize(
        ("kept", "state"),
        [
            pytest.param(kept_of(State.RETIRED, State.ACTIVE), "not trusted any more", id="retired"),
            pytest.param(
                Lifecycle(records=(record(NEW_CA, State.ACTIVE),)), "not trusted any more", id="forgotten"
            ),
            pytest.param(
                replace(kept_of(State.TAINTED, State.ACTIVE), plan=replace(PLAN, tainted_at=NOW)),
                "tainted",
                id="tainted",
            ),
        ],
    )
    def test_where_nobody_will_verify_it(self, kept: Lifecycle, state: str) -> None:
        """The bundle and the order are those of what is kept, and it is told what to do."""
        before = Standing(signer=OLD_SIGNS, serving=OLD_SIGNS)
        standing = Scene(kept).stander.withheld(before, kept, ConfigError("ca", ["put it there"]))
        assert standing is not None
        assert standing.withheld == (
            f"the root that is signed below here is {state}; give this replica what signs below the active one:"
            " ca: put it there"
        )
        assert (standing.bundle, standing.order) == ("".join(one.pem for one in kept.trusted), order_of(kept))
        assert standing.fingerprint != before.fingerprint

    @pytest.mark.parametrize("state", [State.ACTIVE, State.RETIRING, State.DISTRIBUTING], ids=str)
    def test_where_it_is_verified_it_goes_on(self, state: State) -> None:
        """The last good thing is kept."""
        kept = kept_of(state, State.ACTIVE)
        before = Standing(signer=OLD_SIGNS, serving=OLD_SIGNS)
        assert Scene(kept).stander.withheld(before, kept, Unavailable("test", "down")) is None


class TestRefusals:
    """What is not to be had."""

    async def test_without_an_active_root(self) -> None:
        """Nothing can be in force; it may come."""
        with pytest.raises(Unavailable) as error:
            await Scene(kept_of(State.DISTRIBUTING)).stand()
        assert error.value.reason == "no_signer"

    @pytest.mark.parametrize("error", [Unavailable("test", "down"), ConfigError("test", ["bad"])], ids=str)
    async def test_no_material_below_the_active_root(self, error: MeshcaError) -> None:
        """The upstream's word is told."""
        scene = Scene(kept_of())
        scene.upstream.errors["obtain"] = error
        with pytest.raises(type(error)) as found:
            await scene.stand()
        assert found.value is error

    async def test_no_material_below_the_old_root(self) -> None:
        """The server shows a certificate below the new one, which is logged once for each cause."""
        scene = Scene(kept_of(State.RETIRING, State.ACTIVE))
        scene.upstream.materials.pop(certificate_id(OLD_CA.certificate))
        with captured_logs() as logs:
            standings = [await scene.stand() for _ in range(3)]
            scene.offer(OLD_CA, replace(OLD_SIGNS, key=ec_key()))
            standings += [await scene.stand() for _ in range(2)]
        assert all(one.serving is one.signer for one in standings)
        assert [line["event"] for line in logs] == ["serving.below_the_new_root"] * 2

    async def test_material_below_the_old_root_that_is_back(self) -> None:
        """It vouches again, and the next loss is logged again."""
        scene = Scene(kept_of(State.RETIRING, State.ACTIVE))
        old = scene.upstream.materials.pop(certificate_id(OLD_CA.certificate))
        with captured_logs() as logs:
            await scene.stand()
            scene.offer(OLD_CA, old)
            assert (await scene.stand()).serving.certificate == OLD_SIGNS.certificate
            scene.upstream.materials.pop(certificate_id(OLD_CA.certificate))
            await scene.stand()
        assert len(logs) == 2
