"""Checks of the server and of our way into it."""

from __future__ import annotations

import pytest

from meshca.doctor.finding import Said, Unseen, Verdict, ok, unknown, wrong
from meshca.doctor.vault import POLICY, capabilities, clock, login, mount, server, tls
from meshca.doctor.vault_place import HEALTH
from meshca.errors import Unavailable
from meshca.upstream.vault.faults import TABLE, Fault, failure
from tests.fakes.vault_place import SIGN, TUNE, FakeVault

WHERE = "https://vault.example:8200, version 2.7.2"
TOO_MUCH = "0 rights lack, 1 are too much"
EVERY = "have a CA signed by every issuer of the mount"
NTP = "let both synchronise their clocks by NTP: what one signs now begins in the future of the other"


async def test_a_server_that_is_well() -> None:
    """Where it is and which version; what of the environment is not used stands below."""
    assert await server(FakeVault().place()) == ok(WHERE)
    said = Said(verdict=Verdict.OK, found=WHERE, mend=("VAULT_TOKEN is not used",))
    assert await server(FakeVault().place(notes=("VAULT_TOKEN is not used",))) == said


@pytest.mark.parametrize("name", ["standby", "performance_standby"])
async def test_a_standby(name: str) -> None:
    """It is told, and no fault: whether it reaches the active one is for the login to show."""
    vault = FakeVault()
    vault.health[name] = True
    assert await server(vault.place()) == ok(f"{WHERE}, a standby")


@pytest.mark.parametrize(
    ("name", "value", "fault"),
    [("sealed", True, Fault.SEALED), ("initialized", False, Fault.UNINITIALIZED)],
)
async def test_a_server_that_is_not_awake(name: str, *, value: bool, fault: Fault) -> None:
    """It is told in the words of the table, with the version."""
    vault = FakeVault()
    vault.health[name] = value
    found = f"{TABLE[fault].meaning} (version 2.7.2)"
    assert await server(vault.place()) == wrong(found, TABLE[fault].remedy)


async def test_no_server() -> None:
    """Nothing answers, or no Vault does."""
    vault = FakeVault()
    vault.answers[HEALTH] = failure(Fault.UNREACHABLE)
    row = TABLE[Fault.UNREACHABLE]
    assert await server(vault.place()) == wrong(row.meaning, row.remedy)
    no_vault = FakeVault()
    del no_vault.health["version"]
    assert (await server(no_vault.place())).verdict is Verdict.WRONG


async def test_what_is_no_fault_of_the_table() -> None:
    """It is not known to be wrong."""
    vault = FakeVault()
    vault.answers[HEALTH] = Unavailable("other", "out of files")
    assert await server(vault.place()) == unknown("out of files")


@pytest.mark.parametrize(
    ("changes", "by"),
    [
        ({}, "/etc/vault-ca.pem"),
        ({"ca_file": None}, "the roots of this machine"),
        ({"ca_file": None, "certificate_sha256": "a" * 64}, "upstream.certificate_sha256"),
    ],
)
async def test_tls(changes: dict[str, object], by: str) -> None:
    """What verifies the server's certificate."""
    assert await tls(FakeVault(**changes).place()) == ok(f"https, verified by {by}")


async def test_a_certificate_that_is_not_verified() -> None:
    """It is wrong, and what mends it is named."""
    vault = FakeVault()
    vault.answers[HEALTH] = failure(Fault.UNTRUSTED)
    row = TABLE[Fault.UNTRUSTED]
    assert await tls(vault.place()) == wrong(row.meaning, row.remedy)


async def test_tls_that_is_not_seen() -> None:
    """A server that is down says nothing about its certificate."""
    vault = FakeVault()
    vault.answers[HEALTH] = failure(Fault.UNREACHABLE)
    assert await tls(vault.place()) == unknown("no answer over TLS", "see what `vault-server` says")


@pytest.mark.parametrize(
    ("address", "verdict"),
    [
        ("http://vault.example:8200", Verdict.WRONG),
        ("http://127.0.0.1:8200", Verdict.OK),
        ("http://localhost:8200", Verdict.OK),
        ("http://[::1]:8200", Verdict.OK),
    ],
)
async def test_http(address: str, verdict: Verdict) -> None:
    """It is wrong, although it was allowed, unless nobody is on the way."""
    vault = FakeVault(address=address, allow_http=True, ca_file=None)
    assert (await tls(vault.place())).verdict is verdict


@pytest.mark.parametrize(
    ("ahead", "said"),
    [
        (0, ok("0 s apart")),
        (29, ok("29 s apart")),
        (30, Said(verdict=Verdict.OK, found="30 s apart", mend=(NTP,))),
        (119, Said(verdict=Verdict.OK, found="119 s apart", mend=(NTP,))),
        (120, wrong("120 s apart", NTP)),
        (-1, ok("0 s apart")),
        (-31, Said(verdict=Verdict.OK, found="30 s apart", mend=(NTP,))),
        (-121, wrong("120 s apart", NTP)),
    ],
)
async def test_clocks(ahead: int, said: Said) -> None:
    """Half a minute apart is told, two minutes are wrong; the server tells whole seconds, cut off."""
    vault = FakeVault()
    vault.clock.move(-ahead)
    assert await clock(vault.place()) == said


