"""The driver that walks roots and intermediates through their states, and keeps a proven signer in force.

One turn after the other: look at what is kept and what the upstream has, take the one act that is due if its gate
is open, put in force what is then kept. Nothing is done before it is kept: a process that is killed anywhere
resumes where the store says. Whatever goes wrong, the last good standing stays in force; the error is kept to be
shown and the turn repeated.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import datetime, timedelta

from meshca import metrics
from meshca.authority.history import Kind, Lifecycle, LifecycleStore
from meshca.authority.lifecycle import State
from meshca.authority.requests import expire_requests
from meshca.authority.upstream import Upstream
from meshca.backoff import JITTER, Backoff
from meshca.clock import Clock
from meshca.errors import ConfigError, Conflict, InvariantBroken, MeshcaError, Unavailable
from meshca.log import log
from meshca.rotation.keeping import keep_anew
from meshca.rotation.progress import Progress
from meshca.rotation.stander import Stander
from meshca.rotation.standing import Standing
from meshca.rotation.stepper import Stepper
from meshca.rotation.steps import following
from meshca.validity import begun

BACKOFF = Backoff(floor=1.0, ceiling=60.0)  # between attempts after one that failed
# One sleep at most, so that a clock that was set right or a machine that slept delays a renewal by no more.
LONGEST_SLEEP_SECONDS = 60.0
STEP_SECONDS = 1.0  # between two looks at a gate that is closed, or for a renewal that is due
# Times as long as the last look took is waited before the next: a large fleet takes a while to count.
SPARING = 9.0
# The same while a compromised root still signs: every look may stop that. Once it is tainted the order is out,
# and a look can only drop the root before its time.
URGENT_SECONDS = 0.1
URGENT_SPARING = 1.0


class Rotation:
    """Drives one upstream.

    Args:
        upstream: has the roots and gives signing material.
        store: what is kept for all replicas.
        stepper: takes the acts that are due.
        stander: makes what is in force out of what is kept.
        clock: for half lives and pauses.
        publish: puts a proven standing in force everywhere; raises a `MeshcaError` when it cannot.
        leading: whether this replica takes steps.
        rng: the source of jitter.
    """

    def __init__(  # noqa: PLR0913 - its parts, by name
        self,
        *,
        upstream: Upstream,
        store: LifecycleStore,
        stepper: Stepper,
        stander: Stander,
        clock: Clock,
        publish: Callable[[Standing], Awaitable[None]],
        leading: Callable[[], bool] = lambda: True,
        rng: random.Random = JITTER,
    ) -> None:
        self._upstream = upstream
        self._store = store
        self._stepper = stepper
        self._stander = stander
        self._clock = clock
        self._publish = publish
        self._leading = leading
        self._rng = rng
        self._standing: Standing | None = None
        self._renew_at: datetime | None = None
        self._spent = 0.0
        self._acted = True  # whether the last turn went through, whatever problem it tells
        self._seen = 0  # the generation that we know: others than it are worth a look
        self._woken = asyncio.Event()
        self._watch: asyncio.Future[object] | None = None  # waits for the upstream, from one turn to the next
        self.progress = Progress()

    async def start(self) -> None:
        """Put the first standing in force; what is not available is waited for, and `progress` says why.

        Raises:
            ConfigError: it cannot be used; nothing was published.
        """
        while self.progress.slot is None:
            try:
                await self._turn()
            except (Unavailable, Conflict) as error:  # another replica may have begun just now
                self._failed(error)
                await self._wait()

    async def run(self) -> None:
        """Keep a good standing in force until cancelled.

        Raises:
            Exception: what an upstream must not raise, once it is kept to be shown; run it again.
        """
        while True:
            try:
                if await self._wait() or self.progress.failing or self._due() or self.pressing:
                    await self._turn()
            except MeshcaError as error:
                self._failed(error)
            except Exception as error:
                self._failed(InvariantBroken("upstream", f"unexpected {type(error).__name__}; see the log"))
                raise

    def wake(self) -> None:
        """Something was committed here: take the next turn now."""
        self._woken.set()

    @property
    def reached_at(self) -> datetime | None:
        """When whoever signs for us was last there; None before that, and where nobody has to be reached."""
        return self._upstream.reached_at

    @property
    def leaf_problem(self) -> MeshcaError | None:
        """Why whoever signs leaves in our place gave no good one last; None where nobody does."""
        return None if self._upstream.leaves is None else self._upstream.leaves.problem

    @property
    def pressing(self) -> bool:
        """Whether a root is on its way, so that gates are looked at often."""
        moving = (State.PREPARED, State.DISTRIBUTING, State.RETIRING, State.TAINTED)
        return self.progress.kept.plan is not None or bool(self.progress.kept.of(Kind.ROOT, *moving))

    async def _turn(self) -> None:
        await self._unwatch()  # what changed until now is seen by this turn
        self._woken.clear()
        self._acted = False
        begun_at = self._clock.monotonic()
        kept = await self._store.load()
        self._seen = kept.generation
        lines = await self._upstream.lines()
        kept = await self._stepper.adopt(kept, lines)
        kept, renew_at = await self._stand(kept)
        # Only now: nothing is deleted, and no act judged safe, before all that is kept is in force.
        await self._stepper.forget(kept, lines)
        held, before = "", kept.generation
        if self._leading():
            now = self._clock.now()
            if expire_requests(kept, now) != (kept, ()):
                kept = await keep_anew(self._store, self._clock, lambda kept: expire_requests(kept, now))
            kept, held = await self._stepper.step(kept, lines)
        begins_at = self._stepper.begins_at(kept)
        if begins_at is not None and begins_at <= self._clock.now():
            begins_at = None  # it was begun, or cannot be here: the longest sleep is soon enough to look again
        self._renew_at = min((at for at in (renew_at, begins_at) if at is not None), default=None)
        self._spent = self._clock.monotonic() - begun_at
        if held and held != self.progress.held:
            log.warning("rotation.held", detail=held)
        metrics.rotation_held.set(bool(held))
        under_way = self._clock.now() - kept.plan.started_at if kept.plan else timedelta(0)
        metrics.rotation_seconds.set(under_way.total_seconds())
        self._succeeded(kept, held)
        if kept.generation != before:  # put it in force at once
            self._woken.set()

    async def _stand(self, kept: Lifecycle) -> tuple[Lifecycle, datetime | None]:
        """Put in force what shall be; the state since, and when to ask again although nothing changed.

        When that fails the last good one goes on, but for a signer that must not: nobody would verify its leaves.
        """
        try:
            kept, standing, renew_at = await self._stander.stand(kept)
            self._seen = kept.generation
            if self._standing is None or standing.fingerprint != self._standing.fingerprint:
                await self._put_in_force(standing)
        except (ConfigError, Unavailable) as error:
            await self._withhold(kept, error)
            raise
        return kept, renew_at

    async def _withhold(self, kept: Lifecycle, cause: MeshcaError) -> None:
        standing = self._standing and self._stander.withheld(self._standing, kept, cause)
        if standing is None or standing == self._standing:
            return
        await self._publish(standing)
        self._standing = standing
        self.progress = replace(self.progress, slot=None, serving=None, kept=kept)
        log.error("signer.withheld", detail=standing.withheld)

    def _succeeded(self, kept: Lifecycle, held: str) -> None:
        """Note it; what the operator gave last may be wrong all the same, and what is kept from before goes on."""
        self._acted, self.progress = True, replace(self.progress, kept=kept, held=held)
        problem = self._upstream.problem or self._stander.problem or self._stepper.problem
        if problem is not None:
            self._failed(problem)
        else:
            self.progress = replace(self.progress, failing=0, error=None)

    async def _put_in_force(self, standing: Standing) -> None:
        slot, serving = self._stander.prove(standing)
        await self._publish(standing)
        self._standing = standing
        published = self.progress.published + 1
        self.progress = replace(self.progress, slot=slot, serving=serving, published=published)
        log.info("signer.published", signer=slot.issuer.signer_id, not_after=slot.issuer.not_after.isoformat())

    def _failed(self, error: MeshcaError) -> None:
        before = self.progress
        if isinstance(error, Conflict):  # another was first: look again, nothing is wrong
            self._woken.set()
            return
        same = before.error is not None and before.error.reason == error.reason
        failing = before.failing + 1 if same else 1
        self.progress = replace(before, failures=before.failures + 1, failing=failing, error=error)
        if before.error is None or str(before.error) != str(error):  # once for each cause, not for each turn
            log.error("signer.refused", reason=error.reason, detail=error.detail)

    async def _wait(self) -> bool:
        """Wait for a change, a half life or the end of a pause; whether it was a change.

        The upstream is watched on when a wait ends without a turn: its looks may be further apart than waits last.
        """
        watch = self._watch = self._watch or asyncio.ensure_future(self._upstream.changed())
        waits: list[asyncio.Future[object]] = [
            asyncio.ensure_future(self._store.changed(self._seen)),
            asyncio.ensure_future(self._woken.wait()),
        ]
        slept: asyncio.Future[object] = asyncio.ensure_future(self._clock.sleep(self._pause()))
        try:
            done, _ = await asyncio.wait((watch, *waits, slept), return_when=asyncio.FIRST_COMPLETED)
            for future in done:
                future.result()
        except BaseException:
            await self._unwatch()
            raise
        finally:
            await _cancelled(*waits, slept)
        return any(wait in done for wait in (watch, *waits))

    async def _unwatch(self) -> None:
        if self._watch is not None:
            await _cancelled(self._watch)
        self._watch = None

    def _pause(self) -> float:
        """Seconds to sleep at most: what goes on beside a problem is not slowed down by it."""
        failing, longest = self.progress.failing, LONGEST_SLEEP_SECONDS
        if failing:
            longest = BACKOFF.pause(failing, self._rng)
            if not self._acted:
                return longest
        if self.pressing:
            longest = min(longest, self._patience())
        coming = following(self.progress.kept)
        if coming is not None and coming.deadline is not None and (left := self._until(coming.deadline)) > 0:
            longest = min(longest, left)  # one that is over waits for somebody: it was taken, or is paused
        if self._renew_at is None:
            return longest
        left = self._until(self._renew_at)
        if left <= 0:  # the turn just taken has left it as it is, and may have said why
            return longest if failing else min(longest, STEP_SECONDS)
        return min(longest, left)

    def _until(self, moment: datetime) -> float:
        return (moment - self._clock.now()).total_seconds()

    def _patience(self) -> float:
        """Seconds between two looks at a gate that is closed."""
        plan = self.progress.kept.plan
        if plan is not None and plan.compromised and plan.tainted_at is None:
            return max(URGENT_SECONDS, self._spent * URGENT_SPARING)
        return max(STEP_SECONDS, self._spent * SPARING)

    def _due(self) -> bool:
        """Whether the time of upstream or request has come, or a clock was set back to before what is in force."""
        now, slot = self._clock.now(), self.progress.slot
        if slot is not None and not begun(slot.issuer.not_before, now):
            return True
        if any(now >= one.until for one in self.progress.kept.requests):
            return True
        return self._renew_at is not None and now >= self._renew_at


async def _cancelled(*futures: asyncio.Future[object]) -> None:
    for future in futures:
        future.cancel()
    await asyncio.gather(*futures, return_exceptions=True)
