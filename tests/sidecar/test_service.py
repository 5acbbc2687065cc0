"""What a bootstrap is made from: sound values only."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from meshca.agent.flags import FLAGS
from meshca.errors import ConfigError
from meshca.identity.spiffe_id import SpiffeId
from meshca.sidecar.service import (
    DEFAULT_AGENT_SOCKET,
    AdminPort,
    AdminSocket,
    AgentSocket,
    DirectFromCa,
    Inbound,
    Outbound,
    ServiceBootstrap,
)

ME = SpiffeId.parse("spiffe://cluster.local/ns/shop/sa/web")
AGENT = AgentSocket(path=Path("/run/agent.sock"))
LONG = Path("/" + "x" * 107)


def outbound(**changes: Any) -> Outbound:
    """A sound outbound with some fields changed."""
    return Outbound(**{"listen_port": 9001, "host": "pay", "port": 8443, "identities": (ME,), **changes})


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        pytest.param(lambda: Inbound(port=-1, app_port=1), "inbound port must be a number from 0", id="port-low"),
        pytest.param(lambda: Inbound(port=65536, app_port=1), "inbound port must be a number", id="port-high"),
        pytest.param(
            lambda: Inbound(port=1, app_port=0), "application port must be a number from 1", id="app-port"
        ),
        pytest.param(lambda: Inbound(port=1, app_port=1, health_path="h"), "begin with a slash", id="health-path"),
        pytest.param(lambda: outbound(listen_port=65536), "outbound listening port", id="listen-port"),
        pytest.param(lambda: outbound(port=0), "port of the other service", id="their-port"),
        pytest.param(lambda: outbound(host=""), "name the host", id="no-host"),
        pytest.param(
            lambda: outbound(identities=()), "which identity the other service must prove", id="no-identity"
        ),
        pytest.param(lambda: AdminPort(port=65536), "administration port", id="admin-port"),
        pytest.param(lambda: AdminSocket(path=LONG), "at most 107 bytes", id="admin-socket"),
        pytest.param(lambda: AgentSocket(path=LONG), "at most 107 bytes", id="agent-socket"),
        pytest.param(
            lambda: DirectFromCa(host="ca", port=0, root_file=Path("r"), token_file=Path("t")),
            "port of the CA",
            id="ca-port",
        ),
        pytest.param(lambda: ServiceBootstrap(identity=ME, source=AGENT), "at least one inbound", id="no-ports"),
        pytest.param(
            lambda: ServiceBootstrap(
                identity=ME, source=AGENT, inbound=(Inbound(port=1, app_port=1), Inbound(port=1, app_port=2))
            ),
            "inbound port 1 is given twice",
            id="same-inbound",
        ),
        pytest.param(
            lambda: ServiceBootstrap(
                identity=ME, source=AGENT, inbound=(Inbound(port=0, app_port=7), Inbound(port=0, app_port=7))
            ),
            "inbound port 0 for application port 7 is given twice",
            id="same-application",
        ),
        pytest.param(
            lambda: ServiceBootstrap(identity=ME, source=AGENT, outbound=(outbound(), outbound(host="other"))),
            "outbound listening port 9001 is given twice",
            id="same-outbound",
        ),
        pytest.param(
            lambda: ServiceBootstrap(
                identity=ME, source=AGENT, outbound=(outbound(),), max_connection_age=timedelta(0)
            ),
            "must be over 0s",
            id="no-age",
        ),
    ],
)
def test_refuses(make: Callable[[], object], problem: str) -> None:
    """Each wrong value is named."""
    with pytest.raises(ConfigError) as caught:
        make()
    assert problem in caught.value.problems[0]


def test_any_free_port_may_be_given_often() -> None:
    """Port 0 stands for any free one, so two of them are two ports."""
    anywhere = (Inbound(port=0, app_port=1), Inbound(port=0, app_port=2))
    assert ServiceBootstrap(identity=ME, source=AGENT, inbound=anywhere).inbound == anywhere


def test_agent_and_envoy_agree_on_the_socket() -> None:
    """Without a flag, `meshca envoy-config` points to where `meshca agent` serves."""
    (flag,) = (flag for flag in FLAGS if flag.name == "socket")
    assert flag.default == str(DEFAULT_AGENT_SOCKET)


def test_trust_domain_is_the_identitys() -> None:
    """Peers must belong to the trust domain of the service itself."""
    assert ServiceBootstrap(identity=ME, source=AGENT, outbound=(outbound(),)).trust_domain == ME.trust_domain
