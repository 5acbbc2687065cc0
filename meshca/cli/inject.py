"""`meshca inject`: adds meshca's agent and Envoy to the workloads of Kubernetes manifests.

Reads files and flags, and prints what `sidecar.inject` makes of them; decides nothing itself. Standard output has
nothing but manifests; what was done with which workload is told on standard error.
"""

from __future__ import annotations

import contextlib
import re
import sys
from collections.abc import Iterator
from datetime import timedelta
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer

from meshca.agent.target import Target
from meshca.cli.output import reporting_errors
from meshca.duration import format_duration, parse_duration
from meshca.errors import BadRequest, ConfigError
from meshca.identity.service_account import ServiceAccount
from meshca.identity.spiffe_id import TrustDomain
from meshca.sidecar.inject import Injected, Manifests, inject, joined
from meshca.sidecar.inject_settings import HEALTH, INBOUND, OUTBOUND, Settings, Sidecars, Wishes, ports
from meshca.sidecar.service import MAX_CONNECTION_AGE, AppProtocol

STANDARD = "-"
ENVOY_IMAGE = "envoyproxy/envoy:distroless-v1.40.0"  # without root and without a shell
_CA, _PORTS, _POD = "The CA", "Ports of workloads without annotations", "Containers"
_WORD = re.compile(r"[^\s$]+")


def command(
    files: Annotated[
        list[str] | None,
        typer.Argument(metavar="[FILE...|-]", help="Manifests, YAML or JSON; standard input if none or -."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="Where to write; standard output if absent."),
    ] = None,
    endpoint: Annotated[
        str, typer.Option(help="The CA's port for callers with a token.", rich_help_panel=_CA)
    ] = "meshca.meshca-system.svc:15012",
    endpoint_mtls: Annotated[
        str,
        typer.Option(
            help="The CA's port for callers with a certificate; without it no new roots and no policies come.",
            rich_help_panel=_CA,
        ),
    ] = "meshca.meshca-system.svc:15013",
    server_name: Annotated[
        str,
        typer.Option(help="The name in the CA's certificate, if not the endpoint's host.", rich_help_panel=_CA),
    ] = "",
    trust_domain: Annotated[
        str, typer.Option(help="The mesh's trust domain.", rich_help_panel=_CA)
    ] = "cluster.local",
    audience: Annotated[
        str, typer.Option(help="Audience of the service-account token.", rich_help_panel=_CA)
    ] = "istio-ca",
    root_config_map: Annotated[
        str, typer.Option(help="ConfigMap with the roots to trust at first contact.", rich_help_panel=_CA)
    ] = "istio-ca-root-cert",
    root_key: Annotated[str, typer.Option(help="The key of the roots in it.", rich_help_panel=_CA)] = (
        "root-cert.pem"
    ),
    inbound: Annotated[
        list[str] | None,
        typer.Option(
            help="A port for peers and the application's port behind it: 8443:8080. Repeatable.",
            rich_help_panel=_PORTS,
        ),
    ] = None,
    outbound: Annotated[
        list[str] | None,
        typer.Option(
            help="A loopback port for the application, the other service, and the identity it must prove: "
            "9001=payments.shop:8443,spiffe://cluster.local/ns/shop/sa/payments. Repeatable.",
            rich_help_panel=_PORTS,
        ),
    ] = None,
    app_protocol: Annotated[
        AppProtocol, typer.Option(help="What applications speak.", rich_help_panel=_PORTS)
    ] = AppProtocol.HTTP1,
    health_path: Annotated[
        str, typer.Option(help="The applications' health page, such as /healthz.", rich_help_panel=_PORTS)
    ] = "",
    listen_address: Annotated[
        str, typer.Option(help="Where Envoy listens; :: in a cluster of IPv6.", rich_help_panel=_PORTS)
    ] = "0.0.0.0",  # noqa: S104 - peers come from the network; mTLS and policies guard the port
    sidecars: Annotated[
        Sidecars,
        typer.Option(
            help="native: the application starts after the sidecars (Kubernetes 1.29); plain: in no order.",
            rich_help_panel=_POD,
        ),
    ] = Sidecars.NATIVE,
    image: Annotated[
        str, typer.Option(help="Image with meshca.", rich_help_panel=_POD, show_default="meshca:<this version>")
    ] = "",
    envoy_image: Annotated[str, typer.Option(help="Image with Envoy.", rich_help_panel=_POD)] = ENVOY_IMAGE,
    run_as_user: Annotated[
        int | None,
        typer.Option(
            help="User id of both; the images' own (65532) if absent. OpenShift gives one itself.",
            min=1,
            rich_help_panel=_POD,
        ),
    ] = None,
    max_connection_age: Annotated[
        str, typer.Option(help="Envoy closes connections at this age.", rich_help_panel=_POD)
    ] = format_duration(MAX_CONNECTION_AGE),
    namespace: Annotated[
        str, typer.Option("--namespace", "-n", help="Namespace of manifests that name none.")
    ] = "default",
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Do not tell what was done.")] = False,
) -> None:
    """Add meshca's agent and Envoy to the pods of Kubernetes manifests.

    Everything else stays as it is, comments and unknown kinds included; injecting twice is injecting once. A pod
    chooses by annotations: meshca.io/inbound, meshca.io/outbound, meshca.io/app-protocol, meshca.io/health-path,
    and meshca.io/inject: "false" leaves it alone.

    Examples:
    meshca inject web.yaml | kubectl apply -f -

    helm template shop ./shop | meshca inject --inbound 8443:8080 -

    meshca inject web.yaml --output web.yaml
    """
    wishes = Wishes(
        inbound=tuple(inbound or ()),
        outbound=tuple(outbound or ()),
        protocol=app_protocol.value,
        health_path=health_path,
    )
    with reporting_errors():
        settings = Settings(
            version=version("meshca"),
            image=_word("--image", image or f"meshca:{version('meshca')}"),
            envoy_image=_word("--envoy-image", envoy_image),
            endpoint=_target("--endpoint", endpoint),
            endpoint_mtls=_target("--endpoint-mtls", endpoint_mtls) if endpoint_mtls else "",
            server_name=_word("--server-name", server_name) if server_name else "",
            audience=_word("--audience", audience),
            trust_domain=_trust_domain(trust_domain),
            root_config_map=_word("--root-config-map", root_config_map),
            root_key=_word("--root-key", root_key),
            namespace=_namespace(namespace),
            sidecars=sidecars,
            run_as_user=run_as_user,
            listen_address=_word("--listen-address", listen_address),
            max_connection_age=_age(max_connection_age),
            defaults=_checked(wishes),
        )
        injected = _inject_all(files or [STANDARD], settings)
        _write(joined([each.text for each in injected]), output)
    if not quiet:
        for report in (report for each in injected for report in each.reports):
            typer.echo(f"{report.workload}: {report.outcome.value}", err=True)


