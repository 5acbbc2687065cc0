"""`meshca doctor`: what is wrong with a live installation, and what mends it. Parses and prints, nothing else."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import sys
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Final

import typer

from meshca.cli.admin_socket import Socket, find_socket
from meshca.cli.output import EXIT_FAILED, Format, Output, emit, reporting_errors
from meshca.cli.serve import ConfigFile
from meshca.errors import BadRequest, ConfigError
from meshca.printable import printable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from meshca.doctor.address import Address
    from meshca.doctor.finding import Finding

app = typer.Typer(help="What is wrong with a live installation, and what mends it.", no_args_is_help=True)

COLOURS: Final = {"ok": typer.colors.GREEN, "wrong": typer.colors.RED, "unknown": typer.colors.YELLOW}
NAMES: Final = 18  # columns of the longest name of a check
Timeout = Annotated[str, typer.Option(metavar="DURATION", help="Longest time of each check.")]


@app.callback()
def _group() -> None:
    """What is wrong with a live installation, and what mends it."""


@app.command()
def istio(
    config: ConfigFile = None,
    istio_namespace: Annotated[str, typer.Option(help="Namespace of istiod.")] = "istio-system",
    revision: Annotated[str, typer.Option(help="Revision of istiod, if it has one.", show_default=False)] = "",
    ztunnel_namespace: Annotated[
        str, typer.Option(help="Namespace of ztunnel, if not istiod's.", show_default=False)
    ] = "",
    ca_address: Annotated[
        str,
        typer.Option(
            metavar="HOST:PORT",
            help="What proxies call the CA by; read from Istio if not given.",
            show_default=False,
        ),
    ] = "",
    endpoint: Annotated[
        str,
        typer.Option(
            metavar="HOST:PORT",
            help="Where to reach the CA from here, if not by that address.",
            show_default=False,
        ),
    ] = "",
    timeout: Timeout = "10s",
    output: Output = Format.TEXT,
) -> None:
    """Check each thing that a mesh needs of meshca as its CA; nothing is changed, one certificate is issued.

    Each line is ok, wrong or unknown, with what mends it below. Exit code 1 when something is wrong, 2 for a bad
    configuration or flag.

    Example, in the server's pod: kubectl -n istio-system exec deploy/meshca -- meshca doctor istio --config
    /etc/meshca/meshca.yaml

    Example, from outside: kubectl -n istio-system port-forward service/meshca 15012 & meshca doctor istio
    --config meshca.yaml --endpoint 127.0.0.1:15012
    """
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # gRPC's core would write its own lines to standard error
    with reporting_errors(output):
        from meshca.app.doctor import Order, findings
        from meshca.doctor.mesh import Place

        place = Place(namespace=istio_namespace, revision=revision, ztunnel=ztunnel_namespace or istio_namespace)
        order = Order(
            config=config,
            place=place,
            ca_address=_address("--ca-address", ca_address),
            endpoint=_address("--endpoint", endpoint),
            seconds=seconds_of(timeout),
        )
        found = asyncio.run(told(findings(order), output))
    conclude(found, output)


@app.command()
def roots(
    socket: Socket = None,
    config: ConfigFile = None,
    timeout: Timeout = "10s",
    output: Output = Format.TEXT,
) -> None:
    """Check the roots of a running server, in a cluster or not: what ends soon, and a rotation that stands still.

    Whoever signs for it is told as the server knows it; a Vault is looked at by `meshca vault check`.

    Each line is ok, wrong or unknown, with what mends it below. Exit code 1 when something is wrong, 2 for a bad
    configuration or flag.

    Example: meshca doctor roots --config /etc/meshca/meshca.yaml
    """
    with reporting_errors(output):
        from meshca.app.doctor import root_findings

        path = find_socket(socket, config, os.environ)
        found = asyncio.run(told(root_findings(path, seconds_of(timeout)), output))
    conclude(found, output)


def conclude(found: list[Finding], output: Format, more: Mapping[str, object] = MappingProxyType({})) -> None:
    """How many there are of each, and as JSON what else there is; exit code 1 when something is wrong."""
    counts = {verdict: sum(one.verdict.value == verdict for one in found) for verdict in COLOURS}
    total = ", ".join(f"{count} {verdict}" for verdict, count in counts.items())
    emit({"findings": [dataclasses.asdict(finding) for finding in found], **counts, **more}, total, output)
    if counts["wrong"]:
        raise typer.Exit(EXIT_FAILED)


async def told(findings: AsyncIterator[Finding], output: Format) -> list[Finding]:
    """All findings; as text each is printed as it comes."""
    found = []
    async for finding in findings:
        found.append(finding)
        if output is Format.TEXT:
            sys.stdout.write(line(finding, coloured=sys.stdout.isatty()) + "\n")
            sys.stdout.flush()
    return found


def line(finding: Finding, *, coloured: bool) -> str:
    """A finding for people: a line, and one below for each thing that mends it; never broken, to be copied."""
    verdict = f"{finding.verdict.value:<7}"
    if coloured:
        verdict = typer.style(verdict, fg=COLOURS[finding.verdict.value])
    lines = [f"{verdict}  {finding.name:<{NAMES}}  {printable(finding.found)}"]
    return "\n".join([*lines, *(f"         -> {printable(mend)}" for mend in finding.mend)])


def _address(flag: str, text: str) -> Address | None:
    from meshca.doctor.address import Address

    try:
        return Address.parse(text) if text else None
    except BadRequest as error:
        raise ConfigError(flag, [error.detail]) from None


def seconds_of(text: str) -> float:
    """What `--timeout` says; a bad one is a wrong usage."""
    from meshca.agent.options import waiting_seconds

    try:
        return waiting_seconds(text)
    except ValueError as error:
        raise ConfigError("--timeout", [str(error)]) from None
    except BadRequest as error:
        raise ConfigError("--timeout", [error.detail]) from None
