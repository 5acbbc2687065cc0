"""`meshca vault`: what the Vault that signs for us is like. Parses and prints, nothing else."""

from __future__ import annotations

import asyncio
import dataclasses
from collections import Counter
from typing import TYPE_CHECKING, Annotated

import typer

from meshca.cli.doctor import Timeout, conclude, seconds_of, told
from meshca.cli.output import EXIT_FAILED, Format, Output, emit, reporting_errors
from meshca.cli.serve import ConfigFile

if TYPE_CHECKING:
    from meshca.doctor.finding import Finding

app = typer.Typer(help="The Vault, or OpenBao, that signs for us.", no_args_is_help=True)

POLICY, WRONG = "vault-policy", "wrong"  # the check that the policy mends


@app.command()
def check(
    config: ConfigFile = None,
    sign: Annotated[
        bool, typer.Option(help="Have an intermediate, and with sign_leaves a leaf, signed for throw-away keys.")
    ] = True,
    timeout: Timeout = "10s",
    output: Output = Format.TEXT,
) -> None:
    """Check the server, our login, its policy and its issuer; nothing is changed but throw-away certificates.

    A check has --timeout, and never less than two calls take by upstream.timeout, so that a hang is found as one.
    It logs in once, which spends one use of a secret id whose uses are counted and leaves a token until that ends.
    Each line is ok, wrong or unknown, with what mends it below. Exit code 1 when something is wrong, 2 for a bad
    configuration or flag.

    Example: meshca vault check --config /etc/meshca/meshca.yaml
    """
    with reporting_errors(output):
        from meshca.app import vault

        found = asyncio.run(told(vault.check(config, seconds_of(timeout), sign=sign), output))
        least = vault.least_policy(config)
        if output is Format.TEXT and any(one.name == POLICY and one.verdict.value == WRONG for one in found):
            typer.echo(f"\n{least.text}\n")
    conclude(found, output, dataclasses.asdict(least))


@app.command()
def policy(config: ConfigFile = None, output: Output = Format.TEXT) -> None:
    """Print the least policy that our login needs, and as comments the commands that give it; nobody is asked.

    Example: meshca vault policy --config /etc/meshca/meshca.yaml | bao policy write meshca -
    """
    with reporting_errors(output):
        from meshca.app import vault

        least = vault.least_policy(config)
        emit(dataclasses.asdict(least), least.text, output)


@app.command()
def conformance(config: ConfigFile = None, timeout: Timeout = "10s", output: Output = Format.TEXT) -> None:
    """Try whether the server does what meshca relies on; two throw-away intermediates are signed, nothing else.

    It logs in once and has the time of `meshca vault check`.
    Each line is ok, wrong or unknown. Exit code 1 when something is wrong, 2 for a bad configuration or flag.

    Example: meshca vault conformance --config /etc/meshca/meshca.yaml --output json > report.json
    """
    with reporting_errors(output):
        from meshca.app import vault
        from meshca.doctor.vault_conformance import SIGNED

        found = asyncio.run(told(vault.conformance(config, seconds_of(timeout)), output))
        _report(found, SIGNED, output)


def _report(found: list[Finding], signed: int, output: Format) -> None:
    """How many facts hold, and how many intermediates were signed for it."""
    counts = Counter(one.verdict.value for one in found)
    text = f"{counts['ok']} of {len(found)} facts hold; at most {signed} throw-away intermediates were signed"
    emit({"facts": [dataclasses.asdict(one) for one in found], "signed": signed}, text, output)
    if counts["wrong"]:
        raise typer.Exit(EXIT_FAILED)
