"""Ready-made values for tests of the agent: certificates, bundles, policies."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime, timedelta

from envoy.config.core.v3.extension_pb2 import TypedExtensionConfig

from meshca.agent.bundle import Bundle, parse_bundle
from meshca.agent.keys import KeyChoice, fresh_key
from meshca.agent.pushed import RBAC_TYPE_URL, Policies, read_policies
from meshca.agent.svid import Expected, Svid, accept
from meshca.config.resource_names import AUTHZ, ROOTCA
from meshca.discovery.resources import TrustBundle, roots
from tests.fakes.ca import FakeCa, Pair, authority
from tests.fakes.clock import FakeClock

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def bundle_of(*pairs: Pair, now: datetime = NOW) -> Bundle:
    """These roots."""
    return parse_bundle("".join(pair.pem for pair in pairs), now)


def svid_of(ca: FakeCa) -> Svid:
    """A new certificate of this CA, at its clock's time."""
    key, now = fresh_key(KeyChoice.EC_P256, None), ca.clock.now()
    return accept(ca.issue(key.csr), key, bundle_of(ca.root, now=now), Expected(), now)


def new_root(name: str, now: datetime = NOW) -> Pair:
    """A root that is valid around this time."""
    return authority(name, now - timedelta(days=1), now + timedelta(days=365))


def policy_body(text: str) -> bytes:
    """A policy set of our own, told from others by its text; Envoy would refuse it."""
    message = TypedExtensionConfig(name=AUTHZ)
    message.typed_config.type_url = RBAC_TYPE_URL
    message.typed_config.value = text.encode()
    return bytes(message.SerializeToString())


def policies_of(text: str) -> Policies:
    """The same, read."""
    return read_policies(policy_body(text))


def roots_body(bundle: Bundle) -> bytes:
    """What the CA pushes for this bundle."""
    return roots(ROOTCA, TrustBundle(pem=bundle.pem)).body


def fake_ca(now: datetime = NOW) -> FakeCa:
    """A CA with a clock of its own."""
    return FakeCa(FakeClock(now))


def unsigned_token(namespace: str, name: str) -> str:
    """A token that claims this service account; its signature is nonsense."""
    claims = json.dumps({"sub": f"system:serviceaccount:{namespace}:{name}"}).encode()
    return f"e30.{base64.urlsafe_b64encode(claims).decode().rstrip('=')}.c2ln"
