"""The reader of console blocks: what is run, and what counts as seen."""

from __future__ import annotations

import pytest

from tests.docs.console_blocks import Command, commands

DOCUMENT = """\
# A document

<!-- run in the background until dev/ready -->
```console
$ serve --dir dev
ready
```

Then:

<!-- run -->
```console
$ echo one \\
> two
one …
$ true
```

<!-- not run: it never ends -->
```console
$ forever
```

```yaml
$ not: a command
```
"""


def test_blocks_become_commands() -> None:
    """Continued lines, output, background; what is not run is left out."""
    assert commands(DOCUMENT) == [
        Command(text="serve --dir dev", until="dev/ready"),
        Command(text="echo one \\\ntwo", output=("one …",)),
        Command(text="true"),
    ]


@pytest.mark.parametrize("before", ["", "Some text", "<!-- not run: -->"], ids=["nothing", "text", "no reason"])
def test_a_block_must_say_whether_it_is_run(before: str) -> None:
    """Nobody forgets one."""
    with pytest.raises(ValueError, match="say before this block"):
        commands(f"{before}\n```console\n$ ls\n```\n")


def test_a_background_block_has_one_command() -> None:
    """What comes after it would never run."""
    with pytest.raises(ValueError, match="has one command"):
        commands("<!-- run in the background until x -->\n```console\n$ a\n$ b\n```\n")


@pytest.mark.parametrize(
    ("output", "printed", "missing"),
    [
        ((), "anything", ""),
        (("a",), "x\na\n", ""),
        (("a …", "b"), "a 1\nx\nb", ""),
        (("a",), "ab", "a"),
        (("b", "a"), "a\nb", "a"),
        (("…/x (1)",), "/tmp/x (1)", ""),
        (("A  B", "1 … ok"), "A     B  \n1   x      ok", ""),
    ],
    ids=["none", "among others", "ellipsis", "whole lines", "in order", "no regular expression", "columns"],
)
def test_output_must_be_seen_in_order(output: tuple[str, ...], printed: str, missing: str) -> None:
    """Lines in between are allowed; the ellipsis stands for anything."""
    assert Command(text="x", output=output).missing(printed) == missing
