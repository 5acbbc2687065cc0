"""The serving certificate of istiod: a Secret for its name, not ended, up to a published root."""

from __future__ import annotations

import base64
import binascii
from datetime import datetime

from meshca.doctor.certificates import Certificates, instant, is_for, path_fault, read_pem
from meshca.doctor.finding import Said, ok, some, wrong
from meshca.doctor.permission import Permission
from meshca.doctor.roots import published
from meshca.doctor.site import Site
from meshca.kube.api import Tree


async def istiod_certificate(site: Site) -> Said:
    """Proxies can prove istiod by the roots that they have."""
    config = site.kubernetes.istiod_certificate
    namespace = config.namespace if config.enabled else site.place.namespace
    what = f"Secret {config.secret} in {namespace}"
    reading = Permission(
        verb="get", resource="secrets", namespace=namespace, name=config.secret, value="istiodCertificate.enabled"
    )
    found = await site.looking.read(reading)
    if found is None:
        return wrong(f"there is no {what}, and without a CA of its own istiod cannot make one", *_mend(site))
    roots = await published(site)
    service = f"{site.place.named('istiod')}.{site.place.namespace}.svc"
    fault = fault_of(found, service, roots, site.clock.now())
    if fault:
        return wrong(f"{what}: {fault}", *_mend(site))
    ends = read_pem(_text(found, "tls.crt"))[0].not_valid_after_utc
    return ok(f"{what} is for {service} until {instant(ends)}, up to a published root")


def fault_of(secret: Tree, service: str, roots: Certificates, now: datetime) -> str:
    """What is wrong with such a Secret; empty when nothing is. That the key belongs to it is not checked."""
    if empty := [key for key in ("tls.crt", "tls.key") if not _text(secret, key)]:
        return f"it has no {some(empty)}"
    chain = read_pem(_text(secret, "tls.crt"))
    if not chain:
        return "tls.crt holds no certificate"
    leaf, *others = chain
    if not is_for(leaf, service):
        return f"it is not for {service}"
    return path_fault(leaf, others, roots, now)


def _text(secret: Tree, key: str) -> str:
    try:
        return base64.b64decode((secret.get("data") or {}).get(key, ""), validate=True).decode("ascii")
    except (binascii.Error, UnicodeDecodeError, TypeError):
        return ""


def _mend(site: Site) -> tuple[str, ...]:
    config = site.kubernetes.istiod_certificate
    if not config.enabled:
        switch = "kubernetes.istiod_certificate.enabled: true (chart value istiodCertificate.enabled)"
        return (f"{switch}, or renew it where it is made",)
    adopt = f"kubectl -n {config.namespace} annotate secret {config.secret} meshca.io/adopt=true"
    return (
        "meshca makes and renews it: see `permissions`, and `meshca status` for why it does not",
        f"one that another made is left alone until: {adopt}",
    )
