"""Facts about a worker's pipeline that need no processes: news are put in force without holding anyone up."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any, cast

import pytest

from meshca.admission.parse import parse, shipped_text
from meshca.app import pipeline as pipeline_module
from meshca.app.control import UseAdmission, UseAuthority, UseOrder, UsePolicies
from meshca.app.pipeline import TOKEN_SECONDS, Pipeline, begin
from meshca.app.supervisor import READY_SECONDS
from meshca.authority.serials import Serials
from meshca.authority.signing import Authority
from meshca.authz.parse import parse_changed
from meshca.config.server import ServerConfig
from meshca.delivery import Delivery
from meshca.discovery.order import NO_ORDER, RenewalOrder
from meshca.discovery.resources import content_hash
from meshca.errors import ConfigError, InvariantBroken, Unavailable
from meshca.issuance import Issuing
from meshca.svid.signature import SigningKey
from tests.authz.documents import document_text
from tests.fakes.clock import FakeClock
from tests.fakes.pki import DAY, NOW, Ca, make_ca
from tests.fakes.profiles import PROFILE

SIGNER = "ab" * 32


class FakeIssuing:
    """Remembers its rules."""

    rules: object = None

    def use_rules(self, rules: object) -> None:
        """Remember."""
        self.rules = rules


class Slow:
    """A parser that takes as long as the test wants, and tells where it ran."""

    def __init__(self, parse: Callable[..., Any]) -> None:
        self._parse = parse
        self.begun = threading.Event()
        self.may_end = threading.Event()

    def __call__(self, *arguments: Any) -> Any:
        """Parse, when it may."""
        self.begun.set()
        assert self.may_end.wait(30)
        return self._parse(*arguments)


@pytest.fixture
def issuing() -> FakeIssuing:
    """What decides by the rules."""
    return FakeIssuing()


@pytest.fixture
def pipeline(issuing: FakeIssuing) -> Pipeline:
    """A pipeline of the parts that news concern."""
    nothing = cast("Any", None)
    return Pipeline(
        config=ServerConfig(),
        issuing=cast("Issuing", issuing),
        subscribers=nothing,
        authority=nothing,
        delivery=Delivery(FakeClock()),
        store=nothing,
        instance="w0",
        clock=FakeClock(),
    )


def news_of(active: Ca, *, serving: Ca | None = None, roots: Sequence[Ca]) -> UseAuthority:
    """A parent's word on what to sign with."""
    shown = {"serving_chain": serving.pem, "serving_key": serving.key_pem} if serving else {}
    return UseAuthority(chain=active.pem, key=active.key_pem, roots="".join(ca.pem for ca in roots), **shown)


def signer(name: str, root: Ca) -> Ca:
    """An intermediate."""
    return make_ca(name, root, end=NOW + 30 * DAY)


def test_two_lines_below_one_bundle(pipeline: Pipeline) -> None:
    """Workloads are signed for below the new root, our ports below the old; every root of the bundle is pushed."""
    old, new = make_ca("old root"), make_ca("new root")
    pipeline.authority = Authority(Serials(1), PROFILE)
    pipeline.use_authority(news_of(signer("b", new), serving=signer("a", old), roots=[old, new]))
    assert pipeline.authority.current().path[-1] == new.certificate
    assert pipeline.authority.current_serving().path[-1] == old.certificate
    assert pipeline.authority.current().issuer.roots == old.pem + new.pem
    assert pipeline.delivery.versions.roots == content_hash((old.pem + new.pem).encode())


def test_while_signing_is_withheld_the_bundle_is_pushed_all_the_same(pipeline: Pipeline) -> None:
    """It need not have the root of what signed before; workloads get nothing, our ports what they had."""
    old, new = make_ca("old root"), make_ca("new root")
    pipeline.authority = Authority(Serials(1), PROFILE)
    line = news_of(signer("a", old), serving=signer("a", old), roots=[new])
    pipeline.use_authority(replace(line, withheld="give it the new files", chain_roots=old.pem))
    with pytest.raises(Unavailable, match="give it the new files"):
        pipeline.authority.current()
    assert pipeline.authority.current_serving().path[-1] == old.certificate
    assert pipeline.delivery.versions.roots == content_hash(new.pem.encode())
    pipeline.use_authority(news_of(signer("b", new), roots=[new]))
    assert pipeline.authority.current().path[-1] == new.certificate


def test_a_bad_serving_line_changes_nothing(pipeline: Pipeline) -> None:
    """Signing certificate and key of our own ports are proven like the others."""
    old, new = make_ca("old root"), make_ca("new root")
    pipeline.authority = Authority(Serials(1), PROFILE)
    pipeline.use_authority(news_of(signer("a", old), roots=[old]))
    before = (pipeline.authority.current(), pipeline.delivery.versions)
    with pytest.raises(ConfigError):
        pipeline.use_authority(news_of(signer("b", new), serving=signer("a", old), roots=[new]))
    assert (pipeline.authority.current(), pipeline.delivery.versions) == before


