"""What of a kept guard somebody may read: who was left behind is named only to whoever may see them.

Pure. The names are read strictly as `Gate.told` writes them; where that fails none is shown, never a guess. A
pod's name may be its agent's own word, and whatever it says it stays one quotation.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from meshca.authority.gate import LEFT_BEHIND

_NAME: Final = r'[^\s",]+ in (?:no pod|"(?:[^"\\]|\\.)*")'  # as `straggling.named`
_ONE: Final = re.compile(_NAME)
_ALL: Final = re.compile(rf"({_NAME}(?:, {_NAME})*)(?: and ([0-9]+) more)?")


def told_to(guard: str, shows: Callable[[str], bool]) -> str:
    """A guard as somebody may read it: whoever they may not see is counted.

    Args:
        guard: of a `Change`.
        shows: whether a workload of this identity may be shown.
    """
    why, mark, names = guard.partition(LEFT_BEHIND)
    if not mark:
        return guard
    found = _ALL.fullmatch(names)
    if found is None:
        return f"{why}{mark}some that are not named"
    every = _ONE.findall(found[1])
    shown = [one for one in every if shows(one.partition(" in ")[0])]
    more = len(every) - len(shown) + int(found[2] or 0)
    if not shown:
        return f"{why}{mark}{more} that are not named"
    return f"{why}{mark}{', '.join(shown)}{f' and {more} more' if more else ''}"
