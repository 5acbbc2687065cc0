"""`meshca admission`: check a rule file, and ask which of its rules decides on a caller and why.

Uses the server's own parser and decision, without a server. Exit codes: 0 good or granted, 1 denied, 2 a bad
file or flag.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from meshca import durable
from meshca.admission.decide import Explanation, explain
from meshca.admission.model import Effect, Grant, RuleSet
from meshca.admission.parse import parse, shipped
from meshca.cli.output import EXIT_FAILED, Format, Output, emit, reporting_errors, table
from meshca.duration import format_duration
from meshca.errors import BadRequest, ConfigError
from meshca.identity.caller import BoundObject, Caller, ProvenBy
from meshca.identity.service_account import ServiceAccount
from meshca.identity.spiffe_id import SpiffeId, TrustDomain

app = typer.Typer(help="Admission rules: who may be issued what.", no_args_is_help=True)

TrustDomainFlag = Annotated[str, typer.Option("--trust-domain", help="The server's trust domain.")]
_ANY_TIME = datetime(2000, 1, 1, tzinfo=UTC)  # rules do not look at times


@app.command()
def check(
    file: Annotated[Path, typer.Argument(help="The rule file.", show_default=False)],
    trust_domain: TrustDomainFlag = "cluster.local",
    output: Output = Format.TEXT,
) -> None:
    """Say whether the server would take a rule file, and list all that is wrong with it."""
    with reporting_errors(output):
        rules = _rules(file, _trust_domain(trust_domain))
    refusing = sum(rule.effect is Effect.REFUSE for rule in rules.rules)
    emit(
        {"file": str(file), "version": rules.version, "rules": [rule.name for rule in rules.rules]},
        f"{file}: good, {len(rules.rules)} rules, {refusing} of them refuse",
        output,
    )


@app.command("explain")
def explain_(
    namespace: Annotated[str, typer.Option(help="The caller's namespace.")],
    service_account: Annotated[str, typer.Option(help="The caller's service account.")],
    file: Annotated[
        Path | None, typer.Option("--file", "-f", help="The rule file; the shipped rules if absent.")
    ] = None,
    issuer: Annotated[str, typer.Option(help="Our name for the issuer of the caller's token.")] = "home",
    proven_by: Annotated[ProvenBy, typer.Option(help="How the caller is proven.")] = ProvenBy.JWKS,
    pod: Annotated[str, typer.Option(help="Name of the pod that the proof is bound to.")] = "",
    pod_uid: Annotated[str, typer.Option(help="UID of that pod.")] = "00000000-0000-0000-0000-000000000000",
    no_pod: Annotated[bool, typer.Option("--no-pod", help="The proof is not bound to a pod.")] = False,
    serial: Annotated[
        str, typer.Option(help="Serial of the certificate shown, with --proven-by client_cert.")
    ] = "",
    token_id: Annotated[str, typer.Option(help="Id of the token that began the chain of proofs.")] = "",
    wanted: Annotated[str, typer.Option(help="The identity asked for; the caller's own if absent.")] = "",
    trust_domain: TrustDomainFlag = "cluster.local",
    output: Output = Format.TEXT,
) -> None:
    """Say which rule decides on a caller, and why each other one does not match."""
    with reporting_errors(output):
        domain = _trust_domain(trust_domain)
        rules = _rules(file, domain)
        caller = Caller(
            account=_account(namespace, service_account),
            proven_by=proven_by,
            issuer=issuer,
            pod=_pod(pod, pod_uid, no_pod=no_pod),
            node=None,
            token_id=token_id,
            proven_at=_ANY_TIME,
            until=_ANY_TIME,
            serial=serial,
        )
        identity = _wanted(wanted) if wanted else caller.identity(domain)
    explanation = explain(rules, caller, identity)
    emit(_document(explanation, identity), _text(explanation, identity), output)
    if not isinstance(explanation.outcome, Grant):
        raise typer.Exit(EXIT_FAILED)


def _rules(file: Path | None, trust_domain: TrustDomain) -> RuleSet:
    if file is None:
        return shipped(trust_domain)
    return parse(durable.read_text(file), str(file), trust_domain)


def _trust_domain(name: str) -> TrustDomain:
    try:
        return TrustDomain(name)
    except BadRequest as error:
        raise ConfigError("--trust-domain", [error.detail]) from None


def _account(namespace: str, name: str) -> ServiceAccount:
    try:
        return ServiceAccount(namespace=namespace, name=name)
    except BadRequest as error:
        raise ConfigError("--namespace, --service-account", [error.detail]) from None


def _pod(name: str, uid: str, *, no_pod: bool) -> BoundObject | None:
    if no_pod and name:
        raise ConfigError("--pod, --no-pod", ["give one of them"])
    return None if no_pod else BoundObject(name=name or "pod", uid=uid)


def _wanted(text: str) -> SpiffeId:
    try:
        return SpiffeId.parse(text)
    except BadRequest as error:
        raise ConfigError("--wanted", [error.detail]) from None


def _document(explanation: Explanation, wanted: SpiffeId) -> dict[str, object]:
    outcome = explanation.outcome
    granted = isinstance(outcome, Grant)
    return {
        "granted": granted,
        "wanted": str(wanted),
        "reason": "" if isinstance(outcome, Grant) else outcome.reason,
        "rule": next((report.name for report in explanation.reports if report.decided), ""),
        "max_lifetime": format_duration(outcome.max_lifetime) if isinstance(outcome, Grant) else "",
        "key_types": sorted(outcome.key_types) if isinstance(outcome, Grant) else [],
        "rules": [
            {
                "name": report.name,
                "effect": report.effect.value,
                "matched": not report.mismatches,
                "decided": report.decided,
                "mismatches": list(report.mismatches),
            }
            for report in explanation.reports
        ],
    }


def _text(explanation: Explanation, wanted: SpiffeId) -> str:
    outcome = explanation.outcome
    if isinstance(outcome, Grant):
        types = ", ".join(sorted(outcome.key_types))
        head = (
            f"granted: {wanted} by rule {outcome.rule}, at most {format_duration(outcome.max_lifetime)}, {types}"
        )
    else:
        head = f"denied: {outcome.detail} ({outcome.reason})"
    return f"{head}\n\n{table(_rows(explanation), ('rule', 'effect', 'matches', 'because'))}"


def _rows(explanation: Explanation) -> Sequence[dict[str, object]]:
    return [
        {
            "rule": report.name,
            "effect": report.effect.value,
            "matches": "no" if report.mismatches else "yes",
            "because": "; ".join(report.mismatches) or ("this rule decides" if report.decided else "overruled"),
        }
        for report in explanation.reports
    ]
