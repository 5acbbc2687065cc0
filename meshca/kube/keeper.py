"""Keeps one text in many objects, by server-side apply on one field of each, while others may change them.

Level, not edge: whatever happened, an object that does not hold the text is written again, and nothing else is.
One object that cannot be written never holds up another. Writes are bounded in number and rate. Every write asks
the fence first. What others take again and again is left to them for ever longer (`kube.rivalry`), and what
others wrote before us is replaced only if a judge lets us.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Final

from meshca.backoff import JITTER, Backoff
from meshca.clock import Clock
from meshca.errors import MeshcaError, NotFound, Unavailable
from meshca.kube.api import Api, Conflict, Forbidden, Rejected, Terminating, Tree
from meshca.kube.due import NOW, Due
from meshca.kube.held import MANAGER, Held, digest_of
from meshca.kube.kept import Kept, KeptObject, Place
from meshca.kube.lease import NotLeading
from meshca.kube.telling import Telling

CONCURRENCY: Final = 16  # writes under way
PER_SECOND: Final = 100.0  # 2,000 namespaces in 20 s, and no more than a busy client of the API server
SILENT: Final = Backoff(floor=0.2, ceiling=10.0)  # while the API server does not answer: for all objects
REFUSED: Final = Backoff(floor=2.0, ceiling=120.0)  # for one object that it does not take
LOOK_AGAIN: Final = 300.0  # seconds, at what is left to somebody else: it may have ended
DELETER: Final = "somebody who deletes it"
WEBHOOK: Final = "an admission webhook that changes what is written"
# Takes an object that we did not write and our text; says why the one must not get the other, or nothing.
Judge = Callable[[Tree, str], str]


class _Foreign(Exception):
    """What an object holds must not be replaced."""


class Keeper:
    """Keeps the objects that it was told of; `run` must be running.

    Args:
        api: of the cluster.
        place: what is kept where.
        fence: raises unless we may write.
        installation: our name, to tell our own writes from those of another meshca.
        clock: for pauses.
        judge: of what we did not write, before it is replaced; without one everything is.
        rng: the source of jitter.
    """

    def __init__(  # noqa: PLR0913 - its parts
        self,
        api: Api,
        place: Place,
        fence: Callable[[], None],
        installation: str,
        clock: Clock,
        *,
        judge: Judge | None = None,
        rng: random.Random = JITTER,
    ) -> None:
        self._api = api
        self._place = place
        self._fence = fence
        self._installation = installation
        self._clock = clock
        self._judge = judge
        self._rng = rng
        self._text = ""
        self._digest = ""
        self._objects: dict[str, KeptObject] = {}
        self._due = Due(clock)
        self._silent = 0
        self._resume_at = 0.0
        self._write_at = 0.0
        self._error: MeshcaError | None = None
        self._telling = Telling(place.kind)
        self._wanted_at: float | None = None

    def want(self, text: str) -> None:
        """Keep this text in every object from now on."""
        if text == self._text:
            return
        self._text, self._digest = text, digest_of(text)
        self._wanted_at = self._clock.monotonic()
        for key in self._objects:
            self._due.add(key, self._clock.monotonic())

    def keep(self, key: str, held: Held | None = None) -> None:
        """Keep this object too, of which so much is known."""
        if key not in self._objects:
            self._objects[key] = KeptObject(held=held)
        self._due.add(key, self._clock.monotonic())

    def drop(self, key: str) -> None:
        """Leave this object alone."""
        self._objects.pop(key, None)
        self._due.drop(key)

    def saw(self, key: str, held: Held | None) -> None:
        """What an object holds now, None when it is gone."""
        known = self._objects.get(key)
        if known is None or (held and known.held and not held.follows(known.held.version)):
            return  # not ours, or older than what we know
        if held is not None and known.version and not held.follows(known.version):
            return  # older than what we wrote
        known.held, known.deleted = held, held is None
        if known.wrote and held is None:
            self._taken(key, known, DELETER)
        elif known.wrote and held is not None and not (held.digest == known.wrote and held.good):
            self._taken(key, known, held.writer(self._installation) or "this installation")
        self._settle(key, known)

    async def run(self) -> None:
        """Write what is due, for ever."""
        places = asyncio.Semaphore(CONCURRENCY)
        async with asyncio.TaskGroup() as group:
            while True:
                key = await self._due.take()
                known = self._objects.get(key)
                if known is None or not self._text or self._is_good(known) or self._holds_back(key, known):
                    self._due.done(key)
                else:
                    await self._pace()
                    await places.acquire()
                    task = group.create_task(self._work(key, known))
                    task.add_done_callback(lambda _: places.release())
                self._tell_converged()

    def report(self) -> Kept:
        """How it stands now."""
        failing, contested, foreign, in_sync = [], [], [], 0
        now = self._clock.monotonic()
        for key, known in self._objects.items():
            in_sync += self._is_good(known)
            if known.error is not None:
                failing.append((key, known.error.detail))
            if known.foreign:
                foreign.append((key, known.foreign))
            elif known.rivalry.contested and not known.rivalry.is_over(now):
                contested.append((key, known.rivalry.rival))
        return Kept(
            in_sync=in_sync,
            pending=len(self._objects) - in_sync - len(failing) - len(foreign),
            failing=tuple(failing),
            contested=tuple(contested),
            foreign=tuple(foreign),
            error=self._error.detail if self._error else "",
        )

    def _taken(self, key: str, known: KeptObject, rival: str) -> None:
        """What we wrote is not there any more."""
        known.wrote = ""
        known.rivalry = known.rivalry.taken(rival, self._clock.monotonic())
        self._telling.taking(key, known.rivalry)

    def _settle(self, key: str, known: KeptObject) -> None:
        """All is well, or it is to be written: at once, or when a rival has been given its time."""
        if self._is_good(known):
            known.failing, known.error, known.foreign = 0, None, ""
        else:
            self._due.add(key, known.rivalry.write_at if known.rivalry.contested else NOW)

    def _is_good(self, known: KeptObject) -> bool:
        return known.held is not None and known.held.digest == self._digest and known.held.good

    def _holds_back(self, key: str, known: KeptObject) -> bool:
        """Whether it is not this object's time; then it comes again."""
        if known.rivalry.contested and self._clock.monotonic() < known.rivalry.write_at:
            self._due.add(key, known.rivalry.write_at)
            return True
        return False

    async def _pace(self) -> None:
        """Wait for this write's turn."""
        now = self._clock.monotonic()
        turn = max(now, self._write_at, self._resume_at)
        self._write_at = turn + 1.0 / PER_SECOND
        if turn > now:
            await self._clock.sleep(turn - now)

    async def _work(self, key: str, known: KeptObject) -> None:
        try:
            await self._write(key, known)
        except _Foreign as judged:
            self._left(key, known, str(judged))
        except NotLeading:
            self._due.add(key, self._clock.monotonic() + SILENT.ceiling)  # if we lead again without a pause
        except (Forbidden, Rejected, NotFound, Terminating, Conflict) as error:
            self._refused(key, known, error)
        except Unavailable as error:
            self._unanswered(key, error)
        finally:
            self._due.done(key)
            self._tell_converged()

    async def _write(self, key: str, known: KeptObject) -> None:
        """Apply the text; a field that another manager owns is taken if the judge lets us, and that is said."""
        text, digest, known.deleted = self._text, self._digest, False
        body, path = self._place.body(key, text), self._place.path(key)
        held = known.held if self._judge is None or self._is_ours(known) else await self._judged(path, text)
        force = held is not None and bool(held.owner) and held.digest != digest
        try:
            if force and held is not None:
                self._telling.takeover(key, held.owner)
            self._fence()
            answer = await self._api.apply(path, body, manager=MANAGER, force=force)
        except Conflict:
            found = await self._judged(path, text)
            self._telling.takeover(key, found.owner if found else "")
            self._fence()
            answer = await self._api.apply(path, body, manager=MANAGER, force=True)
        self._wrote(key, known, digest, self._place.read(answer))
        self._telling.written()

    def _is_ours(self, known: KeptObject) -> bool:
        """Whether we wrote what is there, as far as we were told; what nobody told us of is not."""
        held = known.held
        return held is not None and (held.installation == self._installation or held.digest == known.wrote)

    async def _judged(self, path: str, text: str) -> Held | None:
        """What an object holds at this moment, None when there is none.

        Raises:
            _Foreign: it is somebody else's, and must not be replaced.
        """
        try:
            item = await self._api.get(path)
        except NotFound:
            return None
        held = self._place.read(item)
        if self._judge is not None and held.installation != self._installation:
            why = self._judge(item, text)
            if why:
                raise _Foreign(why)
        return held

    def _left(self, key: str, known: KeptObject, why: str) -> None:
        """It stays as it is until it changes, our text changes, or what it holds has ended."""
        known.foreign, known.failing, known.error = why, 0, None
        self._due.add(key, self._clock.monotonic() + LOOK_AGAIN)
        self._telling.foreign(key, why)

    def _wrote(self, key: str, known: KeptObject, digest: str, fresh: Held) -> None:
        """Our write is done; the watch may have told of later ones already."""
        later = known.held
        known.wrote, known.version = digest, fresh.version
        known.held = None if known.deleted else fresh
        known.failing, known.error, known.foreign = 0, None, ""
        self._silent, self._resume_at, self._error = 0, 0.0, None
        if fresh.digest != digest or not fresh.good:  # else we would write for ever
            self._taken(key, known, WEBHOOK)
        if later is not None and later.follows(fresh.version):
            self.saw(key, later)
        self._settle(key, known)

    def _refused(self, key: str, known: KeptObject, error: MeshcaError) -> None:
        """This object is not taken: it is tried again by itself, ever later; the others go on."""
        known.failing += 1
        self._due.add(key, self._clock.monotonic() + REFUSED.pause(known.failing, self._rng))
        known.error, known.foreign = error, ""
        if isinstance(error, Terminating):
            return  # nobody misses it there
        self._telling.refused(key, error)

    def _unanswered(self, key: str, error: Unavailable) -> None:
        """The API server does not answer: everybody waits."""
        now = self._clock.monotonic()
        if now >= self._resume_at:
            self._silent += 1
            self._resume_at = now + SILENT.pause(self._silent, self._rng)
        self._due.add(key, self._resume_at)
        self._telling.unanswered(key, error, again=self._error is not None)
        self._error = error

    def _tell_converged(self) -> None:
        """Say how long a new text took until every object that can hold it does."""
        if self._wanted_at is None or not self._due.is_idle or not self._objects:
            return
        kept = self.report()
        if kept.pending == 0:
            self._telling.converged(kept, self._clock.monotonic() - self._wanted_at)
            self._wanted_at = None
