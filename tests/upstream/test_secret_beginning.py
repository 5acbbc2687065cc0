"""Roots that are made in Secrets; that none is made over a living mesh is in test_secret.py."""

from __future__ import annotations

import pytest

from meshca.authority.secret_source import Overtaken, StoredSecret
from meshca.config.upstream import SecretConfig
from meshca.errors import ConfigError, Unavailable
from meshca.upstream import ca_secret
from meshca.upstream.secret_beginning import Beginning
from tests.fakes.clock import FakeClock
from tests.fakes.logs import captured_logs
from tests.fakes.pki import NOW, TRUST_DOMAIN, ec_key, make_ca
from tests.fakes.secret_source import FakeSecrets, FakeSource

NAME = "istio-ca-secret"


def beginning(source: FakeSource, *, create: bool = True) -> Beginning:
    """Over a source, with nothing published."""
    return Beginning(SecretConfig(kind="secret", create=create), source, None, TRUST_DOMAIN, FakeClock())


async def test_made() -> None:
    """A root is made whole in a Secret of Istio's type, with a new key, and is an event in the log."""
    store = FakeSecrets()
    with captured_logs() as logs:
        await beginning(FakeSource(store)).make(NAME, [])
    problems: list[str] = []
    ca = ca_secret.read(store.held[NAME], problems)
    assert (problems, ca.key is not None, store.held[NAME].kind) == ([], True, "istio.io/ca-root")
    assert [line["event"] for line in logs] == ["ca.signed"]


async def test_overtaken() -> None:
    """Whoever is overtaken leaves what the winner wrote, and tells of no signature."""
    store = FakeSecrets()
    store.put(NAME, {"ca-cert.pem": "winner"})
    with captured_logs() as logs:
        await beginning(FakeSource(store)).make(NAME, [])
        await beginning(FakeSource(store)).make(
            NAME, [StoredSecret(name=NAME, kind="Opaque", contents={}, version="0")]
        )
    assert (store.held[NAME].contents, logs) == ({"ca-cert.pem": b"winner"}, [])


async def test_key_used_again() -> None:
    """A key that is given is used."""
    store, key = FakeSecrets(), ec_key()
    await beginning(FakeSource(store)).make(NAME, [], key=key)
    found = ca_secret.read(store.held[NAME], [])
    assert found.certificates[0].public_key() == key.public_key()


async def test_unsound(monkeypatch: pytest.MonkeyPatch) -> None:
    """A root that is not sound beside those in use is refused before it is written."""
    store, taken = FakeSecrets(), make_ca("taken")
    monkeypatch.setattr(
        "meshca.upstream.secret_beginning.make_root",
        lambda key, *_, **__: make_ca("taken", key=key, begin=NOW).certificate,
    )
    with pytest.raises(ConfigError, match="its subject is in use by another root"):
        await beginning(FakeSource(store)).make(NAME, [], company=[taken.certificate])
    assert store.held == {}


@pytest.mark.parametrize("create", [True, False])
async def test_refusal(create: bool) -> None:  # noqa: FBT001 - a row's part
    """A first root is made only where the configuration says so."""
    found = await beginning(FakeSource(FakeSecrets()), create=create).refusal()
    assert (found is None) == create
    assert found is None or "set upstream.create to begin" in found.detail


async def test_cannot_be_written() -> None:
    """What cannot be written now is passed on."""
    source = FakeSource(FakeSecrets())
    source.errors["create"] = Unavailable("kube_forbidden", "create secrets: forbidden")
    with pytest.raises(Unavailable, match="forbidden"):
        await beginning(source).make(NAME, [])
    source.errors["create"] = Overtaken("test", "it exists")
    await beginning(source).make(NAME, [])
