"""`meshca cert`: one certificate as files, for scripts. Parses and prints; `agent.once` does it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar, cast

import typer

from meshca.cli.output import Format, Output, emit, reporting_errors
from meshca.errors import BadRequest, ConfigError

if TYPE_CHECKING:
    from meshca.agent.pin import Pin

T = TypeVar("T")


def command(  # long by its flags: typer reads them from the signature
    endpoint: Annotated[
        str, typer.Option(metavar="HOST:PORT", help="The CA's port for callers with a token.", show_default=False)
    ],
    token_file: Annotated[
        Path, typer.Option(metavar="FILE", help="The service-account token to show.", show_default=False)
    ],
    out: Annotated[
        Path, typer.Option(metavar="DIR", help="Where the files go (0600); made if missing.", show_default=False)
    ],
    root: Annotated[str, typer.Option(metavar="FILE", help="PEM roots to trust.")] = "",
    fingerprint: Annotated[
        str, typer.Option(metavar="SHA256", help="SHA-256 of the root certificate to trust, colons allowed.")
    ] = "",
    system_roots: Annotated[bool, typer.Option("--system-roots", help="Trust this machine's roots.")] = False,
    server_name: Annotated[
        str, typer.Option(metavar="NAME", help="The name in the CA's certificate, if not the endpoint's host.")
    ] = "",
    key_type: Annotated[str, typer.Option(metavar="TYPE", help="ec-p256 or rsa-2048.")] = "ec-p256",
    lifetime: Annotated[
        str, typer.Option(metavar="DURATION", help="Lifetime to ask for, such as 1h; 0s leaves it to the CA.")
    ] = "0s",
    timeout: Annotated[str, typer.Option(metavar="DURATION", help="Longest time for the call.")] = "10s",
    output: Output = Format.TEXT,
) -> None:
    """Get one certificate: writes key.pem, cert-chain.pem and root-cert.pem.

    Exactly one of --root, --fingerprint and --system-roots says whom to trust; no CA is talked to unverified.

    Example: meshca cert --endpoint localhost:15012 --root root.pem --token-file token --out certs
    """
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # gRPC's core would write its own lines to standard error
    with reporting_errors(output):
        from meshca.agent.once import Order, one_certificate, write_files
        from meshca.agent.options import key_choice, lifetime_seconds, waiting_seconds
        from meshca.agent.output import prepare_folder
        from meshca.agent.target import Target

        check = _Check()
        order = Order(
            endpoint=check.read("--endpoint", Target.parse, endpoint),
            server_name=server_name,
            pin=check.pin(root, fingerprint, system_roots=system_roots),
            token_file=token_file,
            key=check.read("--key-type", key_choice, key_type),
            lifetime=check.read("--lifetime", lifetime_seconds, lifetime),
            timeout=check.read("--timeout", waiting_seconds, timeout),
        )
        check.done()
        prepare_folder(out, "--out")
        svid, bundle = asyncio.run(one_certificate(order))
        files = write_files(out, svid, bundle)
        result = {
            "spiffe_id": str(svid.identity),
            "serial": svid.serial,
            "not_before": svid.not_before.isoformat(),
            "not_after": svid.not_after.isoformat(),
            **files,
        }
        text = [f"{svid.identity}, valid until {svid.not_after.isoformat()}", *files.values()]
        emit(result, "\n".join(text), output)


class _Check:
    """Reads values and gathers what is wrong, so that all of it is told at once."""

    def __init__(self) -> None:
        self._problems: list[str] = []

    def read(self, flag: str, parse: Callable[[str], T], text: str) -> T:
        """The value; with a problem it is nothing that anybody may see, and `done` raises."""
        try:
            return parse(text)
        except BadRequest as error:
            self._problems.append(f"{flag}: {error.detail}")
        except ValueError as error:
            self._problems.append(f"{flag}: {error}")
        return cast("T", None)

    def pin(self, root: str, fingerprint: str, *, system_roots: bool) -> Pin:
        """Exactly one way to trust."""
        from meshca.agent.pin import Fingerprint, RootFile, SystemRoots

        if [bool(root), bool(fingerprint), system_roots].count(True) != 1:
            self._problems.append("give exactly one of --root, --fingerprint and --system-roots: whom to trust")
        if fingerprint:
            return self.read("--fingerprint", Fingerprint.parse, fingerprint)
        return RootFile(Path(root)) if root else SystemRoots()

    def done(self) -> None:
        """Tell what was wrong.

        Raises:
            ConfigError: with every problem.
        """
        if self._problems:
            raise ConfigError("meshca cert", self._problems)
