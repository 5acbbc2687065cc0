"""SDS and ECDS straight from the CA, for Envoys without an agent (`sds.server_keys`; docs/adr/0007).

The caller proves itself with its token at the start of each stream; a stream ends when that proof ends, so
that it proves itself again. Only a request for the caller's own certificate causes an issuance, through the
one pipeline. The private key must never be stored or logged.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Awaitable, Callable
from weakref import WeakValueDictionary

from meshca.clock import Clock
from meshca.delivery import Delivery
from meshca.discovery.resources import KeyPair
from meshca.discovery.source import Source
from meshca.errors import InvariantBroken
from meshca.identity.caller import Caller, Credential
from meshca.identity.spiffe_id import SpiffeId, TrustDomain
from meshca.log import log
from meshca.rpc.adoptions import ENVOYS, Adoptions
from meshca.rpc.discovery import Prove, workload_of
from meshca.rpc.server_keys import Holding
from meshca.secret import Secret
from meshca.svid.draft import Issued
from meshca.svid.servable import servable_pair
from meshca.wire.credentials import read_credential
from meshca.wire.interceptors import current_call
from meshca.wire.xds_services import EXTENSIONS, SECRETS, Registry, add_service
from meshca.wire.xds_streams import Context, Streams, Terms

Issue = Callable[[Credential, str], Awaitable[tuple[Issued, Secret[str]]]]
_Key = tuple[SpiffeId, bytes, str, frozenset[tuple[str, str]]]


class ServerKeys:
    """Admits Envoys to the secret and extension-config discovery services.

    Args:
        prove: proves callers, and asks admission for them.
        issue: the pipeline, for a key of our making.
        delivery: roots and policies.
        adoptions: hears what Envoys do with all of it.
        streams: keeps the streams.
        trust_domain: of the workloads.
        clock: for renewal.
    """

    def __init__(  # noqa: PLR0913 - the parts, by name
        self,
        *,
        prove: Prove,
        issue: Issue,
        delivery: Delivery,
        adoptions: Adoptions,
        streams: Streams,
        trust_domain: TrustDomain,
        clock: Clock,
    ) -> None:
        self._prove = prove
        self._issue = issue
        self._delivery = delivery
        self._adoptions = adoptions
        self._streams = streams
        self._trust_domain = trust_domain
        self._clock = clock
        self._holdings: WeakValueDictionary[_Key, Holding] = WeakValueDictionary()

    def add_to(self, server: Registry) -> None:
        """Serve."""
        for service in (SECRETS, EXTENSIONS):
            add_service(server, service, self._streams, self.admit)

    async def admit(self, context: Context) -> Terms:
        """The terms for one stream.

        A client certificate does not count here, on whichever port: a key is only made for a token.

        Raises:
            Unauthenticated: the caller could not be proven.
            Denied: no admission rule lets it have its own identity.
            Exhausted: it began too many streams.
            Unavailable: that could not be decided now.
        """
        shown = read_credential(context)
        credential = Credential(unverified_token=shown.unverified_token, cluster=shown.cluster)
        caller = await self._prove(credential)
        return Terms(
            source=self._holding(credential, caller),
            observer=self._adoptions.observer(caller, ENVOYS),
            until=caller.until,
        )

    def _holding(self, credential: Credential, caller: Caller) -> Source:
        """What the streams of one token share, over whatever connections; it outlives the last of them a little.

        The token was proven just now, and another token is another holding: nobody else finds this key. So are
        other labels of its pod, by which policies choose: a stream must get those of the caller as proven for it.
        """
        identity, token = caller.identity(self._trust_domain), credential.unverified_token
        shown = hashlib.sha256(token.reveal().encode()).digest() if token else b""
        key = (identity, shown, credential.cluster, frozenset(caller.labels.items()))
        holding = self._holdings.get(key)
        if holding is None:
            holding = self._holdings[key] = Holding(
                identity=identity,
                delivered=self._delivery.source(workload_of(caller, self._trust_domain)),
                make=lambda: self._make(credential),
                clock=self._clock,
                broken=lambda error: self._broken(key, error),
                order=lambda: self._delivery.order,
            )
        return holding

    async def _make(self, credential: Credential) -> KeyPair:
        """A checked pair; the first of a stream is issued under the id of its call, renewals under new ones."""
        call = current_call()
        request_id = secrets.token_hex(8) if call.audited else call.id
        call.audited = True
        issued, key = await self._issue(credential, request_id)
        return servable_pair(issued, key, self._clock.now())

    def _broken(self, key: _Key, error: BaseException) -> None:
        """A renewal failed in a way that we did not foresee: the client begins anew."""
        log.error("sds.renewal_broken", exc_info=error)
        told = InvariantBroken("renewal", "the renewal of a key failed unexpectedly")
        if (holding := self._holdings.get(key)) is not None:
            self._streams.end_source(holding, told)
