"""Every RPC of the administrator's services and every role, and the namespaces that a role is limited to."""

from __future__ import annotations

import pytest

from meshca._proto.meshca.admin.v1 import admin_pb2, roots_pb2
from meshca.config.admin import AdminConfig, AdminRole
from meshca.errors import Denied
from meshca.rpc.admin_entry import wish_of
from meshca.rpc.roles import TABLE, Administrator, Held, People, Role, Sight, Wish

SERVICES = (
    admin_pb2.DESCRIPTOR.services_by_name["Admin"],
    roots_pb2.DESCRIPTOR.services_by_name["Roots"],
)
RPCS = [f"/{service.full_name}/{method.name}" for service in SERVICES for method in service.methods]
WEB = "spiffe://cluster.local/ns/shop/sa/web"
SHOP = frozenset({"shop"})

# RPC: viewer, operator, security officer
EXPECTED = {
    "GetStatus": "yes yes yes",
    "ListIssuances": "yes yes yes",
    "GetIssuance": "yes yes yes",
    "GetRootStatus": "yes yes yes",
    "ListRoots": "yes yes yes",
    "ListChanges": "yes yes yes",
    "ExportBundle": "yes yes yes",
    "ForecastRotation": "yes yes yes",
    "ForecastAct": "yes yes yes",
    "WatchRotation": "yes yes yes",
    "ListRequests": "yes yes yes",
    "PrepareRoot": "no yes yes",
    "ActivateRoot": "no yes yes",
    "RetireRoot": "no yes yes",
    "RotateRoot": "no yes yes",
    "PauseRotation": "no yes yes",
    "ResumeRotation": "no yes yes",
    "AbortRotation": "no yes yes",
    "WithdrawRequest": "no yes yes",
    "DenyRequest": "no no yes",
    "TaintRoot": "no no yes",
    "Approve": "no no yes",
}
ACTS = [rpc for rpc in RPCS if EXPECTED[rpc.rpartition("/")[2]].startswith("no")]


def somebody(*roles: Role, namespaces: frozenset[str] | None = None) -> Administrator:
    """With these roles."""
    return Administrator("uid 7", tuple(Held(role, namespaces) for role in roles))


def verdict(person: Administrator, wish: Wish) -> str:
    """`yes`, or the reason why not."""
    try:
        person.permitted(wish)
    except Denied as error:
        return "no" if error.reason == "role" else error.reason
    return "yes"


def test_every_rpc_has_a_row() -> None:
    """A new RPC without one can be called by nobody, and fails this test."""
    assert sorted(TABLE) == sorted(RPCS)
    assert sorted(EXPECTED) == sorted(rpc.rpartition("/")[2] for rpc in RPCS)


@pytest.mark.parametrize("role", list(Role))
@pytest.mark.parametrize("rpc", RPCS)
def test_a_role_may_call_what_its_row_says(rpc: str, role: Role) -> None:
    """One row for each RPC and role."""
    expected = EXPECTED[rpc.rpartition("/")[2]].split()[list(Role).index(role)]
    assert verdict(somebody(role), Wish(rpc=rpc)) == expected


@pytest.mark.parametrize("rpc", RPCS)
def test_a_stranger_is_told_the_same_for_every_rpc(rpc: str) -> None:
    """It learns nothing of what there is."""
    with pytest.raises(Denied) as caught:
        somebody().permitted(Wish(rpc=rpc))
    assert (caught.value.reason, caught.value.detail) == ("no_role", "uid 7 has no role; list it in admin.roles")


@pytest.mark.parametrize("how", ["force", "compromised"])
@pytest.mark.parametrize("role", list(Role))
@pytest.mark.parametrize("rpc", ACTS)
def test_what_is_forced_or_compromised_needs_a_security_officer(rpc: str, role: Role, how: str) -> None:
    """Whatever the act."""
    wish = Wish(rpc=rpc, force=how == "force", compromised=how == "compromised")
    assert verdict(somebody(role), wish) == ("yes" if role is Role.SECURITY_OFFICER else "no")


@pytest.mark.parametrize("role", list(Role))
@pytest.mark.parametrize("compromised", [False, True], ids=["planned", "compromised"])
@pytest.mark.parametrize("act", ["Pause", "Resume", "Abort"])
def test_who_may_stop_a_rotation(act: str, role: Role, *, compromised: bool) -> None:
    """A planned one whoever may begin it; one away from a stolen key a security officer, as to begin that."""
    message = getattr(roots_pb2, f"{act}RotationRequest")(compromised=compromised)
    wish = wish_of(f"/meshca.admin.v1.Roots/{act}Rotation", message)
    may = {Role.SECURITY_OFFICER} if compromised else {Role.SECURITY_OFFICER, Role.OPERATOR}
    assert verdict(somebody(role), wish) == ("yes" if role in may else "no")


