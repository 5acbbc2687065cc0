"""The pipeline where somebody else signs: recorded before anybody is asked, and before anybody is given it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from meshca.admission.parse import shipped
from meshca.authority.serials import Serials
from meshca.authority.signing import Authority
from meshca.authority.slot import Slot
from meshca.decision import RENUMBERED
from meshca.errors import Unavailable
from meshca.identity.caller import Caller, Credential
from meshca.issuance import Issuing, Wish
from meshca.ledger.record import Outcome, Result
from meshca.quota import Quota, Rate
from meshca.svid.draft import Issued
from tests.fakes.callers import caller
from tests.fakes.clock import FakeClock
from tests.fakes.leaf_signer import FakeLeafSigner
from tests.fakes.ledger import FakeLedger
from tests.fakes.logs import captured_logs
from tests.fakes.pki import NOW, TRUST_DOMAIN, WEB, ec_key, good_material, make_ca, make_csr, material_of
from tests.fakes.profiles import PROFILE

CREDENTIAL = Credential()
ROOT, OTHER = make_ca("root"), make_ca("other root")


class Chain:
    """Proves the web shop."""

    name = "chain"

    async def prove(self, credential: Credential) -> Caller:
        """It."""
        return caller()


class Rig:
    """A pipeline of real rooms with a fake chain, ledger, clock, and somebody who signs."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.ledger = FakeLedger(self.clock)
        self.authority = Authority(Serials(5), PROFILE)
        self.authority.replace(Slot.prove(good_material(root=ROOT), TRUST_DOMAIN, NOW))
        self.leaves = FakeLeafSigner(ROOT, self.clock)
        rate = Rate(per_second=1.0, burst=1000)
        self.issuing = Issuing(
            chain=Chain(),
            rules=shipped(TRUST_DOMAIN),
            profile=PROFILE,
            strict=False,
            authority=self.authority,
            ledger=self.ledger,
            quota=Quota(per_identity=rate, per_namespace=rate),
            clock=self.clock,
            leaf_signer=self.leaves,
        )
        self.key = ec_key()

    async def issue(self, seconds: int = 0) -> Issued:
        """One issuance for the rig's key."""
        return await self.issuing.issue(CREDENTIAL, lambda: Wish(csr=self.csr(), lifetime_seconds=seconds), "r1")

    def csr(self) -> str:
        """A request of the rig's key, with something around it."""
        request = x509.load_der_x509_csr(make_csr(self.key))
        return f"Dear CA,\n{request.public_bytes(Encoding.PEM).decode()}yours"

    async def refused(self) -> str:
        """Why nothing is issued; nothing is recorded as issued."""
        with pytest.raises(Unavailable) as caught:
            await self.issue()
        assert Result.ISSUED not in {one.result for one in self.ledger.outcomes.values()}
        reason: str = caught.value.reason
        return reason

    @property
    def ends(self) -> list[tuple[Result, str]]:
        """What became of each intent, in order."""
        return [(one.result, one.reason) for one in map(self.ledger.outcomes.__getitem__, self.ledger.intents)]


@pytest.fixture
def rig() -> Rig:
    """Where the root of the active slot signs."""
    return Rig()


@pytest.fixture(autouse=True)
def logs() -> Iterator[list[Any]]:
    """What is logged."""
    with captured_logs() as entries:
        yield entries


async def test_recorded_by_its_own_serial(rig: Rig, logs: list[Any]) -> None:
    """One record of what was asked for, which is no certificate, and one of what was given; of one request."""
    issued = await rig.issue()
    leaf = x509.load_pem_x509_certificate(issued.chain[0].encode())
    asked, given = rig.ledger.intents.values()
    assert rig.ends == [(Result.FAILED, RENUMBERED), (Result.ISSUED, "")]
    assert given.serial == f"{leaf.serial_number:x}" != asked.serial
    assert (given.not_before, given.not_after) == (leaf.not_valid_before_utc, leaf.not_valid_after_utc)
    same = [(one.request_id, one.spiffe_id, one.key_sha256, one.signer) for one in (asked, given)]
    assert same[0] == same[1]
    assert [(line["result"], line["serial"]) for line in logs] == [("issued", given.serial)]


