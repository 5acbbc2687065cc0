"""Runs checks in order, each with its own time; whatever happens in one, the next is asked."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import TypeVar

from meshca.doctor.finding import Finding, Said, Unseen, unknown
from meshca.errors import MeshcaError

S = TypeVar("S")


async def examine(
    checks: Mapping[str, Callable[[S], Awaitable[Said]]], site: S, seconds: float
) -> AsyncIterator[Finding]:
    """What each check finds, in their order.

    Args:
        checks: name -> check.
        site: what they look at.
        seconds: longest time of each.
    """
    for name, check in checks.items():
        said = await _one(check(site), seconds)
        yield Finding(name=name, verdict=said.verdict, found=said.found, mend=said.mend)


async def _one(look: Awaitable[Said], seconds: float) -> Said:
    try:
        async with asyncio.timeout(seconds):
            return await look
    except Unseen as reason:
        return reason.said
    except MeshcaError as error:
        return unknown(error.detail)
    except TimeoutError:
        return unknown(f"not known after {seconds:g} s", "try again with a longer --timeout")
    except Exception as error:  # noqa: BLE001 - a fault of one check of ours must not hide what the others find
        return unknown(f"the check itself failed ({type(error).__name__}); please report it")
