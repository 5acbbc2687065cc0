"""What each authenticator brings to run through tests/contract/test_authenticator.py.

A new authenticator adds a rig here and gets the whole suite.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Protocol

from meshca.authn.chain import Authenticator, Chain
from meshca.authn.client_cert import Ancestor, ClientCertAuthenticator
from meshca.authn.token_review import TokenReviewAuthenticator
from meshca.config.kubernetes import TokenReviewConfig
from meshca.errors import MeshcaError, Unauthenticated, Unavailable
from meshca.identity.caller import Caller, Credential
from meshca.identity.spiffe_id import SpiffeId, TrustDomain
from tests.fakes.authenticator import FakeAuthenticator
from tests.fakes.callers import NODE, NOW, POD, caller
from tests.fakes.certificates import WEB, FakeLineage, key_sha256, leaf
from tests.fakes.clock import FakeClock
from tests.fakes.cluster import FakeCluster, FakeClusters, pod, shown
from tests.fakes.tokens import FakeIssuer, bearing

API = "spiffe://cluster.local/ns/shop/sa/api"


class Rig(Protocol):
    """An authenticator with credentials for it; every caller is of the issuer `home` at the time `NOW`."""

    clock: FakeClock
    authenticator: Authenticator

    def good(self) -> Credential:
        """Proves shop/web, bound to a pod."""
        ...

    def other(self) -> Credential:
        """Proves shop/api, bound to a pod."""
        ...

    def unbound(self) -> Credential:
        """Proves shop/web, bound to no pod."""
        ...

    def wrong(self) -> Mapping[str, Credential]:
        """What each proves nobody: the reason that must come of it, and the credential."""
        ...

    def hostile(self, raw: bytes) -> Credential:
        """A credential of this authenticator's kind, made of any bytes."""
        ...

    def cut_off(self) -> None:
        """Make whatever the authenticator asks unreachable, before its first question."""
        ...

    def reconnect(self) -> None:
        """Make it reachable again, and let as much time pass as it needs to notice."""
        ...


def undecodable(raw: bytes) -> Credential:
    """Bytes as a token."""
    return bearing(raw.decode("latin-1"))


class JwksRig:
    """Tokens checked by their issuer's public keys."""

    def __init__(self) -> None:
        self.clock = FakeClock(NOW)
        self.issuer = FakeIssuer(self.clock)
        self.authenticator: Authenticator = self.issuer.authenticator()
        self._document = self.issuer.source.document

    def good(self) -> Credential:
        """A good one of shop/web."""
        return bearing(self.issuer.token())

    def other(self) -> Credential:
        """A good one of shop/api."""
        return bearing(self.issuer.token(name="api"))

    def unbound(self) -> Credential:
        """A good one without a pod."""
        return bearing(self.issuer.token(**{"kubernetes.io": None}))

    def wrong(self) -> Mapping[str, Credential]:
        """Every way to be wrong."""
        now = int(NOW.timestamp())
        return {
            "token_expired": bearing(self.issuer.token(exp=now - 3600)),
            "token_not_yet_valid": bearing(self.issuer.token(nbf=now + 3600)),
            "token_audience": bearing(self.issuer.token(aud="other")),
            "token_issuer": bearing(self.issuer.token(iss="https://other")),
            "token_subject": bearing(self.issuer.token(sub="alice")),
            "token_malformed": bearing("garbage"),
            "token_too_large": bearing("a" * 1_000_000),
        }

    def hostile(self, raw: bytes) -> Credential:
        """Any bytes."""
        return undecodable(raw)

    def cut_off(self) -> None:
        """Out of reach."""
        self.issuer.source.document = None

    def reconnect(self) -> None:
        """Back again."""
        self.issuer.source.document = self._document
        self.clock.move(1)


class TokenReviewRig:
    """Tokens proven by their cluster."""

    def __init__(self, mode: str = "review") -> None:
        self.clock = FakeClock(NOW)
        self.cluster = FakeCluster(self.clock)
        self.cluster.pods.pods.append(pod("batch", finished=True))
        config = TokenReviewConfig.model_validate({"mode": mode})
        clusters = FakeClusters(self.cluster.value)
        self.authenticator: Authenticator = TokenReviewAuthenticator(clusters, config, self.clock)

    def good(self) -> Credential:
        """A good one of shop/web."""
        return shown(self.cluster.token())

    def other(self) -> Credential:
        """A good one of shop/api."""
        return shown(self.cluster.token("api"))

    def unbound(self) -> Credential:
        """A good one without a pod."""
        return shown(self.cluster.token(bound=False))

    def wrong(self) -> Mapping[str, Credential]:
        """Every way to be wrong."""
        now = int(NOW.timestamp())
        token = self.cluster.token
        return {
            "token_expired": shown(token(exp=now - 3600)),
            "token_not_yet_valid": shown(token(nbf=now + 3600)),
            "token_claims": shown(token(exp=None)),
            "token_refused": shown(token(aud=["other"])),
            "token_subject": shown(token(sub="alice")),
            "token_malformed": bearing("garbage"),
            "token_too_large": bearing("a" * 1_000_000),
            "unknown_cluster": shown(token(), "west"),
            "pod_unknown": shown(token("gone")),
            "pod_finished": shown(token("batch")),
        }

    def hostile(self, raw: bytes) -> Credential:
        """Any bytes."""
        return undecodable(raw)

    def cut_off(self) -> None:
        """Out of reach."""
        self.cluster.reviewer.down = Unavailable("kube_unreachable", "the test's API server is down")

    def reconnect(self) -> None:
        """Back again."""
        self.cluster.reviewer.down = None
        self.clock.move(60)


