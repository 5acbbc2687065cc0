"""Facts about a server: each is seen, and each way of being otherwise is told."""

from __future__ import annotations

from datetime import datetime

import pytest
from cryptography import x509

from meshca.doctor.examine import examine
from meshca.doctor.finding import Said, Verdict, ok, unknown, wrong
from meshca.doctor.vault_conformance import ADAPT, FACTS, SIGNED, Trial
from meshca.upstream.vault.faults import TABLE, Fault, failure
from tests.fakes.pki import DAY, NOW, make_ca
from tests.fakes.vault_place import RENEW, SIGN, FakeVault

END = "the issuer's end (2035-12-30T00:00:00+00:00)"


async def test_a_server_that_is_as_it_should_be() -> None:
    """Every fact holds, and no more is signed than is said."""
    vault = FakeVault()
    found = {one.name: one.verdict async for one in examine(FACTS, Trial(vault.place()), 10)}
    assert found == dict.fromkeys(FACTS, Verdict.OK)
    assert vault.signed == SIGNED


async def said(name: str, vault: FakeVault) -> Said:
    """What a fact is."""
    return await FACTS[name](Trial(vault.place()))


async def test_another_issuer_signs() -> None:
    """Then the reference in the path is not kept to."""
    vault = FakeVault()
    vault.signature.ca = make_ca("another")
    assert await said("issuer-in-path", vault) == wrong("another than default has signed", ADAPT)


async def test_another_subject() -> None:
    """It is told."""
    vault = FakeVault()
    vault.signature.common_name = "theirs"
    assert await said("subject", vault) == wrong("it is CN=theirs,O=meshca", ADAPT)


@pytest.mark.parametrize(
    ("uris", "found"), [([], "it has none"), (["spiffe://a", "spiffe://b"], "it has ['spiffe://a', 'spiffe://b']")]
)
async def test_other_uris(uris: list[str], found: str) -> None:
    """None, and several, are told."""
    vault = FakeVault()
    vault.signature.uris = uris
    assert await said("one-uri", vault) == wrong(found, ADAPT)


async def test_a_dns_name() -> None:
    """It is told."""
    vault = FakeVault()
    vault.signature.dns = ["meshca-probe"]
    assert await said("no-dns-name", vault) == wrong("it has meshca-probe", ADAPT)


@pytest.mark.parametrize(
    "constraints",
    [
        None,
        x509.BasicConstraints(ca=False, path_length=None),
        x509.BasicConstraints(ca=True, path_length=None),
        x509.BasicConstraints(ca=True, path_length=1),
    ],
)
async def test_room_below(constraints: x509.BasicConstraints | None) -> None:
    """What is no CA, or may have others below it, is told."""
    vault = FakeVault()
    vault.signature.constraints = constraints
    assert await said("path-length", vault) == wrong(f"{constraints}", ADAPT)


async def test_chain_shapes() -> None:
    """Each is read, and told."""
    vault = FakeVault()
    assert await said("chain-shape", vault) == ok("begins with the new certificate")
    vault.signature.chain = [vault.ca.pem]
    assert await said("chain-shape", vault) == ok("begins with the issuer")
    vault.signature.chain = []
    assert await said("chain-shape", vault) == ok("ca_chain is empty; issuing_ca is read")


async def test_the_root_in_the_chain() -> None:
    """It may lack."""
    vault = FakeVault()
    assert await said("root-in-chain", vault) == ok("the root is in it")
    vault.signature.ca = make_ca("between", vault.ca)
    vault.signature.chain = ["NEW"]
    assert await said("root-in-chain", vault) == ok("the root lacks in it")


async def test_what_would_be_refused() -> None:
    """The judgement of a real answer is told."""
    vault = FakeVault()
    vault.signature.common_name = "theirs"
    assert (await said("judged", vault)).verdict is Verdict.WRONG


@pytest.mark.parametrize(
    ("ends", "found"),
    [
        (NOW + 3651 * DAY, f"signed beyond {END}, until 2035-12-31T00:00:00+00:00"),
        (NOW + 3650 * DAY, f"cut short to {END}"),
        (NOW + 10 * DAY, "cut short by the mount's maximum to 2026-01-11T00:00:00+00:00, before the issuer's end"),
    ],
)
async def test_beyond_the_end(ends: datetime, found: str) -> None:
    """Which of the three it does."""
    vault = FakeVault()
    vault.signature.ends = ends
    assert await said("beyond-the-end", vault) == ok(found)


async def test_beyond_the_end_is_refused() -> None:
    """That is good too; a refusal of another kind is not."""
    vault = FakeVault()
    vault.answers[SIGN] = failure(Fault.BAD_REQUEST)
    assert await said("beyond-the-end", vault) == ok("refused")
    vault.answers[SIGN] = failure(Fault.FORBIDDEN)
    assert await said("beyond-the-end", vault) == unknown(
        TABLE[Fault.FORBIDDEN].meaning, TABLE[Fault.FORBIDDEN].remedy
    )


async def test_a_token_that_is_not_renewable() -> None:
    """It is replaced."""
    vault = FakeVault()
    vault.token = type(vault.token)(value=vault.token.value, seconds=3600, renewable=False)
    vault.answers[RENEW] = failure(Fault.BAD_REQUEST)
    assert (await said("token-renewal", vault)).verdict is Verdict.OK


async def test_an_unknown_issuer() -> None:
    """One that is told as a failure of the server would be waited for; one that is given is no reference."""
    vault = FakeVault()
    vault.answers["pki/issuer/meshca-probe/json"] = failure(Fault.SERVER_ERROR)
    assert await said("unknown-issuer", vault) == wrong("told as vault_server_error", ADAPT)
    vault.answers["pki/issuer/meshca-probe/json"] = vault.issuer(vault.ca)
    found = "an issuer meshca-probe that nobody made is given"
    assert await said("unknown-issuer", vault) == wrong(found, ADAPT)


async def test_warnings() -> None:
    """They are shown."""
    vault = FakeVault()
    assert await said("warnings", vault) == ok("none")
    vault.signature.warnings = ["no AIA", "path length 0"]
    assert await said("warnings", vault) == ok("no AIA / path length 0")


async def test_a_server_that_is_down() -> None:
    """No fact is said not to hold; nothing is asked for twice."""
    vault = FakeVault()
    vault.answers[SIGN] = failure(Fault.SEALED)
    trial = Trial(vault.place())
    row = TABLE[Fault.SEALED]
    for name in ("subject", "one-uri"):
        assert await FACTS[name](trial) == unknown(row.meaning, row.remedy)