def test_an_order_is_delivered_and_withdrawn(pipeline: Pipeline) -> None:
    """With its window and its beginning in UTC; the next one takes its place."""
    pipeline.use_order(UseOrder(signers=(SIGNER,), begun_at="2026-01-01T01:00:00+01:00", window=300.0))
    wanted = RenewalOrder(signers=frozenset({SIGNER}), begun_at=NOW, window=timedelta(minutes=5))
    assert pipeline.delivery.order == wanted
    pipeline.use_order(UseOrder())
    assert pipeline.delivery.order == NO_ORDER


@pytest.mark.parametrize(
    "news",
    [
        pytest.param(UseOrder(signers=(SIGNER,)), id="no beginning"),
        pytest.param(UseOrder(signers=("x",), begun_at="2026-01-01T00:00:00Z"), id="no fingerprint"),
        pytest.param(UseOrder(signers=(SIGNER,), begun_at="2026-01-01T00:00:00Z", window=-1.0), id="window"),
        pytest.param(UseOrder(signers=(SIGNER,), begun_at="2026-01-01T00:00:00Z", window=1e30), id="endless"),
    ],
)
def test_an_order_that_cannot_be_read_changes_nothing(pipeline: Pipeline, news: UseOrder) -> None:
    """The one in force stays."""
    with pytest.raises(InvariantBroken, match="order"):
        pipeline.use_order(news)
    assert pipeline.delivery.order == NO_ORDER


async def test_policies_hold_nobody_up(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    """While a large set is parsed the event loop goes on."""
    slow = Slow(parse_changed)
    monkeypatch.setattr(pipeline_module, "parse_changed", slow)
    using = asyncio.create_task(pipeline.use_policies(UsePolicies(files={"a.yaml": document_text()})))
    await asyncio.to_thread(slow.begun.wait)
    assert not using.done()  # and we are here
    slow.may_end.set()
    await using
    assert pipeline.delivery.versions.policies != ""


async def test_rules_hold_nobody_up(
    pipeline: Pipeline, issuing: FakeIssuing, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor does a large rule file."""
    slow = Slow(parse)
    monkeypatch.setattr(pipeline_module, "parse", slow)
    using = asyncio.create_task(pipeline.use_admission(UseAdmission(text=shipped_text(), source="f")))
    await asyncio.to_thread(slow.begun.wait)
    assert issuing.rules is None
    slow.may_end.set()
    await using
    assert issuing.rules is not None


async def test_refused_policies_change_nothing(pipeline: Pipeline) -> None:
    """Those in force stay."""
    await pipeline.use_policies(UsePolicies(files={"a.yaml": document_text()}))
    before = pipeline.delivery.versions
    with pytest.raises(ConfigError):
        await pipeline.use_policies(UsePolicies(files={"a.yaml": "x"}))
    assert pipeline.delivery.versions == before


class FailingToken:
    """A token that fails some times before it gives its key."""

    def __init__(self, key: SigningKey, failures: int, reason: str = "key_token") -> None:
        self.failures = failures
        self._key = key
        self._reason = reason

    def __call__(self, _: str) -> SigningKey:
        """The key, when it may."""
        self.failures -= 1
        if self.failures >= 0:
            raise Unavailable(self._reason, "the token meshca by module.so: GeneralError; check the PIN")
        return self._key


def in_token(active: Ca, root: Ca) -> UseAuthority:
    """A parent's word on a key that is in a token."""
    return UseAuthority(chain=active.pem, key="pkcs11:token=meshca;id=%01", roots=root.pem)


@pytest.mark.parametrize("failures", [0, 3])
async def test_a_token_that_fails_at_the_start_is_asked_again(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch, failures: int
) -> None:
    """Another process may be opening it: the worker begins once it answers."""
    root = make_ca("root")
    active = signer("a", root)
    monkeypatch.setattr(pipeline_module, "open_key", FailingToken(active.key, failures))
    pipeline.authority = Authority(Serials(1), PROFILE)
    clock = cast("FakeClock", pipeline.clock)
    begun = asyncio.create_task(begin(pipeline, in_token(active, root)))
    await clock.advance(TOKEN_SECONDS - 1)
    await begun
    assert pipeline.authority.current().path[0] == active.certificate


@pytest.mark.parametrize(("reason", "least", "most"), [("key_token", 8, 200), ("other", 1, 1)])
async def test_a_token_that_fails_for_long(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch, reason: str, least: int, most: int
) -> None:
    """The worker ends with its words, soon enough for the parent to hear them; another failure ends it at once."""
    root = make_ca("root")
    active = signer("a", root)
    token = FailingToken(active.key, 10_000, reason)
    monkeypatch.setattr(pipeline_module, "open_key", token)
    clock = cast("FakeClock", pipeline.clock)
    begun = asyncio.create_task(begin(pipeline, in_token(active, root)))
    await clock.advance(TOKEN_SECONDS)
    with pytest.raises(Unavailable, match="GeneralError") as caught:
        await begun
    assert caught.value.reason == reason
    assert least <= 10_000 - token.failures <= most
    assert TOKEN_SECONDS < READY_SECONDS / 2
