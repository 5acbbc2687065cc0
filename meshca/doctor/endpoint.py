"""The CA's token port as a proxy meets it: name, certificate chain, protocol (Istio's agents check all three)."""

from __future__ import annotations

from datetime import datetime

from meshca.doctor import mesh
from meshca.doctor.address import Address
from meshca.doctor.certificates import Certificates, instant, is_for, names_of, path_fault, read_der
from meshca.doctor.finding import Said, Unseen, ok, some, unknown, wrong
from meshca.doctor.roots import published
from meshca.doctor.site import Site
from meshca.errors import BadRequest, Unavailable
from meshca.wire.handshake import Handshake


async def called_by(site: Site) -> tuple[Address, str]:
    """The address that proxies call the CA by, and who says so.

    Raises:
        BadRequest: Istio's is no address.
    """
    if site.ca_address is not None:
        return site.ca_address, "--ca-address"
    try:
        told = await told_address(site)
    except Unseen:
        told = ""
    if told and not is_istiod(address := Address.parse(told), site.place):
        return address, "global.caAddress"
    return own_address(site), "serving.names"


async def told_address(site: Site) -> str:
    """What Istio tells its proxies; empty when it names nothing but itself.

    Raises:
        Unseen: it cannot be read.
    """
    injected = await mesh.injected(site.looking, site.place)
    try:
        told = (await mesh.mesh(site.looking, site.place)).ca_address
    except Unseen:
        told = ""
    return told or injected.ca_address


def is_istiod(address: Address, place: mesh.Place) -> bool:
    """Whether an address is istiod's own Service: what answers there is not our CA."""
    service = f"{place.named('istiod')}.{place.namespace}"
    return address.host.removesuffix(".cluster.local").removesuffix(".svc") == service


def own_address(site: Site) -> Address:
    """What the server's configuration suggests for `global.caAddress`."""
    port = int(site.config.listen.token.rpartition(":")[2])
    dotted = [name for name in site.config.serving.names if "." in name and not name.replace(".", "").isdigit()]
    return Address(host=(dotted or list(site.config.serving.names))[0], port=port or 15012)


async def shown(site: Site) -> tuple[Handshake, Address]:
    """What the CA shows, and the name that it was called by.

    Raises:
        Unavailable: no TLS server answers.
        BadRequest: as `called_by`.
    """

    async def asked() -> tuple[Handshake, Address]:
        name, _ = await called_by(site)
        where = site.endpoint or name
        try:
            return await site.handshake(where, name.host), name
        except OSError as error:
            detail = f"no TLS server answers at {where} ({type(error).__name__})"
            raise Unavailable("doctor_endpoint", detail) from None

    return await site.looking.once("shown", asked)


async def endpoint(site: Site) -> Said:
    """A proxy that trusts the published roots would connect."""
    try:
        handshake, name = await shown(site)
    except BadRequest as error:
        return wrong(f"global.caAddress: {error.detail}", "set it to " + str(own_address(site)))
    except Unavailable as error:
        return wrong(error.detail, *_unreached(site))
    _, source = await called_by(site)
    fault = judge_face(handshake, name, source, site.place)
    if fault is not None:
        return fault
    leaf, *others = read_der(handshake.chain)
    try:
        roots = await published(site)
    except Unseen as reason:
        return unknown(
            f"good for {name.host}, but nothing to check its chain with: {reason.said.found}", *reason.said.mend
        )
    return judge_chain(leaf_and_others=(leaf, *others), roots=roots, name=name, now=site.clock.now())


def judge_face(handshake: Handshake, name: Address, source: str, place: mesh.Place) -> Said | None:
    """What is wrong with name or protocol; None when nothing is."""
    certificates = read_der(handshake.chain)
    if not certificates:
        return wrong("the certificate that it shows does not parse", "see who listens there; it is not meshca")
    names = names_of(certificates[0])
    if not is_for(certificates[0], name.host):
        known = some(list(names), 5) or "nobody"
        return wrong(
            f"its certificate is not for {name.host} ({source}) but for {known}",
            f"add {name.host} to serving.names (chart value servingNames)",
            f"or call it by one of its names: {place.helm(f'global.caAddress=<name>:{name.port}')}",
        )
    if handshake.protocol != "h2":
        chose = handshake.protocol or "no protocol"
        return wrong(
            f"it chose {chose} by ALPN, not h2",
            "something between ends TLS; let TCP through to the CA's pods unchanged",
        )
    return None


def judge_chain(leaf_and_others: Certificates, roots: Certificates, name: Address, now: datetime) -> Said:
    """Whether the chain holds for who trusts the published roots."""
    leaf, *others = leaf_and_others
    fault = path_fault(leaf, others, roots, now)
    if fault:
        return wrong(
            f"its certificate is refused: {fault}",
            "the ConfigMaps and the CA must agree: see `root-config-map`, and `meshca status` for the CA's root",
        )
    return ok(f"{name} by h2, up to a published root, until {instant(leaf.not_valid_after_utc)}")


def _unreached(site: Site) -> tuple[str, ...]:
    return (
        f"kubectl -n {site.namespace} get pods,services,endpointslices: are the CA's pods ready, with a Service?",
        "from outside the cluster: kubectl port-forward, and --endpoint 127.0.0.1:<port>",
    )
