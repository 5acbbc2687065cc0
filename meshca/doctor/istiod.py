"""How istiod is set: no CA of its own, proxies sent to ours, the same trust domain, audience and cluster."""

from __future__ import annotations

from typing import Final

from meshca.doctor import mesh
from meshca.doctor.address import Address
from meshca.doctor.endpoint import is_istiod, own_address, told_address
from meshca.doctor.finding import Said, Unseen, ok, unknown, wrong
from meshca.doctor.site import Site
from meshca.errors import BadRequest

SWITCH: Final = "ENABLE_CA_SERVER"
OFF: Final = frozenset({"0", "f", "F", "FALSE", "false", "False"})  # Go's strconv.ParseBool


async def ca_server(site: Site) -> Said:
    """No CA any more."""
    environment = (await mesh.istiod(site.looking, site.place)).environment
    value = environment.get(SWITCH, "true")
    if value is None:
        see = f"kubectl -n {site.place.namespace} describe deployment {site.place.named('istiod')}"
        return unknown(f"{SWITCH} of istiod comes from elsewhere", f"see that it is false: {see}")
    if value in OFF:
        return ok(f"{SWITCH}={value} in {site.place.named('istiod')}")
    return wrong(
        f"istiod is a CA still ({SWITCH}={value}): it signs, and writes its own root over the ConfigMaps",
        site.place.helm(f"pilot.env.{SWITCH}=false"),
    )


async def ca_address(site: Site) -> Said:
    """Proxies ask our CA."""
    if site.ca_address is not None:
        return ok(f"{site.ca_address}, as --ca-address says")
    told = await told_address(site)
    mend = site.place.helm(f"global.caAddress={own_address(site)}")
    if not told:
        return wrong("global.caAddress is empty, so proxies ask istiod", mend)
    try:
        address = Address.parse(told)
    except BadRequest as error:
        return wrong(f"global.caAddress is {told!r}: {error.detail}", mend)
    if is_istiod(address, site.place):
        return wrong(f"global.caAddress is {address}, which is istiod", mend)
    if address.port == 15010:
        return wrong(f"global.caAddress is {address}: agents speak plain text to port 15010", mend)
    return ok(str(address))


async def trust_domain(site: Site) -> Said:
    """Both speak of the same identities."""
    theirs = (await mesh.mesh(site.looking, site.place)).trust_domain
    ours = str(site.config.trust_domain)
    if theirs == ours:
        return ok(ours)
    return wrong(
        f"meshConfig.trustDomain is {theirs}, meshca's trust_domain is {ours}: proxies refuse each other",
        f"trust_domain: {theirs} (chart value trustDomain), and restart meshca; or "
        + site.place.helm(f"meshConfig.trustDomain={ours}"),
    )


async def audience(site: Site) -> Said:
    """The tokens that proxies send are meant for us."""
    used = {"global.sds.token.aud": (await mesh.injected(site.looking, site.place)).audience}
    try:
        proxy = await mesh.ztunnel(site.looking, site.place)
    except Unseen:
        proxy = None
    if proxy is not None and proxy.audiences:
        used["ztunnel's token"] = proxy.audiences[0]
    refused = {where: what for where, what in used.items() if what not in site.audiences}
    if not refused:
        return ok(", ".join(dict.fromkeys(used.values())))
    told = ", ".join(f"{where} is {what}" for where, what in refused.items())
    key = (
        "kubernetes.token_review.audiences"
        if site.kubernetes.token_review.enabled
        else "authn.issuers[].audiences"
    )
    wanted = ", ".join(dict.fromkeys([*site.audiences, *refused.values()]))
    return wrong(
        f"{told}, but only tokens for {', '.join(site.audiences) or 'nobody'} are believed",
        f"{key}: [{wanted}] (chart value config)",
    )


async def cluster_id(site: Site) -> Said:
    """The `clusterid` that proxies send means this cluster."""
    if not site.kubernetes.token_review.enabled:
        return ok("not looked at without token reviews")
    sent = (await mesh.injected(site.looking, site.place)).cluster
    if sent in {*site.kubernetes.cluster_ids, site.kubernetes.name}:
        return ok(sent)
    return wrong(
        f"proxies say that they are of cluster {sent}, which is none of kubernetes.cluster_ids",
        f"kubernetes.cluster_ids: [{', '.join([*site.kubernetes.cluster_ids, sent])}] (chart value config)",
    )