async def test_the_callers_own_request(rig: Rig) -> None:
    """Goes to whoever signs as it was read and proven, without what stood around it."""
    await rig.issue()
    (wish,) = rig.leaves.wishes
    assert wish.csr.startswith("-----BEGIN CERTIFICATE REQUEST-----")
    assert wish.csr.endswith("-----END CERTIFICATE REQUEST-----\n")


async def test_a_key_made_here(rig: Rig) -> None:
    """Whoever signs gets a request for it that names nobody."""
    issued, _ = await rig.issuing.issue_with_server_key(CREDENTIAL, "r1")
    (wish,) = rig.leaves.wishes
    request = x509.load_pem_x509_csr(wish.csr.encode())
    leaf = x509.load_pem_x509_certificate(issued.chain[0].encode())
    assert (request.public_key(), request.subject.rdns) == (leaf.public_key(), [])
    assert wish.identity == str(WEB)


async def test_recorded_before_anybody_is_asked(rig: Rig) -> None:
    """When the ledger cannot be written nobody is asked for a signature."""
    rig.ledger.down = True
    assert await rig.refused() == "store"
    assert rig.leaves.wishes == []


async def test_refused(rig: Rig) -> None:
    """A signer that refuses is told to the caller, and in the record of what was asked for."""
    rig.leaves.error = Unavailable("vault_sealed", "unseal it")
    assert await rig.refused() == "vault_sealed"
    assert rig.ends == [(Result.FAILED, "vault_sealed")]


async def test_not_what_was_asked_for(rig: Rig) -> None:
    """A leaf for somebody else is given to nobody, and no record has its serial."""
    rig.leaves.faults = {"uris": ["spiffe://cluster.local/ns/shop/sa/other"]}
    assert await rig.refused() == "leaf_answer"
    assert rig.ends == [(Result.FAILED, "leaf_answer")]
    assert [(whose, str(error)[:11]) for whose, error in rig.leaves.verdicts] == [(str(WEB), "leaf_answer")]


async def test_whoever_signs_is_told_of_what_was_given_on(rig: Rig) -> None:
    """So that it knows that its leaves are good again."""
    await rig.issue()
    assert rig.leaves.verdicts == [(str(WEB), None)]


async def test_over_before_it_came(rig: Rig) -> None:
    """A caller who wanted one second gets none of it late in that; whoever signs did nothing wrong."""
    rig.leaves.may.clear()
    issuing = asyncio.create_task(rig.issue(seconds=1))
    await rig.leaves.asked.wait()
    rig.clock.move(1)
    rig.leaves.may.set()
    with pytest.raises(Unavailable, match="leaf_late"):
        await issuing
    assert rig.leaves.verdicts == []
    assert rig.ends == [(Result.FAILED, "leaf_late")]


async def test_nobody_could_be_asked(rig: Rig) -> None:
    """Below an issuer that cannot sign leaves whoever would sign is told why nobody asks."""
    rig.authority.replace(Slot.prove(material_of(ROOT, roots=[ROOT]), TRUST_DOMAIN, NOW))
    assert await rig.refused() == "leaf_issuer"
    assert [(whose, str(error)[:11]) for whose, error in rig.leaves.verdicts] == [(str(WEB), "leaf_issuer")]
    assert rig.leaves.wishes == []


async def test_ledger_goes_while_it_is_signed(rig: Rig) -> None:
    """What was signed is given to nobody while it cannot be recorded."""
    rig.leaves.may.clear()
    issuing = asyncio.create_task(rig.refused())
    await rig.leaves.asked.wait()
    rig.ledger.down = True
    rig.leaves.may.set()
    assert await issuing == "store"
    assert rig.ends == [(Result.FAILED, "store")]


