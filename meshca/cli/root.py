"""`meshca root`: how the roots stand, what was done to them, and the commands that change them.

Asks the running server; parses and prints, nothing else.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from meshca.cli import root_acts, root_rotate, root_text
from meshca.cli.admin_socket import ConfigFile, Socket, ask
from meshca.cli.output import Format, Output, emit, reporting_errors
from meshca.cli.root_asking import Id, chosen
from meshca.cli.root_certificate import certificate_says
from meshca.printable import printable

if TYPE_CHECKING:
    from meshca.app.admin_client import AdminClient
    from meshca.authority.history import Bundle, Change, Record
    from meshca.rotation.report import AuthorityReport

app = typer.Typer(
    help="""Roots: how they stand, and changing them while the mesh runs.

    Begin with `status`. `rotate` does a whole change; prepare, activate, taint and retire are its single steps.
    """,
    no_args_is_help=True,
)


class Shape(enum.StrEnum):
    """What `export --format` takes."""

    PEM = "pem"
    SPIFFE = "spiffe"


@app.command()
def status(socket: Socket = None, config: ConfigFile = None, output: Output = Format.TEXT) -> None:
    """Show who trusts which root, whose certificates are below it, what comes next and what it waits for.

    States of a root, in this order:
    prepared: made; nobody trusts it
    distributing: every workload is told to trust it; signs nothing
    active: signs
    retiring: signs no more, still trusted, because certificates below it are in use
    tainted: as retiring, but its key is stolen: certificates below it are being replaced
    retired: trusted no more, its key is deleted

    Example: meshca root status --output json
    """
    with reporting_errors(output):
        report = ask(socket, config, lambda client: client.roots.report())
    emit(root_text.plain(report), root_text.status(report), output)


@app.command("list")
def list_(socket: Socket = None, config: ConfigFile = None, output: Output = Format.TEXT) -> None:
    """List every root that there is and was, oldest first.

    BUNDLES are the numbers of the bundles that it was in: 1-3 is the first three, 2- is each from the second on.
    What the states mean: meshca root status --help

    Example, the first bundle: meshca root export --sequence 1
    """

    async def question(client: AdminClient) -> tuple[Sequence[Record], Sequence[Bundle]]:
        return await client.roots.records(), await client.roots.bundles()

    with reporting_errors(output):
        records, bundles = ask(socket, config, question)
        roots = [(one, certificate_says(one)) for one in records]
    value = [
        {**root_text.plain(one), **root_text.plain(says), "entered": stay.entered, "left": stay.left}
        for one, says in roots
        for stay in (root_text.stay(one.id, bundles),)
    ]
    emit(value, root_text.records(roots, bundles), output)


@app.command()
def show(root: Id, socket: Socket = None, config: ConfigFile = None, output: Output = Format.TEXT) -> None:
    """Show all that is known of a root or an intermediate: its state, its certificate, and what was done to it.

    Example: meshca root show 3f9c02d1
    """

    async def question(client: AdminClient) -> tuple[Record, Sequence[AuthorityReport], Sequence[Change]]:
        record = chosen(await client.roots.records(intermediates=True), root)
        changes = await client.roots.changes(authority=record.id)
        return record, (await client.roots.report()).authorities, changes

    with reporting_errors(output):
        record, reports, changes = ask(socket, config, question)
        fields = _fields(record, reports)
    width = max(map(len, fields))
    lines = [f"{name.replace('_', ' '):{width}}  {printable(str(value)) or '-'}" for name, value in fields.items()]
    text = "\n\n".join(["\n".join(lines), root_text.changes(changes), printable(record.pem.strip(), keep="\n")])
    emit({**fields, "pem": record.pem, "changes": root_text.plain(list(changes))}, text, output)


def _fields(record: Record, reports: Sequence[AuthorityReport]) -> dict[str, Any]:
    """A record, what its certificate says and, unless it was retired long ago, how it stands."""
    kept, says = root_text.plain(record), root_text.plain(certificate_says(record))
    fields: dict[str, Any] = {name: value for name, value in {**kept, **says}.items() if name != "pem"}
    for one in reports:
        if one.record.id == record.id:
            fields |= {name: value for name, value in root_text.plain(one).items() if name != "record"}
    return {name: "" if value is None else value for name, value in fields.items()}


@app.command()
def export(
    shape: Annotated[
        Shape, typer.Option("--format", help="pem for TLS programs, spiffe for a SPIFFE bundle (a JWK Set).")
    ] = Shape.PEM,
    sequence: Annotated[
        int | None, typer.Option(min=0, help="A bundle of before, by its number.", show_default="the one in force")
    ] = None,
    socket: Socket = None,
    config: ConfigFile = None,
    output: Output = Format.TEXT,
) -> None:
    """Print a bundle: the roots that workloads trust, now or at some time before.

    Example: meshca root export > roots.pem

    Example, for another trust domain: meshca root export --format spiffe > bundle.json
    """
    with reporting_errors(output):
        found = ask(socket, config, lambda client: client.roots.export(sequence))
    text = found.pem if shape is Shape.PEM else found.spiffe_json
    emit(root_text.plain(found), printable(text.strip(), keep="\n"), output)


@app.command()
def history(
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="At most this many.")] = 100,
    socket: Socket = None,
    config: ConfigFile = None,
    output: Output = Format.TEXT,
) -> None:
    """Show what was done to roots and intermediates, by whom and why, newest first.

    supersede, step_back and restore are not asked for: they come with an act on another root.
    ask, withdraw, deny and lapse tell what became of an act that needs a second person; one that was approved
    shows as the act itself, by both.
    """
    with reporting_errors(output):
        changes = ask(socket, config, lambda client: client.roots.changes(limit=limit))
    emit(root_text.plain(list(changes)), root_text.changes(changes), output)


for _act in (
    root_acts.prepare,
    root_acts.activate,
    root_acts.taint,
    root_acts.retire,
    root_rotate.rotate,
    root_acts.pause,
    root_acts.resume,
    root_acts.abort,
):
    app.command()(_act)
