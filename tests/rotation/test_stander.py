"""What is put in force out of what is kept: the signer, who vouches for the server, the bundle, the order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

import pytest

from meshca.authority.drafting import Planned
from meshca.authority.history import Change, Kind, Lifecycle, Plan, Record
from meshca.authority.lifecycle import State
from meshca.authority.material import SigningMaterial, certificate_id, to_pem
from meshca.errors import ConfigError, Conflict, MeshcaError, Unavailable
from meshca.rotation.stander import Stander, order_of
from meshca.rotation.standing import NO_ORDER, Standing
from tests.fakes.clock import FakeClock
from tests.fakes.lifecycle_store import FakeLifecycles
from tests.fakes.logs import captured_logs
from tests.fakes.pki import DAY, NOW, TRUST_DOMAIN, Ca, ec_key, good_material, make_ca, material_of
from tests.fakes.roots import MINUTE, NEW, OLD, intermediate, rotating
from tests.fakes.upstream import FakeUpstream

OLD_CA, NEW_CA = make_ca("old"), make_ca("new")
OLD_SIGNS, NEW_SIGNS = good_material(root=OLD_CA), good_material(root=NEW_CA)
RENEWED = good_material(root=OLD_CA)
PLAN = Plan(old=OLD, new=NEW, automatic=True, compromised=True, window=5 * MINUTE, started_at=NOW, by="anna")


def record(ca: Ca, state: State) -> Record:
    """A root."""
    return Record(id=certificate_id(ca.certificate), kind=Kind.ROOT, state=state, pem=ca.pem, since=NOW)


def kept_of(old: State = State.ACTIVE, new: State | None = None) -> Lifecycle:
    """The old root alone, or both."""
    roots = (record(OLD_CA, old), *(() if new is None else (record(NEW_CA, new),)))
    return Lifecycle(generation=1, records=roots)


class Scene:
    """A stander over an upstream that signs below both roots."""

    def __init__(self, kept: Lifecycle, replica: str = "") -> None:
        self.upstream = FakeUpstream(OLD_SIGNS, NEW_SIGNS)
        self.store = FakeLifecycles(kept)
        self.clock = FakeClock(NOW)
        self.stander = Stander(
            upstream=self.upstream,
            keep=self._keep,
            clock=self.clock,
            trust_domain=TRUST_DOMAIN,
            replica=replica,
        )

    async def _keep(self, _before: Lifecycle, made: Planned) -> Lifecycle:
        after, changes = made
        await self.store.commit(after, changes)
        return after

    async def stand(self) -> Standing:
        """What shall be in force."""
        _, standing, _ = await self.stander.stand(self.store.lifecycle)
        return standing

    def states(self) -> dict[str, State]:
        """Of the intermediates, by id."""
        return {one.id: one.state for one in self.store.lifecycle.of(Kind.INTERMEDIATE)}

    def offer(self, root: Ca, material: SigningMaterial) -> None:
        """From now on below this root."""
        self.upstream.materials[certificate_id(root.certificate)] = material


def id_of(material: SigningMaterial) -> str:
    """What the signer is called."""
    return certificate_id(material.certificate)


class TestSigner:
    """Who signs, and who vouches for the server."""

    async def test_one_root(self) -> None:
        """One signer does both."""
        standing = await Scene(kept_of()).stand()
        assert standing.signer is standing.serving
        assert (standing.signer.certificate, standing.order) == (OLD_SIGNS.certificate, NO_ORDER)

    async def test_a_root_that_is_distributed_is_in_the_bundle_and_signs_nothing(self) -> None:
        """Nor does it vouch for the server."""
        standing = await Scene(kept_of(new=State.DISTRIBUTING)).stand()
        assert standing.signer.certificate == standing.serving.certificate == OLD_SIGNS.certificate
        assert to_pem(*standing.signer.roots) == OLD_CA.pem + NEW_CA.pem

    async def test_a_root_that_is_prepared_is_not_in_the_bundle(self) -> None:
        """Nobody trusts it yet."""
        standing = await Scene(kept_of(new=State.PREPARED)).stand()
        assert to_pem(*standing.signer.roots) == OLD_CA.pem

    @pytest.mark.parametrize("state", [State.RETIRING, State.TAINTED], ids=str)
    async def test_the_root_that_signed_before_vouches_for_the_server(self, state: State) -> None:
        """Who knows only that one still verifies us; both carry the whole bundle."""
        standing = await Scene(kept_of(state, State.ACTIVE)).stand()
        assert standing.signer.certificate == NEW_SIGNS.certificate
        assert standing.serving.certificate == OLD_SIGNS.certificate
        assert standing.signer.root_set == standing.serving.root_set

    async def test_after_an_abort_the_old_root_does_both(self) -> None:
        """The new one is trusted only."""
        standing = await Scene(kept_of(State.ACTIVE, State.DISTRIBUTING)).stand()
        assert standing.serving.certificate == OLD_SIGNS.certificate

    async def test_what_is_retired_is_gone(self) -> None:
        """From the bundle, and from what we show."""
        standing = await Scene(kept_of(State.RETIRED, State.ACTIVE)).stand()
        assert standing.serving.certificate == NEW_SIGNS.certificate
        assert to_pem(*standing.signer.roots) == NEW_CA.pem

    @pytest.mark.parametrize(
        ("old", "new", "expected"), [(3, None, 3), (3, 2, 2), (2, 3, 2), (None, None, None)], ids=str
    )
    async def test_the_first_of_both_renewals(
        self, old: int | None, new: int | None, expected: int | None
    ) -> None:
        """Is when to ask again."""
        scene = Scene(kept_of(State.RETIRING, State.ACTIVE))
        times = {id_of(OLD_SIGNS): old, id_of(NEW_SIGNS): new}
        obtain = scene.upstream.obtain

        async def timed(root: str) -> object:
            offer = await obtain(root)
            days = times[id_of(offer.material)]
            return replace(offer, renew_at=None if days is None else NOW + days * DAY)

        scene.upstream.obtain = timed  # type: ignore[method-assign,assignment] # each with its own time
        _, _, renew_at = await scene.stander.stand(scene.store.lifecycle)
        assert renew_at == (None if expected is None else NOW + expected * DAY)


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


class TestKept:
    """A signer is kept before it signs."""

    async def test_a_new_one(self) -> None:
        """With the root it is below, and who signs by it."""
        scene = Scene(kept_of(), replica="one")
        await scene.stand()
        (found,) = scene.store.lifecycle.of(Kind.INTERMEDIATE)
        assert (found.id, found.state, found.replica) == (id_of(OLD_SIGNS), State.ACTIVE, "one")
        assert found.parent == certificate_id(OLD_CA.certificate)

    async def test_once(self) -> None:
        """What is known is not kept again."""
        scene = Scene(kept_of())
        await scene.stand()
        await scene.stand()
        assert scene.store.commits == 1

    async def test_a_renewed_one_takes_its_place(self) -> None:
        """The one before retires, for leaves below it live."""
        scene = Scene(kept_of())
        await scene.stand()
        scene.offer(OLD_CA, RENEWED)
        await scene.stand()
        assert scene.states() == {id_of(OLD_SIGNS): State.RETIRING, id_of(RENEWED): State.ACTIVE}

    async def test_one_below_the_old_root_does_not_take_the_place_of_what_signs(self) -> None:
        """It was renewed in the middle of a rotation, and vouches for the server only."""
        scene = Scene(kept_of(State.RETIRING, State.ACTIVE))
        await scene.stand()
        scene.offer(OLD_CA, RENEWED)
        await scene.stand()
        assert scene.states()[id_of(NEW_SIGNS)] is State.ACTIVE
        assert scene.states()[id_of(RENEWED)] is State.RETIRING

    async def test_one_that_signs_again_after_an_abort_is_active_again(self) -> None:
        """It was known already."""
        scene = Scene(kept_of(State.RETIRING, State.ACTIVE))
        await scene.stand()
        before = scene.store.lifecycle
        roots = (record(OLD_CA, State.ACTIVE), record(NEW_CA, State.DISTRIBUTING))
        scene.store.lifecycle = replace(before, records=(*roots, *before.of(Kind.INTERMEDIATE)))
        await scene.stand()
        assert scene.states() == {id_of(OLD_SIGNS): State.ACTIVE, id_of(NEW_SIGNS): State.RETIRING}

    async def test_a_root_that_signs_itself_is_no_intermediate(self) -> None:
        """There is nothing to keep."""
        scene = Scene(kept_of())
        scene.offer(OLD_CA, material_of(OLD_CA, roots=[OLD_CA]))
        await scene.stand()
        assert (scene.states(), scene.store.commits) == ({}, 0)

    async def test_one_that_does_not_prove_itself_is_not_kept(self) -> None:
        """With what is wrong."""
        scene = Scene(kept_of())
        scene.offer(OLD_CA, replace(OLD_SIGNS, key=ec_key()))
        with pytest.raises(ConfigError, match="not its own"):
            await scene.stand()
        assert scene.store.commits == 0

    @pytest.mark.parametrize("error", [Unavailable("store", "gone"), Conflict("generation", "late")], ids=str)
    async def test_one_that_cannot_be_kept_does_not_sign(self, error: MeshcaError) -> None:
        """The store's refusal is told."""
        scene = Scene(kept_of())

        async def fails(_: Lifecycle, __: Sequence[Change]) -> None:
            raise error

        scene.store.commit = fails  # type: ignore[method-assign,assignment] # for this test
        with pytest.raises(type(error)) as found:
            await scene.stand()
        assert found.value is error


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


