"""What an operator sets up in OpenBao so that it signs for meshca: a PKI engine, a role, the least policy.

For `meshca demo --upstream vault` and the tests, as docs/operations/vault.md has it for people.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from meshca.app.openbao_process import OpenBao
from meshca.secret import Secret
from meshca.upstream.vault.policy import LEAF_ROLE


@dataclass(frozen=True, slots=True)
class Mount:
    """A PKI engine with one root, and an AppRole that may have intermediates signed by its default issuer.

    Attributes:
        path: of the engine.
        root: PEM of the first root; its issuer is called `one`.
        role_id: of the AppRole.
        secret_id: of the AppRole, for any number of logins.
    """

    path: str
    root: str
    role_id: str
    secret_id: Secret[str]


async def enable_approle(server: OpenBao) -> None:
    """Once, before the first mount."""
    await server.call("POST", "sys/auth/approle", {"type": "approle"})


async def new_mount(
    server: OpenBao, name: str, *, root_ttl: str = "87600h", token: Mapping[str, object] | None = None
) -> Mount:
    """A PKI engine with a root, and a role with the least policy; both have the engine's name.

    Args:
        server: where.
        name: of the engine.
        root_ttl: how long the root lasts.
        token: what the role's tokens are like, such as `{"token_ttl": "3s"}`.
    """
    await server.call("POST", f"sys/mounts/{name}", {"type": "pki", "config": {"max_lease_ttl": "87600h"}})
    made = await add_root(server, name, issuer="one", ttl=root_ttl)
    policy = f'path "{name}/issuer/default/sign-intermediate" {{ capabilities = ["update"] }}\n'
    await server.call("PUT", f"sys/policies/acl/{name}", {"policy": policy})
    await server.call("POST", f"auth/approle/role/{name}", {"token_policies": [name], **(token or {})})
    role_id = (await server.call("GET", f"auth/approle/role/{name}/role-id"))["data"]["role_id"]
    secret_id = (await server.call("POST", f"auth/approle/role/{name}/secret-id", {}))["data"]["secret_id"]
    return Mount(path=name, root=made, role_id=role_id, secret_id=Secret(secret_id))


async def add_root(server: OpenBao, mount: str, *, issuer: str, ttl: str = "87600h") -> str:
    """PEM of a further root, which is not the default unless it is the first."""
    body = {
        "common_name": f"{mount} {issuer}",
        "ttl": ttl,
        "key_type": "ec",
        "key_bits": 256,
        "issuer_name": issuer,
    }
    made = await server.call("POST", f"{mount}/issuers/generate/root/internal", body)
    return str(made["data"]["certificate"])


async def make_default(server: OpenBao, mount: str, issuer: str) -> None:
    """Let another issuer sign from now on."""
    await server.call("POST", f"{mount}/config/issuers", {"default": issuer})


async def sign_leaves(server: OpenBao, mount: Mount, role: str, trust_domain: str) -> None:
    """A role that signs leaves of the mesh, which whoever has intermediates signed may use too."""
    uris = [f"spiffe://{trust_domain}/ns/*"]
    await server.call("POST", f"{mount.path}/roles/{role}", {"allowed_uri_sans": uris, **LEAF_ROLE})
    paths = (f"{mount.path}/issuer/default/sign-intermediate", f"{mount.path}/issuer/+/sign/{role}")
    rules = "\n".join(f'path "{path}" {{ capabilities = ["update"] }}' for path in paths)
    await server.call("PUT", f"sys/policies/acl/{mount.path}", {"policy": rules})
