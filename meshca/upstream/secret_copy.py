"""Empties the Secret of the root that shall follow where that root has followed already.

Whoever moves it to the first Secret and is killed before the second is emptied leaves a copy of its key. It must
never empty anything but a copy, and stops nothing: with the copy or without it the same signs.
"""

from __future__ import annotations

from meshca.authority.secret_source import Overtaken, SecretSource
from meshca.errors import ConfigError, Unavailable
from meshca.log import log
from meshca.upstream import ca_secret
from meshca.upstream.secret_reading import Reading


async def empty_copy(source: SecretSource, reading: Reading) -> None:
    """Empty the second Secret, if it still is what was read and the first held its root and key.

    Args:
        source: writes it; what cannot be written now is tried at the next look.
        reading: of the Secrets.
    """
    main, following = reading.main, reading.following
    if main is None or following is None or not main.is_root or main.id != following.id:
        return
    name = following.secret.name
    try:
        await source.replace(ca_secret.emptied(following.secret))
    except (Overtaken, ConfigError, Unavailable) as error:
        log.warning("ca.copy_left", secret=name, reason=error.reason, detail=error.detail)
    else:
        log.info("ca.secret_written", secret=name, emptied=True)
