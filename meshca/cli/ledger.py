"""`meshca ledger`: who was issued which certificate, when, and on what proof. Asks the running server."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from meshca.cli.admin_socket import ConfigFile, Socket, ask
from meshca.cli.columns import WIDTH, exact, fit, iso, workload
from meshca.cli.instants import parse_instant
from meshca.cli.output import Format, Output, emit, reporting_errors, table
from meshca.errors import BadRequest, ConfigError
from meshca.ledger.query import DEFAULT_LIMIT, MAX_LIMIT, Query
from meshca.ledger.record import Issuance, Result
from meshca.printable import printable

if TYPE_CHECKING:
    from meshca.app.admin_client import AdminClient

app = typer.Typer(help="The ledger: who was issued which certificate.", no_args_is_help=True)

_COLUMNS = ("time", "result", "serial", "workload")
_FIXED_WIDTH = 33  # of times, results and the gaps


def _filter(what: str) -> typer.models.OptionInfo:
    option: typer.models.OptionInfo = typer.Option(help=what, show_default=False)
    return option


@app.command("list")
def list_(
    spiffe_id: Annotated[str | None, _filter("Only this identity.")] = None,
    namespace: Annotated[str | None, _filter("Only this namespace.")] = None,
    pod: Annotated[str | None, _filter("Only this pod, by name or uid.")] = None,
    node: Annotated[str | None, _filter("Only this node, by name or uid.")] = None,
    issuer: Annotated[str | None, _filter("Only proven by tokens of this issuer (our name of it).")] = None,
    result: Annotated[Result | None, _filter("Only these: unknown means that no outcome was recorded.")] = None,
    since: Annotated[str | None, _filter("Recorded then or later: a time (UTC), a date, or an age: 24h.")] = None,
    until: Annotated[str | None, _filter("Recorded before then: as --since.")] = None,
    limit: Annotated[int, typer.Option(help=f"At most this many, up to {MAX_LIMIT}.")] = DEFAULT_LIMIT,
    socket: Socket = None,
    config: ConfigFile = None,
    output: Output = Format.TEXT,
) -> None:
    """List issued certificates, newest first."""
    now = datetime.now(UTC)
    with reporting_errors(output):
        query = _query(
            spiffe_id=spiffe_id,
            namespace=namespace,
            pod=pod,
            node=node,
            issuer=issuer,
            result=result,
            since=parse_instant(since, now, "--since") if since else None,
            until=parse_instant(until, now, "--until") if until else None,
            limit=limit,
        )
        found = ask(socket, config, lambda client: client.issuances(query))
    width = WIDTH - _FIXED_WIDTH - max((len(issuance.intent.serial) for issuance in found), default=0)
    text = table([_row(issuance, width) for issuance in found], _COLUMNS)
    if len(found) == limit:
        text += f"\n\nthe newest {limit}; there may be more: see --limit, --until"
    emit([document(issuance) for issuance in found], text, output)


@app.command()
def show(
    serial: Annotated[str, typer.Argument(help="Serial number in hexadecimal; colons and upper case are fine.")],
    socket: Socket = None,
    config: ConfigFile = None,
    output: Output = Format.TEXT,
) -> None:
    """Show everything that is recorded about one certificate."""

    async def question(client: AdminClient) -> Issuance:
        return await client.issuance(_serial(serial))

    with reporting_errors(output):
        issuance = ask(socket, config, question)
    fields = document(issuance)
    width = max(map(len, fields))
    lines = [f"{name.replace('_', ' '):{width}}  {_shown(value)}".rstrip() for name, value in fields.items()]
    emit(fields, "\n".join(lines), output)


def document(issuance: Issuance) -> dict[str, Any]:
    """A record as scripts get it; times in UTC, absent ones null."""
    intent, outcome = issuance.intent, issuance.outcome
    return {
        "serial": intent.serial,
        "spiffe_id": intent.spiffe_id,
        "result": issuance.result.value,
        "reason": outcome.reason if outcome else "",
        "intended_at": exact(intent.intended_at),
        "finished_at": exact(outcome.finished_at) if outcome else None,
        "not_before": exact(intent.not_before),
        "not_after": exact(intent.not_after),
        "request_id": intent.request_id,
        "proven_by": intent.proven_by,
        "proven_at": exact(intent.proven_at),
        "issuer": intent.issuer,
        "token_id": intent.token_id,
        "parent_serial": intent.parent_serial,
        "requested_by": intent.requested_by,
        "namespace": intent.namespace,
        "service_account": intent.service_account,
        "pod_name": intent.pod_name,
        "pod_uid": intent.pod_uid,
        "node_name": intent.node_name,
        "node_uid": intent.node_uid,
        "labels": dict(sorted(intent.labels.items())),
        "key_type": intent.key_type,
        "key_sha256": intent.key_sha256,
        "csr_sha256": intent.csr_sha256,
        "signer": intent.signer,
        "rule": intent.rule,
    }


def _row(issuance: Issuance, width: int) -> dict[str, object]:
    intent = issuance.intent
    return {
        "time": iso(intent.intended_at),
        "result": issuance.result.value,
        "serial": intent.serial,
        "workload": fit(workload(intent.spiffe_id), width),
    }


def _shown(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{printable(key)}={printable(item)}" for key, item in value.items()) or "-"
    return printable(str(value)) if value else "-"


def _query(**filters: Any) -> Query:  # noqa: ANN401 - the fields of a query
    try:
        return Query(**filters)
    except BadRequest as error:
        flag = {"limit": "--limit", "time_range": "--since, --until"}[error.reason]
        raise ConfigError(flag, [error.detail]) from None


def _serial(text: str) -> str:
    """In the one spelling of the ledger: openssl prints colons, upper case and leading zeros."""
    return text.replace(":", "").lower().lstrip("0")
