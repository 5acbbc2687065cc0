"""A real certificate, asked for as Istio's agents do: by a token of the doctor's own account, over verified TLS.

The key is thrown away at once; the ledger keeps the record. The token is sent only to who proved itself by the
published roots.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from meshca.doctor.certificates import Certificates, instant, is_for, path_fault, read_der, to_pem
from meshca.doctor.endpoint import shown
from meshca.doctor.finding import Said, Unseen, ok, unknown, wrong
from meshca.doctor.permission import Permission
from meshca.doctor.reach import Me, me
from meshca.doctor.roots import published
from meshca.doctor.site import Issued, Site, Wish
from meshca.errors import BadRequest, Denied, Exhausted, MeshcaError, Unauthenticated
from meshca.identity.service_account import ServiceAccount
from meshca.kube.api import Forbidden
from meshca.secret import Secret

SECONDS: Final = 600  # the shortest life that the TokenRequest API gives
POD: Final = "authentication.kubernetes.io/pod-"
ENDPOINT: Final = "see what `endpoint` says"
BY_POD: Final = (
    "run it in the server's pod: kubectl -n {} exec deploy/<release> -- meshca doctor istio --config <file>"
)


async def issuance(site: Site) -> Said:
    """The CA issues our own identity."""
    who = await me(site)
    try:
        got = await issued(site)
    except Unauthenticated as error:
        return wrong(
            error.detail,
            "compare kubernetes.token_review.audiences; the server's log has the reason under that id",
        )
    except Denied as error:
        return _denied(site, who, error)
    except (Exhausted, BadRequest) as error:
        return wrong(error.detail, "the server's log has the reason under that id")
    return ok(f"{got.identity} until {instant(got.not_after)}")


def _denied(site: Site, who: Me, error: Denied) -> Said:
    """A refusal of an unbound token is the shipped rules' own wish."""
    if not _pod(who):
        return unknown(
            "the token was believed, and then refused because no pod holds it, as the shipped rules want",
            BY_POD.format(site.namespace),
        )
    return wrong(error.detail, f"meshca admission explain, for {who.account}; then change the rule file")


async def issued(site: Site) -> Issued:
    """The certificate, asked for once.

    Raises:
        Unseen: it could not be asked for.
        MeshcaError: it was refused.
    """
    return await site.looking.once("issued", lambda: _issue(site))


async def _issue(site: Site) -> Issued:
    who = await me(site)
    if who.account is None:
        raise Unseen(
            f"{who.username} is no service account, so it can have no token", BY_POD.format(site.namespace)
        )
    try:
        handshake, name = await shown(site)
    except MeshcaError as error:
        raise Unseen(f"not asked: {error.detail}", ENDPOINT) from None
    roots = await published(site)
    if fault := _stranger(read_der(handshake.chain), name.host, roots, site.clock.now()):
        raise Unseen(f"a token must not go to a stranger: {fault}", ENDPOINT)
    wish = Wish(
        endpoint=site.endpoint or name,
        server_name=name.host,
        roots=to_pem(roots),
        account=who.account,
        token=await _token(site, who.account, _pod(who)),
    )
    return await site.ca.issue(wish)


def _stranger(chain: Certificates, host: str, roots: Certificates, now: datetime) -> str:
    """Why who answers is not proven to be the CA; empty when it is. The client checks it all anew."""
    if not chain:
        return "its certificate does not parse"
    leaf, *others = chain
    return path_fault(leaf, others, roots, now) if is_for(leaf, host) else f"its certificate is not for {host}"


async def _token(site: Site, own: ServiceAccount, bound: Mapping[str, str]) -> Secret[str]:
    """A token of our own account, bound to our own pod if we are in one.

    Raises:
        Unseen: we may not have one.
    """
    spec: dict[str, Any] = {"audiences": list(site.audiences[:1]), "expirationSeconds": SECONDS}
    if bound:
        spec["boundObjectRef"] = {"apiVersion": "v1", "kind": "Pod", **bound}
    path = f"/api/v1/namespaces/{own.namespace}/serviceaccounts/{own.name}/token"
    body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec}
    try:
        return Secret(str((await site.looking.server.create(path, body))["status"]["token"]))
    except Forbidden:
        asking = Permission(
            verb="create",
            resource="serviceaccounts/token",
            namespace=own.namespace,
            name=own.name,
            value="doctor.enabled",
        )
        raise Unseen(f"not allowed to {asking}", *site.looking.grants(asking)) from None


def _pod(who: Me) -> dict[str, str]:
    """Name and uid of the pod that our own token is bound to; empty when it is bound to none."""
    name, uid = who.extra.get(f"{POD}name"), who.extra.get(f"{POD}uid")
    return {"name": name[0], "uid": uid[0]} if name and uid else {}
