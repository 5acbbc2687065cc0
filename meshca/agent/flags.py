"""The agent's flags as a table, and where each value comes from: command line, then environment, then default.

Everything stays text here; `options` gives it meaning. No configuration library: an agent runs beside every
workload and must stay small.
"""

from __future__ import annotations

import argparse
import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

PREFIX = "MESHCA_AGENT_"
OFF = "off"


@dataclass(frozen=True, slots=True)
class Flag:
    """One flag.

    Attributes:
        name: without dashes.
        metavar: what stands for the value in the help; empty for a switch.
        default: the text that counts when nothing is given; None for nothing.
        help: one or two sentences.
        group: the heading it stands under.
    """

    name: str
    metavar: str
    default: str | None
    help: str
    group: str

    @property
    def variable(self) -> str:
        """The environment variable that gives it too."""
        return PREFIX + self.name.replace("-", "_").upper()


FLAGS = (
    Flag("endpoint", "HOST:PORT", None, "The CA's port for callers with a token. Required.", "the CA"),
    Flag(
        "endpoint-mtls",
        "HOST:PORT",
        None,
        "The CA's port for callers with a certificate: renewal without a token, and the stream that brings new "
        "roots and policies. Without it there is neither.",
        "the CA",
    ),
    Flag(
        "server-name",
        "NAME",
        "",
        "The name in the CA's certificate, when it is not the endpoint's host.",
        "the CA",
    ),
    Flag("call-timeout", "DURATION", "10s", "Longest time for one call.", "the CA"),
    Flag("root", "FILE", None, "PEM roots to trust at first contact.", "whom to trust, exactly one"),
    Flag(
        "fingerprint",
        "SHA256",
        None,
        "SHA-256 of the root certificate to trust at first contact: 64 hexadecimal digits, colons allowed.",
        "whom to trust, exactly one",
    ),
    Flag("system-roots", "", "false", "Trust this machine's roots.", "whom to trust, exactly one"),
    Flag(
        "token-file",
        "FILE",
        "/var/run/secrets/tokens/istio-token",
        "The service-account token; read anew for every call.",
        "who we are",
    ),
    Flag(
        "namespace",
        "NAME",
        "",
        "Namespace, if the token should not be asked; with --service-account.",
        "who we are",
    ),
    Flag("service-account", "NAME", "", "Service account; with --namespace.", "who we are"),
    Flag(
        "trust-domain", "NAME", "", "Trust domain to insist on; by default the CA's answer names it.", "who we are"
    ),
    Flag("node-id", "NAME", "", "What to be called in `meshca status`; the host name by default.", "who we are"),
    Flag("key-type", "TYPE", "ec-p256", "ec-p256 or rsa-2048. Every certificate gets a new key.", "certificates"),
    Flag("lifetime", "DURATION", "0s", "Lifetime to ask for; 0s leaves it to the CA.", "certificates"),
    Flag(
        "write-certs",
        "DIR",
        None,
        "Also keep key.pem, cert-chain.pem and root-cert.pem (0600) here, always as a matching set.",
        "certificates",
    ),
    Flag(
        "socket", "PATH", "/var/run/meshca/agent.sock", "Unix socket for Envoy (SDS and ECDS), mode 0660.", "Envoy"
    ),
    Flag(
        "allow-uid",
        "UIDS",
        "",
        "User ids that may connect, separated by commas; our own and root by default.",
        "Envoy",
    ),
    Flag("envoy-timeout", "DURATION", "10s", "How long to wait for an Envoy's acknowledgement.", "Envoy"),
    Flag(
        "state-dir",
        "DIR",
        "/var/lib/meshca-agent",
        "Keeps learnt roots and the last good policies (never a key) over a restart; `off` keeps nothing.",
        "this process",
    ),
    Flag(
        "readiness",
        "HOST:PORT",
        "127.0.0.1:15021",
        "Where GET /readyz and /livez answer; port 0 for any free one, `off` for none.",
        "this process",
    ),
    Flag("log-level", "LEVEL", "info", "debug, info, warning or error.", "this process"),
    Flag("log-format", "FORMAT", "auto", "json, text, or auto: text on a terminal.", "this process"),
)

EXAMPLES = f"""\
Each flag is also an environment variable, such as {PREFIX}ENDPOINT; a flag wins. Unknown {PREFIX}* are errors.

examples:
  meshca agent --endpoint ca.mesh:15012 --endpoint-mtls ca.mesh:15013 --root /etc/meshca/root.pem
  meshca agent --endpoint localhost:15012 --fingerprint 5F:3A:... --token-file ./token \\
      --socket ./agent.sock --state-dir ./state
  meshca envoy-config --help     prints an Envoy bootstrap for the socket

exit codes: 0 stopped by a signal, 1 failed while running, 2 wrong usage or configuration
"""


@dataclass(frozen=True, slots=True)
class Given:
    """A value and where it was given; the text is None when nowhere."""

    text: str | None
    place: str


def parser() -> argparse.ArgumentParser:
    """The command line; values stay text so that all their problems can be told at once."""
    made = argparse.ArgumentParser(
        prog="meshca agent",
        description="Gets and renews this workload's certificate, and gives it, roots and policies to Envoy.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    groups: dict[str, argparse._ArgumentGroup] = {}
    for flag in FLAGS:
        group = groups.setdefault(flag.group, made.add_argument_group(flag.group))
        shown = f" Default: {flag.default}" if flag.default and flag.metavar else ""
        if flag.metavar:
            group.add_argument(f"--{flag.name}", metavar=flag.metavar, help=flag.help + shown)
        else:
            group.add_argument(f"--{flag.name}", action="store_const", const="true", help=flag.help)
    return made


def gather(argv: Sequence[str], environ: Mapping[str, str]) -> tuple[dict[str, Given], list[str]]:
    """Each flag's text, and what is wrong with the environment.

    Exits by itself for --help (0) and for what is no flag of ours (2), as argparse does.
    """
    line = vars(parser().parse_args(argv))
    values: dict[str, Given] = {}
    for flag in FLAGS:
        given = line[flag.name.replace("-", "_")]
        if given is not None:
            values[flag.name] = Given(given, f"--{flag.name}")
        elif flag.variable in environ:
            values[flag.name] = Given(environ[flag.variable], flag.variable)
        else:
            values[flag.name] = Given(flag.default, f"--{flag.name} (or {flag.variable})")
    return values, _unknown(environ)


def _unknown(environ: Mapping[str, str]) -> list[str]:
    known = [flag.variable for flag in FLAGS]
    problems = []
    for name in sorted(name for name in environ if name.startswith(PREFIX) and name not in known):
        near = difflib.get_close_matches(name.removeprefix(PREFIX), [item.removeprefix(PREFIX) for item in known])
        hint = f"; did you mean {PREFIX}{near[0]}" if near else ""
        problems.append(f"{name}: no such setting{hint}; remove or rename it")
    return problems
