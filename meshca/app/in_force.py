"""What is in force now, and why a newer thing is not: the parent's memory, which every fresh worker is told.

Keeps the last good of each: a refused change is counted, remembered with its error, and never half applied.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from operator import attrgetter
from typing import Final

from meshca import metrics
from meshca.app.control import Configure, Message, UseAuthority, UseOrder
from meshca.app.loading import Loaded
from meshca.app.ports import Address
from meshca.errors import ConfigError, MeshcaError
from meshca.log import log
from meshca.rotation.standing import Standing

WORKER_BITS: Final = 7  # of a serial's prefix: 64 workers and as many that replace them
REPLICA_BITS: Final = 8  # together 15, what `authority.serials` takes
# What may not change while the server runs: ports, files and databases are open, clients know the names, and
# gates must not be judged by terms that nobody sees.
FIXED: Final = (
    "listen",
    "data_dir",
    "trust_domain",
    "workers",
    "upstream",
    "rotation",
    "ledger.url",
    "admin",
    "kubernetes",
    "replica",
)


class InForce:
    """Configuration, rules, policies and signing material in force.

    Args:
        loaded: what the server starts with.
        addresses: `token` and `mtls`: where workers listen.
    """

    def __init__(self, loaded: Loaded, addresses: Mapping[str, Address]) -> None:
        self.loaded = loaded
        self.authority: UseAuthority | None = None
        self.order = UseOrder()
        self.errors: dict[str, str] = {}
        self._addresses = addresses
        self._replica = secrets.randbelow((1 << REPLICA_BITS) - 1) + 1

    def use_standing(self, standing: Standing) -> Sequence[Message]:
        """Brief workers with these signers, these roots and this order from now on; what they must be told."""
        signer, serving, order = standing.signer.to_wire(), standing.serving.to_wire(), standing.order
        self.authority = UseAuthority(
            chain=signer.chain,
            roots=standing.bundle if standing.withheld else signer.roots,
            key=signer.key.reveal(),
            serving_chain=serving.chain,
            serving_key=serving.key.reveal(),
            withheld=standing.withheld,
            chain_roots=signer.roots if standing.withheld else "",
        )
        self.order = UseOrder(
            signers=order.signers,
            begun_at=order.begun_at.isoformat() if order.begun_at else "",
            window=order.window.total_seconds(),
        )
        return self.authority, self.order

    def briefing(self, name: str, loaded: Loaded | None = None) -> Sequence[Message]:
        """What a fresh worker of this name must know.

        Args:
            name: of the worker.
            loaded: what it shall try before that is in force, in place of what is.
        """
        loaded = loaded or self.loaded
        configure = Configure(
            config=loaded.config.model_dump_json(),
            token_address=str(self._addresses["token"]),
            mtls_address=str(self._addresses["mtls"]),
            name=name,
            prefix=self._replica << WORKER_BITS | int(name.removeprefix("w")),
        )
        assert self.authority is not None  # noqa: S101 - rotation has published before any worker is started
        return (configure, self.order, self.authority, loaded.admission, loaded.policies.news)

    def take(self, loaded: Loaded) -> None:
        """Everything was read anew and serves: it is in force, and no file's error is older than it."""
        self.loaded = loaded
        self.errors.clear()

    def check_replaceable(self, other: Loaded) -> None:
        """Refuse a configuration that needs a restart, by the names of what differs.

        Raises:
            ConfigError: naming every such setting.
        """
        old, new = self.loaded.config, other.config
        changed = [name for name in FIXED if (get := attrgetter(name))(old) != get(new)]
        if changed:
            raise ConfigError(
                "configuration", [f"{name}: cannot change while the server runs; restart it" for name in changed]
            )

    @contextmanager
    def changing(self, what: str, again: Callable[[], str] = str) -> Iterator[None]:
        """Attempt one change; an error of ours is counted and remembered, and what is in force stays.

        Args:
            what: config, admission or policies.
            again: called at an error: what is remembered with it, such as how to attempt it again.
        """
        try:
            yield
        except MeshcaError as error:
            self.errors[what] = error.detail + again()
            metrics.reload_failures.labels(what).inc()
            log.error("reload.refused", what=what, reason=error.reason, detail=error.detail)
        else:
            self.errors.pop(what, None)
            log.info("reload.done", what=what)
