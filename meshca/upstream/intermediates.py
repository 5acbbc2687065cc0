"""Intermediates of one replica, below roots whose keys it can read: in its memory only, as ADR 14 says.

They are made anew at half life. A root and its key are used while one is made and are not kept.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

from meshca.authority.keys import new_key
from meshca.authority.material import SigningMaterial, certificate_id
from meshca.authority.upstream import Offer
from meshca.clock import Clock
from meshca.config.upstream import SecretConfig
from meshca.identity.spiffe_id import TrustDomain
from meshca.upstream.ca_certificates import audit, half_life, intermediate_life, make_intermediate
from meshca.validity import begun


class Intermediates:
    """Has one below each root.

    Args:
        config: how long they last, and of which key type they are.
        trust_domain: that they sign for.
        clock: for their half lives.
    """

    def __init__(self, config: SecretConfig, trust_domain: TrustDomain, clock: Clock) -> None:
        self._config = config
        self._trust_domain = trust_domain
        self._clock = clock
        self._made: dict[str, Offer] = {}

    def below(self, root: SigningMaterial) -> Offer:
        """The one that there is, or another when it is in the second half of its life, or begins later.

        Args:
            root: a root with its key, sound; it is not kept.
        """
        id_, now = certificate_id(root.certificate), self._clock.now()
        have = self._made.get(id_)
        if have is not None and _is_good(have, now):
            return have
        key = new_key(self._config.key_type)
        life = intermediate_life(root.certificate, now, self._config.intermediate_lifetime)
        made = make_intermediate(key.public_key(), self._trust_domain, root.certificate, root.key, life)
        audit("intermediate", made)
        material = SigningMaterial(certificate=made, others=(), roots=root.roots, key=key)
        self._made[id_] = Offer(material=material, renew_at=half_life(made, root.certificate))
        return self._made[id_]

    def forget(self, keep: Collection[str]) -> None:
        """Drop those below every other root."""
        self._made = {root: offer for root, offer in self._made.items() if root in keep}


def _is_good(offer: Offer, now: datetime) -> bool:
    """Whether it has begun, and is in the first half of its life or lasts as long as its root."""
    has_begun = begun(offer.material.certificate.not_valid_before_utc, now)
    return has_begun and (offer.renew_at is None or now < offer.renew_at)
