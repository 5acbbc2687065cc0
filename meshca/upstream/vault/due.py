"""When another intermediate is due: at half life, or when another issuer signs below the same root.

Pure. Of the issuer that certificate counts which the mount has now: it may be a longer one of the same key.
"""

from __future__ import annotations

from datetime import datetime

from meshca.authority.chain import find_path, signed_by
from meshca.authority.material import SigningMaterial
from meshca.upstream.ca_certificates import half_life
from meshca.upstream.sound_root import root_of
from meshca.upstream.vault.sight import Sight
from meshca.upstream.vault.signing import AHEAD


def is_due(kept: SigningMaterial, sight: Sight | None, now: datetime) -> bool:
    """Whether another shall be signed.

    Args:
        kept: sound.
        sight: the mount as it was seen last; None before that.
        now: the present instant.
    """
    at = half_life_of(kept, sight)
    if at is not None and now >= at:
        return True
    return sight is not None and sight.root == root_of(kept) and not _signed_now(kept, sight)


def half_life_of(kept: SigningMaterial, sight: Sight | None) -> datetime | None:
    """When to ask for the next; None when this lasts as long as what is above it: no other could last longer.

    Args:
        kept: sound.
        sight: the mount as it was seen last; None before that.
    """
    above = find_path(kept.certificate, kept.others, kept.roots)[1:]
    if sight is not None and sight.root == above[-1] and _signed_now(kept, sight):
        above = sight.look.current.path(sight.roots)
    return half_life(kept.certificate, min(above, key=lambda one: one.not_valid_after_utc), 2 * AHEAD)


def _signed_now(kept: SigningMaterial, sight: Sight) -> bool:
    """Whether the issuer of today has signed it."""
    return signed_by(kept.certificate, sight.look.current.certificate)
