"""An intermediate from the request to the proof, over a server that signs, or does otherwise."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from meshca.authority.material import SigningMaterial
from meshca.authority.slot import Slot
from meshca.errors import Unavailable
from meshca.identity.key_type import KeyType
from meshca.public_key import allowed
from meshca.upstream.vault.mount import look
from meshca.upstream.vault.opening import reach
from meshca.upstream.vault.signing import AHEAD, Signing
from tests.fakes.clock import FakeClock
from tests.fakes.logs import captured_logs
from tests.fakes.pki import DAY, NOW, TRUST_DOMAIN, make_ca
from tests.fakes.vault_replies import hanging_after, saying
from tests.fakes.vault_server import FakeVault, serving_vault

MINUTE = timedelta(minutes=1)


@pytest.fixture
async def vault() -> AsyncIterator[FakeVault]:
    """A server whose clock stands still."""
    async with serving_vault(now=lambda: NOW) as vault:
        yield vault


async def signed(vault: FakeVault, folder: Path, **changes: Any) -> SigningMaterial:
    """What the default issuer signs."""
    clock = FakeClock()
    async with reach(vault.config(folder, **changes), environ={}, clock=clock) as way:
        signing = Signing(way.config, way.session, TRUST_DOMAIN, clock)
        found = await look(way.client, way.config.mount, way.config.issuer)
        return await signing.below(found.current, (vault.pki.root.certificate,))


async def refused(vault: FakeVault, folder: Path, **changes: Any) -> tuple[str, str]:
    """The reason and the words of what is wrong."""
    with pytest.raises(Unavailable) as caught:
        await signed(vault, folder, **changes)
    return caught.value.reason, caught.value.detail


async def test_signs(vault: FakeVault, tmp_path: Path) -> None:
    """What comes back is proven, for the key type and the life that are configured."""
    material = await signed(vault, tmp_path, key_type="ec-p384", intermediate_lifetime="10d")
    slot = Slot.prove(material, TRUST_DOMAIN, NOW)
    assert allowed(slot.issuer.public_key)[1] is KeyType.EC_P384
    assert material.certificate.not_valid_after_utc == NOW + 10 * DAY


async def test_asks_the_named_issuer(vault: FakeVault, tmp_path: Path) -> None:
    """The path has the name that is configured: a policy may allow that one only."""
    await signed(vault, tmp_path, issuer="one")
    assert vault.paths()[-1] == "pki/issuer/one/sign-intermediate"


async def test_key_is_never_sent(vault: FakeVault, tmp_path: Path) -> None:
    """Nothing that was sent holds a private key."""
    await signed(vault, tmp_path)
    assert not any("PRIVATE" in str(call.body) for call in vault.calls)


async def test_each_key_and_name_is_new(vault: FakeVault, tmp_path: Path) -> None:
    """No two intermediates have the same key or subject."""
    one, two = await signed(vault, tmp_path), await signed(vault, tmp_path)
    assert one.certificate.subject != two.certificate.subject
    assert one.certificate.public_key() != two.certificate.public_key()


@pytest.mark.parametrize("truncates", [True, False])
async def test_no_longer_than_the_issuer(vault: FakeVault, tmp_path: Path, *, truncates: bool) -> None:
    """By either vendor's rule the intermediate ends before its issuer, and before what is above that."""
    root = make_ca("root", end=NOW + 5 * DAY)
    vault.pki.issuers = {"one": (make_ca("issuer", root, end=NOW + 9 * DAY), root)}
    vault.pki.truncates = truncates
    material = await signed(vault, tmp_path)
    assert material.certificate.not_valid_after_utc == NOW + 5 * DAY - AHEAD


async def test_issuer_that_ends_soon(vault: FakeVault, tmp_path: Path) -> None:
    """An issuer with two minutes left is asked nothing."""
    vault.pki.issuers = {"one": (make_ca("root", end=NOW + 2 * MINUTE),)}
    reason, words = await refused(vault, tmp_path)
    assert reason == "vault_issuer_ends"
    assert words == (
        "the issuer, or what is above it, ends too soon to sign for us (at 2026-01-01T00:02:00+00:00);"
        " renew it in Vault, or give another one in upstream.issuer"
    )
    assert not any("sign-intermediate" in path for path in vault.paths())


@pytest.mark.parametrize("names_itself", [True, False])
@pytest.mark.parametrize("with_root", [True, False])
@pytest.mark.parametrize("crowd", [0, 1])
async def test_each_shape_of_chain(
    vault: FakeVault, tmp_path: Path, *, names_itself: bool, with_root: bool, crowd: int
) -> None:
    """Both vendors' chains, with and without a root, with and without strangers, become the same."""
    root = make_ca("root")
    issuer = make_ca("issuer", root)
    vault.pki.issuers = {"one": (issuer, root)}
    vault.pki.names_itself, vault.pki.with_root = names_itself, with_root
    vault.pki.strays = [make_ca("stray").certificate, issuer.certificate] * crowd
    assert (await signed(vault, tmp_path)).others == (issuer.certificate,)


async def test_chain_in_the_certificate(vault: FakeVault, tmp_path: Path) -> None:
    """A bundle in place of one certificate is taken, the first as the answer."""
    root = make_ca("root")
    issuer = make_ca("issuer", root)
    vault.pki.issuers = {"one": (issuer, root)}

    async def bundle(request: web.Request) -> web.StreamResponse:
        data, _ = vault.pki.signed("one", await request.json())
        return web.json_response({"data": {"certificate": data["certificate"] + "\n" + issuer.pem}})

    vault.at("/sign-intermediate", bundle)
    assert (await signed(vault, tmp_path)).others == (issuer.certificate,)


async def test_warnings_are_logged(vault: FakeVault, tmp_path: Path) -> None:
    """What the server remarks is logged."""
    with captured_logs() as events:
        await signed(vault, tmp_path)
    assert [event["warning"] for event in events if event["event"] == "vault.warning"] == [
        "Max path length of the signed certificate is zero."
    ]


async def test_other_than_asked(vault: FakeVault, tmp_path: Path) -> None:
    """An answer with something wrong in it is refused with everything that is wrong."""
    vault.pki.forged = {"uris": ["spiffe://other.example"], "dns": ["a"], "constraints": None}
    reason, words = await refused(vault, tmp_path)
    assert reason == "vault_answer"
    assert "its names are not exactly spiffe://cluster.local" in words
    assert "it is no CA" in words


@pytest.mark.parametrize("body", [{}, {"data": {}}, {"data": {"certificate": "x"}}, {"data": {"certificate": 1}}])
async def test_no_certificate(vault: FakeVault, tmp_path: Path, body: dict[str, Any]) -> None:
    """An answer without a certificate is told as such."""
    vault.at("/sign-intermediate", saying(body))
    assert (await refused(vault, tmp_path))[0] == "vault_answer"


async def test_hangs_after_it_signed(vault: FakeVault, tmp_path: Path) -> None:
    """A server that signs and never says so is given up: the next try has a key and a name of its own."""
    vault.at("/sign-intermediate", hanging_after(vault.truly))
    assert (await refused(vault, tmp_path, timeout="300ms"))[0] == "vault_timeout"
    vault.at("/sign-intermediate", vault.truly)
    await signed(vault, tmp_path)
    first, second = (call.body for call in vault.calls if "sign-intermediate" in call.path)
    assert first["common_name"] != second["common_name"]
    assert first["csr"] != second["csr"]