async def test_a_clock_that_is_not_seen() -> None:
    """Without an answer nothing is compared."""
    vault = FakeVault()
    del vault.health["server_time_utc"]
    assert (await clock(vault.place())).verdict is Verdict.UNKNOWN


@pytest.mark.parametrize(
    ("seconds", "renewable", "found"),
    [
        (3600, True, "by approle; the token lasts for 1h and is renewable"),
        (0, False, "by approle; the token lasts for ever and is not renewable"),
    ],
)
async def test_login(seconds: int, *, renewable: bool, found: str) -> None:
    """By which method, and what the token is like."""
    vault = FakeVault()
    vault.token = vault.token.__class__(value=vault.token.value, seconds=seconds, renewable=renewable)
    assert await login(vault.place()) == ok(found)


async def test_a_refused_login() -> None:
    """It is tried once; what needs one is unknown and points to it."""
    vault = FakeVault()
    vault.refused = failure(Fault.LOGIN_REFUSED, "as the role meshca")
    place, row = vault.place(), TABLE[Fault.LOGIN_REFUSED]
    assert await login(place) == wrong(f"{row.meaning} (as the role meshca)", row.remedy)
    with pytest.raises(Unseen) as caught:
        await capabilities(place)
    assert caught.value.said == unknown("not logged in", "see what `vault-login` says")
    assert vault.logins == 1


async def test_a_wrapped_secret_id_is_not_spent() -> None:
    """The server needs it, and it can be used once."""
    wrapped = {"approle": {"role_id": "meshca", "secret_id_file": "/run/wrapped", "wrapped": True}}
    vault = FakeVault(login=wrapped)
    with pytest.raises(Unseen):
        await login(vault.place())
    assert vault.logins == 0


async def test_the_least_policy() -> None:
    """What is needed, and no more."""
    assert await capabilities(FakeVault().place()) == ok("what is needed; nothing broader was found")


@pytest.mark.parametrize(
    ("path", "may", "found", "mend"),
    [
        (
            SIGN,
            ["deny"],
            "1 rights lack, 0 are too much",
            f"grant: update on {SIGN}, to have our intermediate signed",
        ),
        (
            SIGN,
            ["update", "create", "sudo"],
            TOO_MUCH,
            f"take away: create, sudo on {SIGN}, where update is enough",
        ),
        (
            "pki/issuer/meshca-probe/sign-intermediate",
            ["update"],
            TOO_MUCH,
            "take away: update on pki/issuer/meshca-probe/sign-intermediate: a stolen token could " + EVERY,
        ),
        (
            "pki/sign-verbatim",
            ["update"],
            TOO_MUCH,
            "take away: update on pki/sign-verbatim: a stolen token could have any certificate signed as it asks",
        ),
        (
            "pki/roles/meshca-probe",
            ["create"],
            TOO_MUCH,
            "take away: create on pki/roles/meshca-probe: a stolen token could make roles",
        ),
    ],
)
async def test_another_policy(path: str, may: list[str], found: str, mend: str) -> None:
    """What lacks and what is too much is named."""
    vault = FakeVault()
    vault.may[path] = may
    assert await capabilities(vault.place()) == wrong(found, mend, POLICY)


async def test_the_policy_root() -> None:
    """It is told once, not for each path."""
    vault = FakeVault()
    vault.may["sys/seal"] = ["root"]
    found = "our token has the policy root: it may do everything"
    assert await capabilities(vault.place()) == wrong(found, POLICY)


async def test_capabilities_that_are_not_told() -> None:
    """Our policy lacks even that; another fault is its own."""
    vault = FakeVault()
    vault.answers["sys/capabilities-self"] = failure(Fault.FORBIDDEN)
    found = "lacks: update on sys/capabilities-self, so that the rest is not seen"
    assert await capabilities(vault.place()) == wrong(found, POLICY)
    vault.answers["sys/capabilities-self"] = failure(Fault.SEALED)
    assert await capabilities(vault.place()) == wrong(TABLE[Fault.SEALED].meaning, TABLE[Fault.SEALED].remedy)


@pytest.mark.parametrize(("seconds", "verdict"), [(30 * 86_400, Verdict.OK), (30 * 86_400 - 1, Verdict.WRONG)])
async def test_the_mounts_maximum(seconds: int, verdict: Verdict) -> None:
    """It lets through what we ask for."""
    vault = FakeVault()
    vault.answers[TUNE] = {"data": {"max_lease_ttl": seconds}}
    assert (await mount(vault.place())).verdict is verdict


async def test_a_mount_that_is_not_readable() -> None:
    """The least policy does not read it; another fault is its own."""
    vault = FakeVault()
    assert (await mount(vault.place())).verdict is Verdict.UNKNOWN
    vault.answers[TUNE] = failure(Fault.SEALED)
    assert (await mount(vault.place())).verdict is Verdict.WRONG