async def test_ledger_goes_before_it_is_given(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is not recorded was not given on, and that is no fault of whoever signs: it is told neither.

    No outcome has that serial, which may be another record's.
    """
    finished: list[Outcome] = []
    monkeypatch.setattr(rig.ledger, "finish", finished.append)
    rig.leaves.may.clear()
    issuing = asyncio.create_task(rig.refused())
    await rig.leaves.asked.wait()
    rig.ledger.down = True
    rig.leaves.may.set()
    await issuing
    assert rig.leaves.verdicts == []
    assert [one.serial for one in finished] == list(rig.ledger.intents)


async def test_a_serial_that_was_given_before(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """An old certificate in place of a new one is none of this request, and whoever signs is told that."""
    pems: list[str] = []
    sign = rig.leaves.sign

    async def again(wish: Any) -> str:
        pems.append(await sign(wish))
        return pems[0]

    monkeypatch.setattr(rig.leaves, "sign", again)
    finished: list[Outcome] = []
    monkeypatch.setattr(rig.ledger, "finish", finished.append)
    first = await rig.issue()
    with pytest.raises(Unavailable) as caught:
        await rig.issue()
    assert caught.value.reason == "leaf_answer"
    (_, good), (whose, told) = rig.leaves.verdicts
    assert (good, whose, str(told)[:11]) == (None, str(WEB), "leaf_answer")
    assert [(one.result, one.reason) for one in finished if one.serial == first.serial] == [(Result.ISSUED, "")]
    assert [one.reason for one in finished if one.serial != first.serial] == ["renumbered", "leaf_answer"]


@pytest.mark.parametrize("withheld", [True, False])
async def test_the_signer_changes_meanwhile(rig: Rig, *, withheld: bool) -> None:
    """A leaf of the root of before is still given when another has just come, never when none may be."""
    rig.leaves.may.clear()
    issuing = asyncio.create_task(rig.issue())
    await rig.leaves.asked.wait()
    if withheld:
        rig.authority.withhold("tainted")
    else:
        rig.authority.replace(Slot.prove(good_material(root=OTHER), TRUST_DOMAIN, NOW))
    rig.leaves.may.set()
    if withheld:
        with pytest.raises(Unavailable, match="tainted"):
            await issuing
    else:
        assert (await issuing).chain


async def test_the_signer_has_gone_meanwhile(rig: Rig) -> None:
    """Signatures were withheld meanwhile, and another root signs now: the old one may be trusted no more."""
    rig.leaves.may.clear()
    issuing = asyncio.create_task(rig.refused())
    await rig.leaves.asked.wait()
    rig.authority.withhold("dropped")
    rig.authority.replace(Slot.prove(good_material(root=OTHER), TRUST_DOMAIN, NOW))
    rig.leaves.may.set()
    assert await issuing == "signer_replaced"


async def test_killed_while_it_is_signed(rig: Rig) -> None:
    """What was asked for and has no outcome counts as somebody's, in doubt, and not beyond the end asked for."""
    rig.leaves.may.clear()
    issuing = asyncio.create_task(rig.issue())
    await rig.leaves.asked.wait()
    (asked,) = rig.ledger.intents.values()
    assert asked.not_after == rig.leaves.wishes[0].not_after
    assert [one.serial for one in await rig.ledger.live(asked.not_after - timedelta(seconds=1))] == [asked.serial]
    assert await rig.ledger.live(asked.not_after + timedelta(seconds=1)) == []
    issuing.cancel()
    await asyncio.gather(issuing, return_exceptions=True)


async def test_abandoned(rig: Rig) -> None:
    """A caller that is gone leaves a failed record, and nothing that was issued."""
    rig.leaves.may.clear()
    issuing = asyncio.create_task(rig.issue())
    await rig.leaves.asked.wait()
    issuing.cancel()
    await asyncio.gather(issuing, return_exceptions=True)
    assert rig.ends == [(Result.FAILED, "abandoned")]