def _inject_all(files: list[str], settings: Settings) -> list[Injected]:
    """Every file, or the problems of all of them."""
    injected, problems = [], []
    for file in files:
        try:
            injected.append(inject(_read(file), settings))
        except ConfigError as error:
            problems += [f"{error.source}: {problem}" for problem in error.problems]
    if problems:
        raise ConfigError("nothing is injected", problems)
    return injected


def _read(file: str) -> Manifests:
    source = "standard input" if file == STANDARD else file
    try:
        data = sys.stdin.buffer.read() if file == STANDARD else Path(file).read_bytes()
        return Manifests(source=source, text=data.decode())
    except OSError as error:
        raise ConfigError(source, [f"cannot be read ({error.strerror}); name an existing file"]) from None
    except UnicodeDecodeError:
        raise ConfigError(source, ["is not UTF-8 text"]) from None


def _write(text: str, output: Path | None) -> None:
    data = text.encode()
    if output is None:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
        return
    try:
        output.write_bytes(data)
    except OSError as error:
        raise ConfigError("--output", [f"{output} cannot be written ({error.strerror})"]) from None


def _checked(wishes: Wishes) -> Wishes:
    """Ports of the flags, which would otherwise be blamed on every workload."""
    flags = {INBOUND: "--inbound", OUTBOUND: "--outbound", HEALTH: "--health-path"}
    _, faults = ports(wishes, "::")
    for key, found in faults.items():
        raise ConfigError(flags[key], found)
    return wishes


@contextlib.contextmanager
def _naming(flag: str) -> Iterator[None]:
    """Name the flag whose value is refused."""
    try:
        yield
    except BadRequest as error:
        raise ConfigError(flag, [error.detail]) from None


def _target(flag: str, text: str) -> str:
    with _naming(flag):
        return str(Target.parse(text))


def _word(flag: str, text: str) -> str:
    """A value without blanks, and without `$`, which the kubelet would take for a variable."""
    if not _WORD.fullmatch(text):
        raise ConfigError(flag, ["expected a value without blanks and dollar signs"])
    return text


def _trust_domain(text: str) -> TrustDomain:
    with _naming("--trust-domain"):
        return TrustDomain(text)


def _namespace(text: str) -> str:
    with _naming("--namespace"):
        return ServiceAccount(namespace=text, name="default").namespace


def _age(text: str) -> timedelta:
    try:
        age = parse_duration(text)
    except ValueError as error:
        raise ConfigError("--max-connection-age", [str(error)]) from None
    if not age:
        raise ConfigError("--max-connection-age", ["expected a duration over 0s"])
    return age
