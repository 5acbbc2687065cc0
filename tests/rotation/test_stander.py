"""What is put in force out of what is kept: the signer, who vouches for the server, the bundle, the order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

import pytest

from meshca.authority.history import Change, Kind, Lifecycle
from meshca.authority.lifecycle import State
from meshca.authority.material import certificate_id, to_pem
from meshca.errors import ConfigError, Conflict, MeshcaError, Unavailable
from meshca.rotation.stander import order_of
from meshca.rotation.standing import NO_ORDER
from tests.fakes.pki import DAY, NOW, ec_key, good_material, material_of
from tests.fakes.roots import OLD, intermediate, rotating
from tests.rotation.stander_scene import NEW_CA, NEW_SIGNS, OLD_CA, OLD_SIGNS, PLAN, Scene, id_of, kept_of, record

RENEWED = good_material(root=OLD_CA)


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
