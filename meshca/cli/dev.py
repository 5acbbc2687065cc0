"""`meshca dev`: a CA and tokens for experiments on one machine."""

from __future__ import annotations

import contextlib
import sys
from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer

from meshca.cli.output import reporting_errors

app = typer.Typer(
    help="A CA for experiments, with a token issuer of its own. Never for production.", no_args_is_help=True
)

Folder = Annotated[Path, typer.Option("--dir", help="The folder of this CA.", show_default=False)]
HIGHEST_PORT = 65535


@app.command()
def up(
    folder: Folder,
    port: Annotated[
        int, typer.Option(min=0, max=HIGHEST_PORT, help="For callers with a token; 0: any free one.")
    ] = 0,
    mtls_port: Annotated[
        int, typer.Option(min=0, max=HIGHEST_PORT, help="For callers with a certificate; 0: any free one.")
    ] = 0,
    http_port: Annotated[
        int, typer.Option(min=0, max=HIGHEST_PORT, help="For metrics and health; 0: any free one.")
    ] = 0,
) -> None:
    """Run a CA in the foreground until SIGTERM or Ctrl-C.

    While it serves, the folder holds endpoint, endpoint-mtls and endpoint-http (host:port each),
    endpoint-admin (the administrator's socket), root.pem and, written last, ready.
    """
    from meshca.app.metrics_dir import metrics_directory

    with reporting_errors(), metrics_directory() as metrics_folder, contextlib.ExitStack() as stack:
        from meshca.app.dev import DevFolder
        from meshca.cli.serve import run

        ports = {"token": port, "mtls": mtls_port, "http": http_port}
        made = stack.enter_context(DevFolder.prepared(folder, ports))
        run(made.config, made.announce, metrics_folder)


@app.command()
def token(
    folder: Folder,
    namespace: Annotated[str, typer.Option(help="The service account's namespace.", show_default=False)],
    service_account: Annotated[str, typer.Option(help="Its name.", show_default=False)],
    audience: Annotated[str, typer.Option(help="Who may accept the token.")] = "istio-ca",
    expires_in: Annotated[
        str, typer.Option(help="Its life, such as 10m; -1m makes one that has expired.")
    ] = "10m",
    pod: Annotated[str, typer.Option(help="The pod that it is bound to.", show_default="SERVICE_ACCOUNT-0")] = "",
    no_pod: Annotated[bool, typer.Option("--no-pod", help="Bind it to no pod.")] = False,
    label: Annotated[
        list[str] | None, typer.Option(help="A label of the pod, KEY=VALUE; may be repeated.", show_default=False)
    ] = None,
) -> None:
    """Print a token of the local issuer, as a pod would find it in its projected file."""
    with reporting_errors():
        from meshca.app.dev_issuer import DevIssuer
        from meshca.clock import SystemClock
        from meshca.identity.service_account import ServiceAccount

        if pod and no_pod:
            raise typer.BadParameter("--pod and --no-pod exclude each other")
        account = ServiceAccount(namespace=namespace, name=service_account)
        minted = DevIssuer.open(folder.absolute(), SystemClock()).mint(
            account,
            pod=None if no_pod else pod or f"{account.name}-0",
            audience=audience,
            expires_in=_life(expires_in),
            labels=_labels(label or []),
        )
        sys.stdout.write(minted.reveal() + "\n")


def _life(text: str) -> timedelta:
    from meshca.duration import parse_duration

    try:
        return -parse_duration(text[1:]) if text.startswith("-") else parse_duration(text)
    except ValueError as error:
        raise typer.BadParameter(f"--expires-in: {error}") from None


def _labels(texts: list[str]) -> dict[str, str]:
    pairs = [text.partition("=") for text in texts]
    if any(not key or not separator for key, separator, _ in pairs):
        raise typer.BadParameter("--label: expected KEY=VALUE")
    return {key: value for key, _, value in pairs}
