"""ztunnel, if there is one: trusted to ask for its node's workloads, and sent to our CA."""

from __future__ import annotations

from meshca.doctor import mesh
from meshca.doctor.address import Address
from meshca.doctor.endpoint import called_by
from meshca.doctor.finding import Said, ok, wrong
from meshca.doctor.site import Site
from meshca.errors import BadRequest


async def ztunnel(site: Site) -> Said:
    """It gets what it asks for."""
    found = await mesh.ztunnel(site.looking, site.place)
    if found is None:
        return ok(f"no DaemonSet ztunnel in {site.place.ztunnel}")
    account = f"{site.place.ztunnel}/{found.account}"
    if account not in site.kubernetes.trusted_node_accounts:
        trusted = ", ".join(site.kubernetes.trusted_node_accounts) or "nobody"
        return wrong(
            f"ztunnel runs as {account}, but trusted is {trusted}: no workload of ambient mode gets a certificate",
            f"kubernetes.trusted_node_accounts: [{account}] (chart value trustedNodeAccounts)",
        )
    told = found.environment.get("CA_ADDRESS") or ""
    ours, _ = await called_by(site)
    try:
        same = bool(told) and Address.parse(told) == ours
    except BadRequest:
        same = False
    if not same:
        return wrong(
            f"ztunnel asks {told or 'istiod'} for certificates, proxies ask {ours}",
            f"helm upgrade ztunnel istio/ztunnel -n {site.place.ztunnel} --reuse-values --set caAddress={ours}",
        )
    return ok(f"{account} is trusted, and asks {ours}")
