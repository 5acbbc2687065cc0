"""Checks of the issuer that signs for us, and of what it signs."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from meshca.authority.material import certificate_id
from meshca.doctor.finding import Unseen, Verdict, unknown, wrong
from meshca.doctor.vault_issuer import issuer, root, signature
from meshca.errors import Unavailable
from meshca.upstream.vault.faults import TABLE, Fault, failure
from tests.fakes.pki import DAY, NOW, make_ca
from tests.fakes.vault_place import ISSUER, SIGN, FakeVault


async def test_a_root_that_counts() -> None:
    """It is named, with the end of what is above."""
    vault = FakeVault()
    said = await root(vault.place())
    assert said.verdict is Verdict.OK
    assert said.found.startswith(certificate_id(vault.ca.certificate)[:16])


async def test_a_root_that_does_not_count() -> None:
    """Its fingerprint is told, to be compared and pinned; nothing is signed below it."""
    vault = FakeVault()
    other = make_ca("another root")
    vault.answers[f"{ISSUER}/json"] = vault.issuer(other)
    row = TABLE[Fault.ROOT_UNPINNED]
    found = f"{row.meaning} (its fingerprint is {certificate_id(other.certificate)})"
    assert await root(vault.place()) == wrong(found, row.remedy)
    with pytest.raises(Unseen) as caught:
        await signature(vault.place())
    assert caught.value.said.mend == ("see what `vault-root` says",)
    assert vault.signed == 0


async def test_a_root_that_ends_before_the_intermediate() -> None:
    """Intermediates below it would be cut short."""
    vault = FakeVault(intermediate_lifetime=timedelta(days=3651))
    said = await root(vault.place())
    assert said.verdict is Verdict.WRONG
    assert said.found.endswith("less than upstream.intermediate_lifetime (3651d)")


async def test_a_file_of_roots_that_cannot_be_used(tmp_path: Path) -> None:
    """It is named; what depends on it is unknown."""
    vault = FakeVault(roots={"file": str(tmp_path / "none.pem")})
    assert (await root(vault.place())).mend == ("mend upstream.roots.file",)
    assert (await signature(vault.place())).verdict is Verdict.UNKNOWN


async def test_a_mount_that_is_not_there() -> None:
    """It is told in the words of the table."""
    vault = FakeVault()
    vault.answers[f"{ISSUER}/json"] = failure(Fault.MOUNT)
    assert await root(vault.place()) == wrong(TABLE[Fault.MOUNT].meaning, TABLE[Fault.MOUNT].remedy)


@pytest.mark.parametrize(
    ("data", "verdict"),
    [
        ({"usage": "read-only,issuing-certificates"}, Verdict.OK),
        ({"usage": "read-only"}, Verdict.WRONG),
        ({"usage": "issuing-certificates", "revoked": True}, Verdict.WRONG),
    ],
)
async def test_usage(data: dict[str, object], verdict: Verdict) -> None:
    """It may sign, and was not revoked."""
    vault = FakeVault()
    vault.answers[ISSUER] = {"data": data}
    assert (await issuer(vault.place())).verdict is verdict


@pytest.mark.parametrize("usage", ["read-only;reboot", "$(reboot)", "read-only crl-signing", "read-only,,"])
async def test_usage_of_a_hostile_server(usage: str) -> None:
    """It is not shown, for an operator would paste it into a shell."""
    vault = FakeVault()
    vault.answers[ISSUER] = {"data": {"usage": usage}}
    said = await issuer(vault.place())
    assert (said.verdict, said.mend) == (Verdict.WRONG, (TABLE[Fault.ANSWER].remedy,))
    assert usage not in said.found


async def test_usage_that_lacks() -> None:
    """The command that mends it keeps what is there."""
    vault = FakeVault()
    vault.answers[ISSUER] = {"data": {"usage": "crl-signing,read-only"}}
    mend = f"bao patch {ISSUER} usage=crl-signing,read-only,issuing-certificates"
    assert (await issuer(vault.place())).mend == (mend,)


@pytest.mark.parametrize(("fault", "verdict"), [(Fault.FORBIDDEN, Verdict.UNKNOWN), (Fault.ISSUER, Verdict.WRONG)])
async def test_usage_that_is_not_seen(fault: Fault, verdict: Verdict) -> None:
    """Without the permission nothing is said to be wrong."""
    vault = FakeVault()
    vault.answers[ISSUER] = failure(fault)
    assert (await issuer(vault.place())).verdict is verdict


async def test_a_dry_signature() -> None:
    """One intermediate is signed and judged as a real one."""
    vault = FakeVault()
    said = await signature(vault.place())
    assert (said.verdict, vault.signed) == (Verdict.OK, 1)
    assert said.found.endswith("it is as asked for, and its key is gone")


async def test_a_dry_signature_that_is_not_what_was_asked_for() -> None:
    """Why is told."""
    vault = FakeVault()
    vault.signature.dns = ["meshca"]
    said = await signature(vault.place())
    assert said.verdict is Verdict.WRONG
    assert "its names are not exactly spiffe://cluster.local" in said.found


async def test_a_dry_signature_that_is_cut_short() -> None:
    """The mount's maximum shows itself in it."""
    vault = FakeVault()
    vault.signature.ends = NOW + 10 * DAY
    said = await signature(vault.place())
    assert said.verdict is Verdict.WRONG
    assert said.found.endswith("shorter than the 30d that were asked for")


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (failure(Fault.FORBIDDEN), wrong(TABLE[Fault.FORBIDDEN].meaning, TABLE[Fault.FORBIDDEN].remedy)),
        (Unavailable("other", "no"), unknown("no")),
    ],
)
async def test_a_dry_signature_that_is_refused(error: Unavailable, said: object) -> None:
    """It is told in the words of the table."""
    vault = FakeVault()
    vault.answers[SIGN] = error
    assert await signature(vault.place()) == said
