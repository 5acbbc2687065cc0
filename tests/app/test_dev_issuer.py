"""Tests of meshca.app.dev_issuer."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from meshca.app.dev_issuer import ISSUER, KEY_FILE, KEY_SET_FILE, Algorithm, DevIssuer
from meshca.authn.jwks import open_
from meshca.errors import ConfigError, Unauthenticated
from meshca.identity.caller import BoundObject, Caller
from meshca.identity.service_account import ServiceAccount
from meshca.secret import Secret
from tests.fakes.callers import NOW
from tests.fakes.clock import FakeClock
from tests.fakes.tokens import bearing, ec_key

WEB = ServiceAccount(namespace="shop", name="web")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder that the issuer makes itself."""
    return tmp_path / "dev"


async def proven(issuer: DevIssuer, token: Secret[str]) -> Caller:
    """What a server makes of a token that trusts the issuer by its own configuration."""
    async with open_([issuer.config()], FakeClock(NOW)) as authenticator:
        return await authenticator.prove(bearing(token.reveal()))


@pytest.mark.parametrize("algorithm", ["ES256", "RS256"])
async def test_the_servers_own_authenticator_accepts_its_tokens(folder: Path, algorithm: Algorithm) -> None:
    """A pod-bound token with labels proves everything that a cluster's would, and the labels."""
    issuer = DevIssuer.create(folder, FakeClock(NOW), algorithm=algorithm)
    caller = await proven(issuer, issuer.mint(WEB, pod="web-1", labels={"app": "web"}))
    assert (caller.account, caller.issuer, dict(caller.labels)) == (WEB, "home", {"app": "web"})
    assert isinstance(caller.pod, BoundObject)
    assert isinstance(caller.node, BoundObject)
    assert (caller.pod.name, caller.node.name) == ("web-1", "dev-node")
    assert caller.until == NOW + timedelta(minutes=10)
    assert caller.token_id


async def test_a_token_without_a_pod(folder: Path) -> None:
    """As `kubectl create token` makes them."""
    issuer = DevIssuer.create(folder, FakeClock(NOW))
    caller = await proven(issuer, issuer.mint(WEB, pod=None))
    assert (caller.pod, caller.node, dict(caller.labels)) == (None, None, {})


@pytest.mark.parametrize(
    ("token", "reason"),
    [({"audience": "other"}, "token_audience"), ({"expires_in": timedelta(minutes=-5)}, "token_expired")],
    ids=["audience", "expired"],
)
async def test_tokens_that_are_to_be_refused(folder: Path, token: dict[str, Any], reason: str) -> None:
    """It also makes tokens for trying what a refusal looks like."""
    issuer = DevIssuer.create(folder, FakeClock(NOW))
    with pytest.raises(Unauthenticated) as caught:
        await proven(issuer, issuer.mint(WEB, pod="web-1", **token))
    assert caught.value.reason == reason


def test_the_layout_is_kubernetes() -> None:
    """Header and claims have the names and types of a kubelet's token."""
    issuer = DevIssuer(Path("unused"), ec_key(), FakeClock(NOW), new_id=lambda: "id-1")
    token = issuer.mint(WEB, pod="web-1", labels={"app": "web"}).reveal()
    found = jwt.decode_complete(token, options={"verify_signature": False})
    now = int(NOW.timestamp())
    assert sorted(found["header"]) == ["alg", "kid"]
    binding = found["payload"].pop("kubernetes.io")
    assert found["payload"] == {
        "aud": ["istio-ca"],
        "exp": now + 600,
        "iat": now,
        "iss": ISSUER,
        "jti": "id-1",
        "meshca.dev/labels": {"app": "web"},
        "nbf": now,
        "sub": "system:serviceaccount:shop:web",
    }
    assert binding["namespace"] == "shop"
    assert {kind: binding[kind]["name"] for kind in ("serviceaccount", "pod", "node")} == {
        "serviceaccount": "web",
        "pod": "web-1",
        "node": "dev-node",
    }


def test_the_same_pod_has_the_same_uid() -> None:
    """Two tokens of one pod agree, two pods and two namespaces differ, and token ids never repeat."""
    issuer = DevIssuer(Path("unused"), ec_key(), FakeClock(NOW))

    def claims(account: ServiceAccount, pod: str) -> Any:
        token = issuer.mint(account, pod=pod).reveal()
        return jwt.decode(token, options={"verify_signature": False})

    first, again, other = claims(WEB, "web-1"), claims(WEB, "web-1"), claims(WEB, "web-2")
    elsewhere = claims(ServiceAccount(namespace="other", name="web"), "web-1")
    assert first["kubernetes.io"] == again["kubernetes.io"]
    assert first["jti"] != again["jti"]
    uids = {found["kubernetes.io"]["pod"]["uid"] for found in (first, other, elsewhere)}
    assert len(uids) == 3


def test_its_files(folder: Path) -> None:
    """The key is for its owner only, the key set holds the public half only."""
    DevIssuer.create(folder, FakeClock(NOW))
    assert (folder.stat().st_mode & 0o777, (folder / KEY_FILE).stat().st_mode & 0o777) == (0o700, 0o600)
    (key,) = json.loads((folder / KEY_SET_FILE).read_bytes())["keys"]
    assert sorted(key) == ["alg", "crv", "kid", "kty", "use", "x", "y"]


@pytest.mark.parametrize("again", [DevIssuer.create, DevIssuer.open], ids=["create", "open"])
async def test_a_restart_keeps_the_key(folder: Path, again: Any) -> None:
    """Tokens made before and by another process stay good."""
    before = DevIssuer.create(folder, FakeClock(NOW)).mint(WEB, pod="web-1")
    assert (await proven(again(folder, FakeClock(NOW)), before)).account == WEB


def test_there_is_no_issuer_before_it_was_made(folder: Path) -> None:
    """The message says what to start."""
    with pytest.raises(ConfigError) as caught:
        DevIssuer.open(folder, FakeClock(NOW))
    assert caught.value.problems == (f"does not exist; start `meshca dev up --dir {folder}` first",)


def test_a_key_that_others_can_read(folder: Path) -> None:
    """Whoever reads it can be every workload."""
    DevIssuer.create(folder, FakeClock(NOW))
    (folder / KEY_FILE).chmod(0o644)
    with pytest.raises(ConfigError, match="others can read this private file"):
        DevIssuer.open(folder, FakeClock(NOW))


def pem(key: Any, password: bytes | None = None) -> bytes:
    """A private key as a file."""
    encryption = BestAvailableEncryption(password) if password else NoEncryption()
    encoded: bytes = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)
    return encoded


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "is not a private key in PEM"),
        (b"garbage", "is not a private key in PEM"),
        (pem(ec_key(), b"secret"), "is not a private key in PEM"),
        (pem(ec_key(0, ec.SECP384R1)), "expected a P-256 or RSA key"),
        (pem(ed25519.Ed25519PrivateKey.generate()), "expected a P-256 or RSA key"),
    ],
    ids=["empty", "garbage", "with a password", "P-384", "Ed25519"],
)
def test_a_key_that_can_not_be_used(folder: Path, content: bytes, problem: str) -> None:
    """The message names the file and the way out."""
    DevIssuer.create(folder, FakeClock(NOW))
    (folder / KEY_FILE).write_bytes(content)
    with pytest.raises(ConfigError, match=problem) as caught:
        DevIssuer.create(folder, FakeClock(NOW))
    assert caught.value.source == str(folder / KEY_FILE)
