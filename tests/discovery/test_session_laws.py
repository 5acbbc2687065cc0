"""Laws of the xDS session, under any order of requests, updates, answers, silence and time."""

from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import replace

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from meshca.discovery.event import Adopted, Overdue, Push, Refused, Resource, Stale
from meshca.discovery.session import Session

NAMES = ("default", "ROOTCA", "meshca-authz", "unknown")
TIMEOUT = 10.0
MARK = b" # "  # what is behind it makes the bytes unique
names = st.lists(st.sampled_from(NAMES), max_size=4)


def content(resource: Resource) -> bytes:
    """What a resource says, however it is written."""
    return resource.body.partition(MARK)[0]


class Conversation(RuleBasedStateMachine):
    """A session, a source and a client that may be slow, silent, mistaken or hostile.

    The client refuses every content version in `bad`, and acknowledges the others.
    """

    def __init__(self) -> None:
        super().__init__()
        self.session = Session(stream_id="s", answer_timeout=TIMEOUT)
        self.now = 0.0
        self.fresh = itertools.count(1)
        self.source: dict[str, Resource] = {}
        self.bad: set[bytes] = set()
        self.delta = False
        self.wanted: list[str] = []
        self.inbox: list[Push] = []  # sent, not yet answered by the client
        self.last: Push | None = None
        self.seen_nonces: set[str] = set()
        self.seen_versions: dict[str, bytes] = {}
        self.seen_anew: set[bytes] = set()
        self.awaited: str = ""  # the nonce that the session may be waiting for
        self.held: dict[str, bytes] = {}  # what the client accepted last
        self.credit = 0  # pushes that requests and updates may have caused so far
        self.pushes = 0

    @initialize(delta=st.booleans(), first=names)
    def open(self, delta: bool, first: list[str]) -> None:  # noqa: FBT001 - drawn
        """The first request."""
        self.delta = delta
        self._request(first)

    def _request(
        self, wanted: list[str], nonce: str = "", version: str = "", error: str | None = None
    ) -> list[object]:
        before, self.wanted = self.wanted, list(dict.fromkeys(wanted))
        if self.delta:
            more = [name for name in self.wanted if name not in before]
            less = [name for name in before if name not in self.wanted]
            events = self.session.amend(more, less, nonce=nonce, error=error)
        else:
            events = self.session.ask(self.wanted, nonce=nonce, version=version, error=error)
            if Stale() in events:
                self.wanted = before
        for name in before:
            if name not in self.wanted:
                self.held.pop(name, None)
        self.session.offer(self.source)
        self.credit += 4 * len(NAMES)
        return list(events)

    @rule(name=st.sampled_from(NAMES[:3]), spoiled=st.booleans(), anew=st.booleans())
    def update(self, name: str, spoiled: bool, anew: bool) -> None:  # noqa: FBT001 - drawn
        """A new content appears, which may be one that can be written anew."""
        version = f"v{next(self.fresh)}"
        body = f"{name}={version}".encode()
        if spoiled:
            self.bad.add(body)
        write = (lambda mark: body + MARK + mark.encode()) if anew else None
        self.source = {**self.source, name: Resource(name=name, version=version, body=body, anew=write)}
        self.session.offer(self.source)
        self.credit += 6  # itself in a batch, alone, repaired; and the same once more when forgiven

    @rule()
    def send(self) -> None:
        """The wire is free."""
        push = self.session.next_push(self.now)
        if push is None:
            return
        assert self.awaited == "", "a second nonce is outstanding"
        assert push.nonce not in self.seen_nonces
        self.seen_nonces.add(push.nonce)
        self.awaited = push.nonce
        self.pushes += 1
        self.last = push
        self.inbox.append(push)
        for resource in push.resources:
            assert resource.name in self.session.names
            assert self.seen_versions.setdefault(resource.version, content(resource)) == content(resource)
            assert resource.anew is None or resource.body not in self.seen_anew, "the same bytes come again"
            self.seen_anew.add(resource.body)

    @precondition(lambda self: self.inbox)
    @rule()
    def answer(self) -> None:
        """The client answers its oldest unanswered push, by its content."""
        push = self.inbox.pop(0)
        refused = any(content(resource) in self.bad for resource in push.resources)
        fresh = self.last is push
        version = "" if refused else push.version
        events = self._request(self.wanted, push.nonce, version, "no" if refused else None)
        self.credit -= 4 * len(NAMES)  # an answer is not a reason to send: laws below
        if not refused:
            self.held |= {r.name: content(r) for r in push.resources if r.name in self.session.names}
        if not fresh:
            assert Stale() in events
            return
        self.awaited = ""
        assert any(isinstance(event, Refused if refused else Adopted) for event in events)

    @rule(wanted=names)
    def change_names(self, wanted: list[str]) -> None:
        """A client that has answered everything changes its names, naming the last nonce."""
        if not self.inbox and self.last is not None:
            self._request(wanted, self.last.nonce, self.last.version if self.delta else "old")

    @rule(nonce=st.sampled_from(["", "garbage", "s-0"]), wanted=names)
    def odd_request(self, nonce: str, wanted: list[str]) -> None:
        """A request with an empty or foreign nonce, at any time."""
        self._request(wanted, nonce, "x")

    @rule(seconds=st.sampled_from([1.0, TIMEOUT, 3 * TIMEOUT]))
    def wait(self, seconds: float) -> None:
        """Time passes; an awaited answer becomes overdue exactly once, and what was refused may be due again."""
        self.now += seconds
        self.credit += 3 * len(NAMES)  # each name in a batch, alone, repaired
        deadline = self.session.deadline
        events = self.session.tick(self.now)
        if deadline is not None and self.now >= deadline:
            assert [type(event) for event in events] == [Overdue]
            self.awaited = ""
            self.credit += len(NAMES)  # what it was about goes out once more when the client answers again
        else:
            assert events == ()
        assert self.session.tick(self.now) == ()

    @rule()
    def sibling_recovered(self) -> None:
        """News from another stream of the same client."""
        self.session.forgive()

    @invariant()
    def awaited_is_what_the_session_awaits(self) -> None:
        """At most one nonce is outstanding, and the session agrees on which."""
        assert (self.session.deadline is not None) == (self.awaited != "")

    @invariant()
    def nothing_loops(self) -> None:
        """Answers alone cause a bounded number of pushes."""
        assert self.pushes <= self.credit

    def teardown(self) -> None:
        """Every update is delivered in the end: an answering client holds the newest value it does not refuse."""
        for _ in range(200):
            if self.inbox:
                self.answer()
                continue
            self.send()
            if not self.inbox:
                if self.session.deadline is None:
                    break
                self.wait(TIMEOUT)
        else:
            raise AssertionError("the conversation does not come to rest")
        for name in self.session.names & self.source.keys():
            newest = self.source[name].body
            if newest not in self.bad:
                assert self.held.get(name) == newest
        self.silent_client_still_gets_updates()

    def silent_client_still_gets_updates(self) -> None:
        """A client that never answers is sent every later update, one timeout apart."""
        self.source = {
            name: replace(one, anew=None) for name, one in self.source.items()
        }  # nothing old is due again
        for name in self.session.names & self.source.keys():
            version = f"late{next(self.fresh)}"
            self.source = {**self.source, name: Resource(name=name, version=version, body=version.encode())}
            self.session.offer(self.source)
            self.session.tick(self.now)
            push = self.session.next_push(self.now)
            assert push is not None
            assert Counter(r.body for r in push.resources) == Counter([version.encode()])
            self.now += TIMEOUT


Conversation.TestCase.settings = settings(max_examples=300, stateful_step_count=30, deadline=None)
TestConversation = Conversation.TestCase
