"""One certificate for a script: the agent's way to a CA, walked once.

The same trust, the same checks of the answer; no retries, because a script wants to know.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from meshca.agent.bundle import Bundle
from meshca.agent.ca_client import CaAddress, CaClient
from meshca.agent.issuer import Issuer
from meshca.agent.keys import KeyChoice
from meshca.agent.output import CHAIN, KEY, ROOTS, contents, prepare_folder, write_plain
from meshca.agent.pin import Pin
from meshca.agent.presented import presented_chain
from meshca.agent.svid import Expected, Svid
from meshca.agent.target import Target
from meshca.agent.trust import Trust
from meshca.clock import SystemClock
from meshca.errors import Unavailable


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What is wanted, from whom.

    Attributes:
        endpoint: the CA's port for callers with a token.
        server_name: the name in the CA's certificate; empty for the endpoint's host.
        pin: whom to trust.
        token_file: the token to show.
        key: the kind of key to make.
        lifetime: seconds to ask for; 0 leaves it to the CA.
        timeout: seconds for the whole call.
    """

    endpoint: Target
    server_name: str
    pin: Pin
    token_file: Path
    key: KeyChoice
    lifetime: int
    timeout: float


async def one_certificate(order: Order) -> tuple[Svid, Bundle]:
    """A certificate, and the roots that it was checked with.

    Raises:
        MeshcaError: there is none; with what to do.
    """
    clock = SystemClock()
    trust = Trust(
        order.pin, fetch=lambda: presented_chain(order.endpoint, order.server_name, order.timeout), clock=clock
    )
    client = CaClient(
        address=CaAddress(token=order.endpoint, server_name=order.server_name),
        trust=trust,
        token_file=order.token_file,
        timeout=order.timeout,
        lifetime=order.lifetime,
    )
    issuer = Issuer(ca=client, trust=trust, clock=clock, key=order.key, renew_by_certificate=False)
    svid = await issuer.issue(None, Expected())
    if trust.bundle is None:
        raise Unavailable("bad_bundle", "no root is held")
    return svid, trust.bundle


def write_files(folder: Path, svid: Svid, bundle: Bundle) -> Mapping[str, str]:
    """Write key.pem, cert-chain.pem and root-cert.pem, mode 0600; gives their paths.

    Raises:
        ConfigError: the folder cannot be used.
        Unavailable: reason `output`, when writing failed.
    """
    prepare_folder(folder, "--out")
    try:
        write_plain(folder, contents(svid, bundle.pem))
    except OSError as error:
        raise Unavailable("output", f"cannot write to {folder} ({error.strerror})") from None
    return {"key": str(folder / KEY), "cert_chain": str(folder / CHAIN), "root_cert": str(folder / ROOTS)}
