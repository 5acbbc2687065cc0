"""The agent's settings as one value."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from meshca.agent.keys import KeyChoice
from meshca.agent.options import Options, read_options
from meshca.agent.pin import Fingerprint, RootFile, SystemRoots
from meshca.agent.target import Target
from meshca.errors import ConfigError
from meshca.identity.service_account import ServiceAccount
from meshca.identity.spiffe_id import TrustDomain

NEEDED = ["--endpoint", "ca:15012", "--root", "root.pem"]


def read(*argv: str, **environ: str) -> Options:
    """Options of the needed flags and these."""
    return read_options([*NEEDED, *argv], environ)


def test_two_flags_are_enough() -> None:
    """Everything else has a default."""
    options = read()
    assert options.endpoint == Target(host="ca", port=15012)
    assert options.pin == RootFile(Path("root.pem"))
    assert options.endpoint_mtls is None
    assert options.token_file == Path("/var/run/secrets/tokens/istio-token")
    assert options.key_type is KeyChoice.EC_P256
    assert (options.call_timeout, options.envoy_timeout, options.lifetime) == (10.0, 10.0, 0)
    assert options.allowed_uids == {os.geteuid(), 0}
    assert options.readiness == Target(host="127.0.0.1", port=15021)
    assert options.node_id == socket.gethostname()
    assert options.account is None
    assert options.trust_domain is None
    assert options.write_certs is None


def test_every_value_can_be_given() -> None:
    """By flag or by variable."""
    options = read_options(
        ["--endpoint", "ca:1", "--endpoint-mtls", "ca:2", "--fingerprint", "0" * 64, "--server-name", "istiod"],
        {
            "MESHCA_AGENT_NAMESPACE": "shop",
            "MESHCA_AGENT_SERVICE_ACCOUNT": "web",
            "MESHCA_AGENT_TRUST_DOMAIN": "example.org",
            "MESHCA_AGENT_NODE_ID": "web-0",
            "MESHCA_AGENT_ALLOW_UID": "0,1337",
            "MESHCA_AGENT_LIFETIME": "1h30m",
            "MESHCA_AGENT_STATE_DIR": "off",
            "MESHCA_AGENT_READINESS": "off",
            "MESHCA_AGENT_WRITE_CERTS": "/certs",
        },
    )
    assert options.endpoint_mtls == Target(host="ca", port=2)
    assert options.pin == Fingerprint("0" * 64)
    assert options.server_name == "istiod"
    assert options.account == ServiceAccount(namespace="shop", name="web")
    assert options.trust_domain == TrustDomain("example.org")
    assert options.node_id == "web-0"
    assert options.allowed_uids == {0, 1337}
    assert options.lifetime == 5400
    assert options.state_dir is None
    assert options.readiness is None
    assert options.write_certs == Path("/certs")


def test_system_roots_are_a_pin() -> None:
    """By flag or by variable."""
    assert read_options(["--endpoint", "ca:1", "--system-roots"], {}).pin == SystemRoots()
    assert read_options(["--endpoint", "ca:1"], {"MESHCA_AGENT_SYSTEM_ROOTS": "true"}).pin == SystemRoots()


@pytest.mark.parametrize(
    ("argv", "part"),
    [
        pytest.param(["--endpoint", "ca"], "--endpoint: expected host:port", id="no port"),
        pytest.param(["--endpoint-mtls", "ca:x"], "--endpoint-mtls: expected host:port", id="mtls port"),
        pytest.param(["--fingerprint", "0" * 64], "exactly one of --root", id="two pins"),
        pytest.param(["--system-roots"], "exactly one of --root", id="root and system"),
        pytest.param(["--namespace", "shop"], "both of --namespace and --service-account", id="half an account"),
        pytest.param(["--namespace", "Shop", "--service-account", "web"], "DNS-1123", id="bad account"),
        pytest.param(["--trust-domain", "Example"], "trust domain must be", id="bad trust domain"),
        pytest.param(["--key-type", "ed25519"], "expected ec-p256 or rsa-2048", id="key type"),
        pytest.param(["--lifetime", "3600"], "a duration with a unit", id="bare number"),
        pytest.param(["--lifetime", "99999d"], "at most ten years", id="absurd lifetime"),
        pytest.param(["--call-timeout", "0s"], "above 0s", id="no time"),
        pytest.param(["--envoy-timeout", "1h"], "at most 10m", id="too much time"),
        pytest.param(["--allow-uid", "root"], "user ids as numbers", id="user name"),
        pytest.param(["--allow-uid", "1,"], "user ids as numbers", id="trailing comma"),
        pytest.param(["--socket", ""], "expected a path", id="empty path"),
        pytest.param(["--readiness", "15021"], "--readiness: expected host:port", id="bare port"),
        pytest.param(["--log-level", "loud"], "expected debug or info", id="level"),
        pytest.param(["--log-format", "xml"], "expected auto or json or text", id="format"),
    ],
)
def test_a_bad_value_is_named_with_what_was_expected(argv: list[str], part: str) -> None:
    """And no traceback."""
    with pytest.raises(ConfigError) as caught:
        read(*argv)
    assert any(part in problem for problem in caught.value.problems)


def test_a_bad_variable_is_named_as_such() -> None:
    """Not as a flag that nobody gave."""
    with pytest.raises(ConfigError) as caught:
        read(MESHCA_AGENT_SYSTEM_ROOTS="yes")
    assert caught.value.problems == ("MESHCA_AGENT_SYSTEM_ROOTS: expected true or false",)


def test_all_problems_are_told_at_once() -> None:
    """Nobody mends a configuration one error at a time."""
    with pytest.raises(ConfigError) as caught:
        read_options(["--lifetime", "1"], {"MESHCA_AGENT_X": "", "MESHCA_AGENT_KEY_TYPE": "dsa"})
    assert len(caught.value.problems) == 5
