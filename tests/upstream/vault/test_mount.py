"""What the mount has: parsed, each once, asked for without a token."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest

from meshca.authority.material import to_pem
from meshca.errors import Unavailable
from meshca.upstream.vault.answer import MOST, Part
from meshca.upstream.vault.client import Client, Place, connect
from meshca.upstream.vault.mount import Issuer, Look, certificates, chain_of, look
from meshca.upstream.vault.wire import Wire
from tests.fakes.pki import NOW, make_ca
from tests.fakes.vault_replies import saying
from tests.fakes.vault_server import FakeVault, serving_vault

ROOT = make_ca("root two")
BELOW = make_ca("below", ROOT)


@pytest.fixture
async def vault() -> AsyncIterator[FakeVault]:
    """A server with a root that signs, and another whose intermediate is an issuer."""
    async with serving_vault(now=lambda: NOW) as vault:
        vault.pki.issuers |= {"two": (BELOW, ROOT)}
        yield vault


@pytest.fixture
async def client(vault: FakeVault) -> AsyncIterator[Client]:
    """Asks it."""
    place = Place(address=vault.address, namespace="", wire=Wire(timeout=timedelta(seconds=30)))
    async with connect(place) as client:
        yield client


async def test_look(vault: FakeVault, client: Client) -> None:
    """The issuer that signs comes first, then the others; the roots are what signs itself."""
    found = await look(client, "pki", "two")
    assert [issuer.id for issuer in found.issuers] == ["id-two", "id-one"]
    assert found.current == found.issuers[0]
    assert found.current.certificate == BELOW.certificate
    assert found.roots == (ROOT.certificate, vault.pki.issuers["one"][0].certificate)
    assert found.current.path(found.roots) == (BELOW.certificate, ROOT.certificate)


async def test_asks_as_nobody(vault: FakeVault, client: Client) -> None:
    """No call has a token."""
    await look(client, "pki", "default")
    assert [call.headers.get("X-Vault-Token") for call in vault.calls] == [None, None, None]


async def test_default(vault: FakeVault, client: Client) -> None:
    """`default` follows the mount's default."""
    vault.pki.default = "two"
    assert (await look(client, "pki", "default")).current.id == "id-two"


async def test_digest(vault: FakeVault, client: Client) -> None:
    """Equal for an equal mount; another for another default, issuer or chain."""

    async def digest() -> str:
        return (await look(client, "pki", "default")).digest

    found = [await digest()]
    assert await digest() == found[0]
    vault.pki.default = "two"
    found.append(await digest())
    vault.pki.issuers["three"] = (make_ca("root three"),)
    found.append(await digest())
    vault.pki.with_root = False
    found.append(await digest())
    assert len(set(found)) == 4


async def test_shuffled_chain_with_strays(vault: FakeVault, client: Client) -> None:
    """Duplicates and strangers in a chain do no harm."""
    vault.pki.strays = (ROOT.certificate, make_ca("stray").certificate, BELOW.certificate)
    found = await look(client, "pki", "two")
    assert found.current.path((ROOT.certificate,)) == (BELOW.certificate, ROOT.certificate)


@pytest.mark.parametrize(
    ("mount", "ref", "reason"),
    [("nowhere", "default", "vault_mount"), ("pki", "nobody", "vault_issuer"), ("sys", "x", "vault_mount")],
)
async def test_nothing_there(client: Client, mount: str, ref: str, reason: str) -> None:
    """A wrong mount and a wrong issuer are told apart."""
    with pytest.raises(Unavailable) as caught:
        await look(client, mount, ref)
    assert caught.value.reason == reason


async def refused(client: Client) -> str:
    """What a look says of what it cannot take."""
    with pytest.raises(Unavailable) as caught:
        await look(client, "pki", "default")
    assert caught.value.reason == "vault_answer"
    return caught.value.detail


@pytest.mark.parametrize("id_", ["../../sys/seal", "a/b", "", "a b", "é", "a" * 129, "-x", "a?list=true"])
async def test_listed_id_is_no_path(vault: FakeVault, client: Client, id_: str) -> None:
    """What is listed becomes part of a path, so it must be an id."""
    vault.at("/issuers", saying({"data": {"keys": [id_]}}))
    await refused(client)
    assert not any("sys" in call.path for call in vault.calls)