def test_anybody_may_ask_what_a_compromised_rotation_would_do() -> None:
    """Nothing is done."""
    wish = Wish(rpc="/meshca.admin.v1.Roots/ForecastRotation", compromised=True)
    assert somebody(Role.VIEWER).permitted(wish) == Sight(None)


@pytest.mark.parametrize("rpc", ACTS)
def test_a_role_with_namespaces_acts_on_no_root(rpc: str) -> None:
    """All namespaces share the roots."""
    assert verdict(somebody(*Role, namespaces=SHOP), Wish(rpc=rpc)) == "no"


def test_an_rpc_without_a_row_may_be_called_by_nobody() -> None:
    """Not even by a security officer."""
    assert verdict(somebody(*Role), Wish(rpc="/meshca.admin.v1.Roots/New")) == "no"


def test_a_refusal_says_what_is_needed() -> None:
    """Who, what they are, and what they would have to be."""
    wish = Wish(rpc="/meshca.admin.v1.Roots/RetireRoot", force=True)
    with pytest.raises(Denied) as caught:
        somebody(Role.OPERATOR).permitted(wish)
    assert caught.value.detail == (
        "uid 7 is operator; RetireRoot with force needs security_officer without namespaces: see admin.roles"
    )


READ = Wish(rpc="/meshca.admin.v1.Admin/ListIssuances")


@pytest.mark.parametrize(
    ("held", "expected"),
    [
        ([Held(Role.VIEWER)], None),
        ([Held(Role.VIEWER, SHOP)], SHOP),
        ([Held(Role.VIEWER, SHOP), Held(Role.OPERATOR, frozenset({"pay"}))], SHOP | {"pay"}),
        ([Held(Role.VIEWER, SHOP), Held(Role.OPERATOR)], None),
    ],
    ids=["all", "one", "several roles", "all by another role"],
)
def test_what_may_be_seen(held: list[Held], expected: frozenset[str] | None) -> None:
    """All namespaces of all roles that are enough."""
    assert Administrator("uid 7", tuple(held)).permitted(READ) == Sight(expected)


@pytest.mark.parametrize(
    ("spiffe_id", "seen"),
    [
        (WEB, True),
        ("spiffe://cluster.local/ns/pay/sa/web", False),
        ("spiffe://cluster.local/other/shop", False),
        ("", False),
    ],
)
def test_a_workload_is_seen_by_its_namespace(spiffe_id: str, *, seen: bool) -> None:
    """One that is spelled otherwise only by who sees all."""
    assert Sight(SHOP).shows_identity(spiffe_id) is seen
    assert Sight(None).shows_identity(spiffe_id)


def test_a_namespace_is_seen() -> None:
    """If it is among those of the role, or the role has none."""
    assert [Sight(SHOP).shows("shop"), Sight(SHOP).shows("pay"), Sight(None).shows("pay")] == [True, False, True]


def test_the_servers_own_user_may_do_everything_unless_others_are_listed() -> None:
    """As without any configuration."""
    officer = (Held(Role.SECURITY_OFFICER),)
    assert People(AdminConfig(), 5).named("uid 5") == Administrator("uid 5", officer)
    listed = People(AdminConfig(uids=(6,)), 5)
    assert (listed.named("uid 5").held, listed.named("uid 6").held) == ((), officer)
    assert listed.uids == {6}


def test_roles_are_had_by_users_and_identities() -> None:
    """Whoever is listed more than once has all of them; nobody else has any."""
    config = AdminConfig(
        roles=(
            AdminRole(role="viewer", uids=(7,), spiffe_ids=(WEB,), namespaces=("shop",)),
            AdminRole(role="operator", spiffe_ids=(WEB,)),
        )
    )
    people = People(config, 5)
    assert people.named("uid 7").held == (Held(Role.VIEWER, SHOP),)
    assert people.named(WEB).held == (Held(Role.VIEWER, SHOP), Held(Role.OPERATOR))
    assert people.named("spiffe://cluster.local/ns/shop/sa/other").held == ()
    assert people.uids == {5, 7}
