"""`meshca policy`: check files of AuthorizationPolicies, and ask which of them decides on a request and why.

Uses the server's own parser and decision, without a server. Exit codes: 0 good or allowed, 1 denied, 2 a bad
file or flag.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from meshca.app.policy_files import read_policy_files
from meshca.authz.explain import Explanation, explain
from meshca.authz.fits import check_fits
from meshca.authz.model import ROOT_NAMESPACE, Action, PolicySet, Request, Workload
from meshca.authz.parse import parse_files
from meshca.cli.output import EXIT_FAILED, Format, Output, emit, reporting_errors, table
from meshca.errors import BadRequest, ConfigError
from meshca.identity.spiffe_id import SCHEME, SpiffeId, TrustDomain

app = typer.Typer(help="Authorization policies: which identity may call which service.", no_args_is_help=True)

Paths = Annotated[list[Path], typer.Argument(help="Files and folders of policies.", show_default=False)]


@app.command()
def check(paths: Paths, output: Output = Format.TEXT) -> None:
    """Say whether the server would take these policies, and list all that is wrong with them."""
    with reporting_errors(output):
        parsed = parse_files(read_policy_files(paths))
        check_fits(parsed, TrustDomain("cluster.local"))
        policies = parsed.policies
    denying = sum(policy.action is Action.DENY for policy in policies)
    emit(
        {
            "policies": [
                {"namespace": policy.namespace, "name": policy.name, "action": policy.action.value}
                for policy in policies
            ]
        },
        f"good: {len(policies)} policies, {denying} of them deny",
        output,
    )


@app.command("explain")
def explain_(
    paths: Paths,
    namespace: Annotated[str, typer.Option(help="Namespace of the workload that is called.")],
    path: Annotated[str, typer.Option(help="Path of the request, such as /v1/payments.")],
    method: Annotated[str, typer.Option(help="Method of the request.")] = "GET",
    principal: Annotated[
        str, typer.Option(help="SPIFFE ID of the caller; a caller without a certificate if absent.")
    ] = "",
    label: Annotated[
        list[str] | None, typer.Option(help="A label of the workload that is called, as key=value; repeatable.")
    ] = None,
    trust_domain: Annotated[str, typer.Option(help="Trust domain of the workload.")] = "cluster.local",
    root_namespace: Annotated[str, typer.Option(help="Whose policies hold everywhere.")] = ROOT_NAMESPACE,
    output: Output = Format.TEXT,
) -> None:
    """Say which policy and rule decides on a request, and why each other one does not.

    Example: meshca policy explain policies/ --namespace shop --label app=payments
    --principal spiffe://cluster.local/ns/shop/sa/web --path /v1/payments
    """
    with reporting_errors(output):
        policies: PolicySet = parse_files(read_policy_files(paths), root_namespace)
        with _naming("--trust-domain"):
            domain = TrustDomain(trust_domain)
        workload = Workload(namespace=namespace, trust_domain=domain, labels=_labels(label or []))
        with _naming("--principal"):
            caller = SpiffeId.parse(SCHEME + principal.removeprefix(SCHEME)) if principal else None
        with _naming("--path"):
            request = Request(principal=caller, method=method, path=path)
    explanation = explain(policies, workload, request)
    emit(_document(explanation), _text(explanation), output)
    if not explanation.verdict.allowed:
        raise typer.Exit(EXIT_FAILED)


class _naming:  # noqa: N801 - reads as `with _naming("--path")`
    """Turns the refusal of a value into a ConfigError that names the flag."""

    def __init__(self, flag: str) -> None:
        self._flag = flag

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, BadRequest):
            raise ConfigError(self._flag, [error.detail]) from None


def _labels(given: list[str]) -> dict[str, str]:
    pairs = [item.partition("=") for item in given]
    if any(not equals or not key for key, equals, _ in pairs):
        raise ConfigError("--label", ["expected key=value, such as app=payments"])
    return {key: value for key, _, value in pairs}


def _document(explanation: Explanation) -> dict[str, object]:
    return {
        "allowed": explanation.verdict.allowed,
        "rule": explanation.verdict.rule,
        "considered": [
            {"name": item.name, "action": item.action, "why": item.why, "decided": item.decided}
            for item in explanation.considered
        ],
    }


def _text(explanation: Explanation) -> str:
    verdict = "allowed" if explanation.verdict.allowed else "denied"
    rows = [
        {"action": item.action, "rule": item.name, "why": f"{item.why}, decides" if item.decided else item.why}
        for item in explanation.considered
    ]
    return f"{verdict} by {explanation.verdict.rule}\n\n{table(rows, ('action', 'rule', 'why'))}"
