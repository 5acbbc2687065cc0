"""The check of leaves that Vault signs in our place."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import AuthorityInformationAccessOID

from meshca.authority.outside import TOO_SHORT
from meshca.doctor.finding import Said, Unseen, Verdict, wrong
from meshca.doctor.vault import LEAST, capabilities
from meshca.doctor.vault_issuer import signature
from meshca.doctor.vault_leaf import LONGER, ROLE, leaf
from meshca.upstream.vault.faults import TABLE, Fault, failure
from tests.fakes.pki import NOW, ec_key, make_ca
from tests.fakes.vault_place import SIGN_LEAF, FakeVault

ASKED = "the role has to allow a P-256 key, spiffe://cluster.local/ns/meshca-probe/sa/meshca-probe and 1d"
WHERE = x509.UniformResourceIdentifier("http://pki.example/crl")
OCSP = x509.AuthorityInformationAccess([x509.AccessDescription(AuthorityInformationAccessOID.OCSP, WHERE)])
CRL = x509.CRLDistributionPoints([x509.DistributionPoint([WHERE], None, None, None)])


def signing_leaves(**changes: Any) -> FakeVault:
    """A Vault that is to sign leaves."""
    return FakeVault(sign_leaves={"role": "mesh-leaf"}, **changes)


async def said_of(vault: FakeVault) -> Said:
    """What the check says after the one before it."""
    place = vault.place()
    await signature(place)
    return await leaf(place)


async def test_as_asked_for() -> None:
    """It passes the server's own judgement, and no further intermediate is signed for it."""
    vault = signing_leaves()
    said = await said_of(vault)
    assert said.verdict is Verdict.OK
    assert said.found.endswith("until 2026-01-02T00:00:00+00:00; it is as asked for, and its key is gone")
    assert vault.signed == 1


async def test_without_an_intermediate() -> None:
    """Nothing is asked for where there is none to be beside, and where to look is told."""
    with pytest.raises(Unseen) as caught:
        await leaf(signing_leaves().place())
    assert caught.value.said.mend == ("see what `vault-signature` says",)


@pytest.mark.parametrize(
    ("forged", "rule"),
    [
        ({"public_key": ec_key().public_key()}, "the proven key"),
        ({"uris": ["spiffe://cluster.local/ns/shop/sa/web"]}, "exactly the names granted"),
        ({"critical": False}, "exactly the names granted, critical"),
        ({"constraints": x509.BasicConstraints(ca=True, path_length=None)}, "not a CA"),
        ({"end": NOW + timedelta(days=2)}, "later than"),
    ],
    ids=["key", "names", "not critical", "CA", "longer"],
)
async def test_not_as_asked_for(forged: dict[str, Any], rule: str) -> None:
    """Why the server would refuse it is told, and that it is the role's fault."""
    vault = signing_leaves()
    vault.forged = forged
    said = await said_of(vault)
    assert (said.verdict, said.mend) == (Verdict.WRONG, (ROLE,))
    assert rule in said.found


@pytest.mark.parametrize("extra", [OCSP, CRL], ids=["AIA", "CRL"])
async def test_addresses_in_leaves(extra: x509.ExtensionType) -> None:
    """A mount with addresses of CRLs or OCSP puts them into leaves, and what takes them out is told."""
    vault = signing_leaves()
    vault.forged = {"extra": [(extra, False)]}
    said = await said_of(vault)
    assert said.verdict is Verdict.WRONG
    assert said.mend[1:3] == (
        "bao write pki/config/urls issuing_certificates= crl_distribution_points= ocsp_servers=",
        "bao patch pki/issuer/default issuing_certificates= crl_distribution_points= ocsp_servers=",
    )


async def test_shorter() -> None:
    """A role that cuts lives short would have every workload renew more often than the configuration says."""
    vault = signing_leaves()
    vault.forged = {"end": NOW + timedelta(hours=13)}
    said = await said_of(vault)
    assert (said.verdict, said.mend) == (Verdict.WRONG, (LONGER,))
    assert said.found.endswith("until 2026-01-01T13:00:00+00:00: shorter than the 1d of svid.max_lifetime")


async def test_far_shorter() -> None:
    """A leaf that the server would give to nobody for its end is told with what makes it longer."""
    vault = signing_leaves()
    vault.forged = {"end": NOW + timedelta(hours=1)}
    said = await said_of(vault)
    assert (said.verdict, said.mend) == (Verdict.WRONG, (LONGER,))
    assert TOO_SHORT in said.found


@pytest.mark.parametrize(
    ("fault", "more"),
    [(Fault.ROLE, ()), (Fault.FORBIDDEN, ()), (Fault.SEALED, ()), (Fault.BAD_REQUEST, (ASKED, ROLE))],
)
async def test_refused(fault: Fault, more: tuple[str, ...]) -> None:
    """It is told in the words of the table; what the role does not allow, with what mends the role."""
    vault = signing_leaves()
    vault.answers[SIGN_LEAF] = failure(fault)
    assert await said_of(vault) == wrong(TABLE[fault].meaning, TABLE[fault].remedy, *more)


async def test_an_issuer_that_is_not_fit() -> None:
    """An issuer with a key that leaves may not be signed by is told before anything is asked for."""
    vault = signing_leaves()
    odd = make_ca("odd", vault.ca, key=ec_key(ec.SECP521R1()))
    page = {"issuer_id": "one", "certificate": odd.pem, "ca_chain": [odd.pem, vault.ca.pem]}
    vault.answers["pki/issuer/default/json"] = {"data": page}
    vault.signature.ca, vault.signature.chain = odd, ["NEW", odd.pem, vault.ca.pem]
    vault.answers[SIGN_LEAF] = failure(Fault.SEALED)
    said = await said_of(vault)
    assert (said.verdict, said.mend) == (Verdict.WRONG, ("give another issuer in upstream.issuer",))


async def test_the_policy_that_signs_leaves() -> None:
    """Having leaves signed by the role is what is needed, and not too much."""
    said = await capabilities(signing_leaves().place())
    assert (said.verdict, said.found) == (Verdict.OK, LEAST)
