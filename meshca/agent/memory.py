"""Gives memory that was freed back to the system: an agent runs beside every workload and mostly sleeps.

Starting up and each handshake leave freed pages in the C library's heap, some 3 MB; only `malloc_trim` returns
them.
"""

from __future__ import annotations

import ctypes
import gc
from typing import NoReturn

from meshca.clock import Clock

FIRST_SECONDS = (0.5, 1.5)  # after start, when the first certificate is usually there
EVERY_SECONDS = 300.0


def give_back() -> None:
    """Return what is free; does nothing where the C library has no `malloc_trim` (it is glibc's)."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


async def keep_small(clock: Clock) -> NoReturn:
    """Give back now and then."""
    for seconds in FIRST_SECONDS:
        await clock.sleep(seconds)
        give_back()
    while True:
        await clock.sleep(EVERY_SECONDS)
        give_back()