class LocalReviewRig(TokenReviewRig):
    """The same, with the signature checked here first."""

    def __init__(self) -> None:
        super().__init__("local")

    def wrong(self) -> Mapping[str, Credential]:
        """Our own check names what it sees."""
        found = dict(super().wrong())
        found["token_audience"] = found.pop("token_refused")
        return found


class ClientCertRig:
    """Certificates of our own trust domain."""

    def __init__(self) -> None:
        self.clock = FakeClock(NOW)
        bound = Ancestor(
            identity=SpiffeId.parse(WEB),
            key_sha256=key_sha256(),
            not_after=NOW + timedelta(hours=24),
            issuer="home",
            pod=POD,
            node=NODE,
            token_id="a3b1",
            proven_at=NOW,
        )
        self.lineage = FakeLineage(
            {
                "1": bound,
                "2": replace(bound, identity=SpiffeId.parse(API)),
                "3": replace(bound, pod=None, node=None),
                "4": replace(bound, proven_at=NOW - timedelta(days=8)),
            }
        )
        self.authenticator: Authenticator = ClientCertAuthenticator(
            trust_domain=TrustDomain("cluster.local"),
            lineage=self.lineage,
            clock=self.clock,
            max_lineage_age=timedelta(days=7),
        )

    def good(self) -> Credential:
        """A good one of shop/web."""
        return Credential(peer_certificate=leaf(serial=1))

    def other(self) -> Credential:
        """A good one of shop/api."""
        return Credential(peer_certificate=leaf(uris=[API], serial=2))

    def unbound(self) -> Credential:
        """A good one without a pod."""
        return Credential(peer_certificate=leaf(serial=3))

    def wrong(self) -> Mapping[str, Credential]:
        """Every way to be wrong."""
        certificates = {
            "cert_expired": leaf(serial=1, end=NOW - timedelta(seconds=1)),
            "cert_not_yet_valid": leaf(serial=1, begin=NOW + timedelta(hours=1)),
            "cert_trust_domain": leaf(serial=1, uris=["spiffe://other/ns/shop/sa/web"]),
            "cert_profile": leaf(serial=1, ca=True),
            "cert_uri": leaf(serial=1, uris=["https://example.org"]),
            "cert_malformed": b"garbage",
            "unknown_serial": leaf(serial=99),
            "lineage_mismatch": leaf(serial=2),
            "lineage_too_old": leaf(serial=4),
        }
        return {reason: Credential(peer_certificate=pem) for reason, pem in certificates.items()}

    def hostile(self, raw: bytes) -> Credential:
        """Any bytes."""
        return Credential(peer_certificate=raw)

    def cut_off(self) -> None:
        """Out of reach."""
        self.lineage.down = True

    def reconnect(self) -> None:
        """Back again."""
        self.lineage.down = False


class FakeRig:
    """The fake that other rooms' tests use."""

    def __init__(self) -> None:
        self.clock = FakeClock(NOW)
        self._table: dict[str, Caller | MeshcaError] = {
            "good": caller(),
            "other": caller(name="api"),
            "unbound": caller(pod=None, node=None),
            "expired": Unauthenticated("token_expired", "long ago"),
        }
        self.fake = FakeAuthenticator(tokens=self._table)
        self.authenticator: Authenticator = self.fake

    def good(self) -> Credential:
        """A good one of shop/web."""
        return bearing("good")

    def other(self) -> Credential:
        """A good one of shop/api."""
        return bearing("other")

    def unbound(self) -> Credential:
        """A good one without a pod."""
        return bearing("unbound")

    def wrong(self) -> Mapping[str, Credential]:
        """Every way to be wrong."""
        return {"token_expired": bearing("expired"), "token_malformed": bearing("garbage")}

    def hostile(self, raw: bytes) -> Credential:
        """Any bytes."""
        return undecodable(raw)

    def cut_off(self) -> None:
        """Out of reach."""
        self.fake.tokens = {"good": Unavailable("issuer_keys", "the test's source is down")}

    def reconnect(self) -> None:
        """Back again."""
        self.fake.tokens = dict(self._table)


class ChainRig(JwksRig):
    """A chain is an authenticator too: certificates before tokens, asked with tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.authenticator = Chain([ClientCertRig().authenticator, self.issuer.authenticator()])


RIGS: tuple[type[Rig], ...] = (JwksRig, TokenReviewRig, LocalReviewRig, ClientCertRig, FakeRig, ChainRig)