class TestProof:
    """`prove`: both signers, with the bundle in force."""

    async def test_who_signs_and_who_vouches_for_the_server(self) -> None:
        """A slot for each."""
        scene = Scene(kept_of(State.RETIRING, State.ACTIVE))
        signer, serving = scene.stander.prove(await scene.stand())
        assert (signer.issuer.signer_id, serving.issuer.signer_id) == (id_of(NEW_SIGNS), id_of(OLD_SIGNS))

    async def test_one_that_does_both_is_proven_once(self) -> None:
        """It is one slot."""
        scene = Scene(kept_of())
        signer, serving = scene.stander.prove(await scene.stand())
        assert signer is serving

    @pytest.mark.parametrize("part", ["signer", "serving"])
    async def test_either_that_is_bad_is_refused(self, part: str) -> None:
        """Nothing is put in force by halves."""
        scene = Scene(kept_of(State.RETIRING, State.ACTIVE))
        standing = await scene.stand()
        bad = replace(getattr(standing, part), key=ec_key())
        with pytest.raises(ConfigError):
            scene.stander.prove(replace(standing, **{part: bad}))


class TestOrder:
    """Who must renew."""

    def test_everybody_below_a_tainted_root(self) -> None:
        """The root itself, which may have signed, and every intermediate that was ever below it."""
        kept = rotating(State.TAINTED, State.ACTIVE)
        kept = replace(
            kept,
            records=(*kept.records, intermediate("older", OLD, State.RETIRED)),
            plan=replace(PLAN, tainted_at=NOW, window=timedelta(0)),
        )
        order = order_of(kept)
        assert (order.signers, order.begun_at, order.window) == ((OLD, "ia", "older"), NOW, timedelta(0))

    @pytest.mark.parametrize(
        "kept",
        [
            replace(rotating(State.RETIRING, State.ACTIVE), plan=PLAN),
            replace(rotating(State.RETIRED, State.ACTIVE), plan=replace(PLAN, tainted_at=NOW)),
            replace(rotating(State.TAINTED, State.ACTIVE), plan=PLAN),
            rotating(State.TAINTED, State.ACTIVE),
        ],
        ids=["not-yet", "over", "no-beginning", "no-plan"],
    )
    def test_nobody_otherwise(self, kept: Lifecycle) -> None:
        """Before a root is tainted, after it is gone, or when nobody said since when."""
        assert order_of(kept) == NO_ORDER