async def test_id_of_an_issuer_is_no_path(vault: FakeVault, client: Client) -> None:
    """What an issuer calls itself becomes part of a path, so it must be an id."""
    vault.at("/json", saying({"data": {**vault.pki.issuer("one"), "issuer_id": "../../sys"}}))
    assert "it names an issuer by no id" in await refused(client)


@pytest.mark.parametrize(
    "changes",
    [
        {"certificate": "no certificate"},
        {"certificate": None},
        {"certificate": ROOT.key_pem},
        {"ca_chain": ["no certificate"]},
        {"ca_chain": "text"},
        {"ca_chain": [""]},
        {"ca_chain": [ROOT.pem] * (MOST + 1)},
        {"issuer_id": None},
    ],
)
async def test_unreadable(vault: FakeVault, client: Client, changes: dict[str, Any]) -> None:
    """An issuer that cannot be read is told as such."""
    vault.at("/json", saying({"data": {**vault.pki.issuer("one"), **changes}}))
    assert "what the server gave is not what was asked for" in await refused(client)


async def test_too_many_issuers(vault: FakeVault, client: Client) -> None:
    """What a mount may have at most is told, and what to do; nothing more is asked."""
    vault.at("/issuers", saying({"data": {"keys": [f"id-{place}" for place in range(MOST + 1)]}}))
    assert "more than 64 issuers: delete old ones" in await refused(client)
    assert len(vault.calls) == 2


async def test_too_many_certificates(vault: FakeVault, client: Client) -> None:
    """The bound on certificates holds for a whole look: each costs the verification of many signatures."""
    crowd = [make_ca("crowd", key=BELOW.key).certificate for _ in range(MOST - 1)]
    vault.pki.strays = crowd[:-1]
    vault.pki.issuers.pop("two")
    await look(client, "pki", "default")
    vault.pki.issuers["three"] = (make_ca("root three"),)
    await look(client, "pki", "default")
    vault.pki.issuers["four"] = (make_ca("root four"),)
    assert "more than 64 certificates in the mount: delete issuers that are over" in await refused(client)


def test_too_many_in_one_text() -> None:
    """The bound on certificates holds for those that stand in one text."""
    with pytest.raises(Unavailable, match="more than 64 certificates"):
        certificates([ROOT.pem * (MOST + 1)])


def test_each_once() -> None:
    """Duplicates are dropped, the order stays."""
    assert certificates([ROOT.pem + BELOW.pem, ROOT.pem]) == (ROOT.certificate, BELOW.certificate)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ({}, ()),
        ({"issuing_ca": ROOT.pem}, (ROOT.certificate,)),
        ({"issuing_ca": ROOT.pem, "ca_chain": [BELOW.pem, ROOT.pem]}, (BELOW.certificate, ROOT.certificate)),
        ({"ca_chain": None, "issuing_ca": None}, ()),
    ],
)
def test_chain(data: dict[str, Any], expected: tuple[object, ...]) -> None:
    """What is above a new certificate is in `ca_chain` or in `issuing_ca`, or in both."""
    assert chain_of(Part(data)) == expected


def test_chain_of_something_else() -> None:
    """An issuing CA that is no text is told."""
    with pytest.raises(Unavailable, match="no text issuing_ca"):
        chain_of(Part({"issuing_ca": to_pem(ROOT.certificate).encode()}))


def test_look_has_no_order_of_its_own() -> None:
    """The digest does not depend on the order in which the issuers are listed."""

    def seen(*names: str) -> Look:
        issuers = [made[name] for name in names]
        return Look(current=made["a"], issuers=tuple(issuers))

    made = {name: _issuer(name) for name in ("a", "b", "c")}
    assert seen("a", "b", "c").digest == seen("a", "c", "b").digest


def _issuer(name: str) -> Issuer:
    return Issuer(id=name, certificate=make_ca(name).certificate, others=())
