"""Facts about a worker's pipeline that need no processes: news are put in force without holding anyone up."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any, cast

import pytest

from meshca.admission.parse import parse, shipped_text
from meshca.app import pipeline as pipeline_module
from meshca.app.control import UseAdmission, UsePolicies
from meshca.app.pipeline import Pipeline
from meshca.authz.parse import parse_changed
from meshca.config.server import ServerConfig
from meshca.delivery import Delivery
from meshca.errors import ConfigError
from meshca.issuance import Issuing
from tests.authz.documents import document_text
from tests.fakes.clock import FakeClock


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
