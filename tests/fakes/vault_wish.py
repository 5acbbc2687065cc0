"""A request for an intermediate, a few CAs that may answer it, and what is wrong with an answer."""

from __future__ import annotations

from cryptography import x509

from meshca.upstream.vault.signed import Wish, judge
from tests.fakes.pki import DAY, NOW, TRUST_DOMAIN, Ca, ec_key, make_ca

WISH = Wish(key=ec_key(), common_name="intermediate 1", trust_domain=TRUST_DOMAIN, lifetime=30 * DAY)
BODY = WISH.body()
ROOT = make_ca("root")
MIDDLE = make_ca("middle", ROOT)
OTHER = make_ca("other root")


def problems(given: x509.Certificate, *above: Ca, roots: tuple[Ca, ...] = (ROOT,)) -> list[str]:
    """What is wrong with an answer; nothing when it is taken."""
    material, found = judge(WISH, given, [ca.certificate for ca in above], [ca.certificate for ca in roots], NOW)
    assert (material is None) == bool(found)
    return found
