"""A shared store as a whole: opening, replicas, faults of the server, and the spool while it is away."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from meshca.clock import SystemClock
from meshca.errors import ConfigError, Unavailable
from meshca.ledger.query import Query
from meshca.ledger.record import Intent, Issuance, Result
from meshca.store.engine import open_store
from meshca.store.postgres import engine as subject
from meshca.store.postgres import link as linking
from meshca.store.postgres.engine import PostgresStore, checked
from meshca.store.sharing import ALONE, Sharing
from meshca.store.spool.terms import NOTHING, SpoolTerms
from tests.fakes.clock import FakeClock
from tests.fakes.records import NOW, intent, issued
from tests.real.cable import Cable, cable
from tests.real.postgresql import PASSWORD, Cluster, running_cluster
from tests.store.postgres.opening import fresh_database, opened_shared

pytestmark = pytest.mark.real("postgresql")
HIDE = "ALTER TABLE issuance_intent RENAME TO hidden"


@pytest.fixture
def database(postgresql: Cluster) -> Iterator[str]:
    """A database with all tables."""
    with fresh_database(postgresql) as name:
        yield name


@pytest.fixture
def url(postgresql: Cluster, database: str) -> str:
    """Its URL."""
    return postgresql.url(database)


def spooling(folder: Path, replica: str = "one", max_age: timedelta = timedelta(minutes=15)) -> Sharing:
    """A replica that may spool."""
    return Sharing(replica=replica, spool=SpoolTerms(folder=folder, max_age=max_age, max_records=1000))


async def refusal(url: str, *, migrate: bool = True, sharing: Sharing = ALONE) -> str:
    """Why a database cannot be opened."""
    with pytest.raises(ConfigError) as caught:
        async with open_store(url, SystemClock(), migrate=migrate, sharing=sharing):
            pass
    return str(caught.value.problems[0])


async def test_the_parent_makes_the_tables(postgresql: Cluster) -> None:
    """Workers then open the same database."""
    name = postgresql.create()
    url = postgresql.url(name)
    assert "has no tables yet" in await refusal(url, migrate=False)
    async with open_store(url, SystemClock(), migrate=True), open_store(url, SystemClock()) as worker:
        await worker.ledger.intend(intent())
        assert (worker.waiting, worker.commits, worker.spooled) == (0, 1, NOTHING)
    postgresql.drop(name)


async def test_records_survive_a_restart(url: str) -> None:
    """Intents and outcomes."""
    one = intent()
    async with opened_shared(url, FakeClock(NOW)) as store:
        await store.ledger.intend(one)
        store.ledger.finish(issued(one))
    async with opened_shared(url, FakeClock(NOW)) as store:
        assert await store.ledger.find(one.serial) == Issuance(intent=one, outcome=issued(one))


async def test_replicas_share_records(url: str) -> None:
    """Nobody loses one to another, and what one recorded another inherits from."""
    made = [[intent() for _ in range(50)] for _ in range(3)]
    async with contextlib.AsyncExitStack() as stack:
        stores = [
            await stack.enter_async_context(opened_shared(url, FakeClock(NOW), Sharing(replica=f"r{number}")))
            for number in range(3)
        ]
        await asyncio.gather(
            *(store.ledger.intend(one) for store, mine in zip(stores, made, strict=True) for one in mine)
        )
        assert len(await stores[0].ledger.query(Query(limit=1000))) == 150
        assert (await stores[1].lineage.of(made[0][0].serial)).token_id == made[0][0].token_id


async def test_probes_of_replicas_do_not_meet(url: str) -> None:
    """Processes of the same name among them."""
    async with (
        open_store(url, SystemClock(), instance="parent", sharing=Sharing(replica="a")) as a,
        open_store(url, SystemClock(), instance="parent", sharing=Sharing(replica="b")) as b,
    ):
        for _ in range(20):
            await asyncio.gather(a.probe(), b.probe())


async def test_a_probe_sees_what_the_writer_meets(postgresql: Cluster, database: str, url: str) -> None:
    """Readiness must not say yes while issuance is refused."""
    async with opened_shared(url, FakeClock(NOW)) as store:
        postgresql.execute("ALTER TABLE probe RENAME TO hidden", database=database)
        with pytest.raises(Unavailable):
            await store.probe()


async def test_a_probe_notices_a_lost_write(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Such as a pool that reads from a standby."""
    async with opened_shared(url, FakeClock(NOW)) as store:
        monkeypatch.setattr(subject, "PROBE_WRITE", "SELECT %s::text, %s::bigint, %s::bigint")
        with pytest.raises(Unavailable, match="what was read is not what was written"):
            await store.probe()


async def test_probe_rows_of_the_past_are_forgotten(postgresql: Cluster, database: str, url: str) -> None:
    """Processes come and go; a lock in the way is the operator's to end."""
    clock = FakeClock(NOW)
    async with open_store(url, clock, instance="old", sharing=Sharing(replica="a")):
        pass
    clock.move(2 * 86400)
    async with open_store(url, clock, migrate=True, instance="new", sharing=Sharing(replica="a")):
        pass
    assert postgresql.execute("SELECT instance FROM probe", database=database) == [("a/new",)]
    postgresql.execute("ALTER TABLE probe RENAME TO hidden", database=database)
    assert "the tables are not those of this version" in await refusal(url)


@pytest.mark.parametrize("migrate", [True, False], ids=["parent", "worker"])
async def test_a_server_that_is_away_is_said(migrate: bool) -> None:  # noqa: FBT001 - a row
    """At opening it is the operator's to mend."""
    words = await refusal("postgresql:///x?host=/nonesuch", migrate=migrate)
    assert "there is no socket; is the server running" in words


@pytest.mark.parametrize("replica", ["a/b", "a b", "é"])
async def test_a_name_of_a_replica_is_a_host_name(url: str, replica: str) -> None:
    """It is a part of other names."""
    assert "as in a host name" in await refusal(url, sharing=Sharing(replica=replica))


def test_the_machines_name_is_the_replicas() -> None:
    """Unless it has another: in a cluster it is the pod's."""
    assert checked("") != ""
    assert checked("meshca-0") == "meshca-0"


WORKER = """
import asyncio, sys
from meshca.clock import SystemClock
from meshca.store.engine import open_store

async def work(url):
    async with open_store(url, SystemClock()) as store:
        await store.probe()
        await store.ledger.find("ab")
        await store.adoption.list()
        await store.lifecycle.load()

asyncio.run(work(sys.argv[1]))
print(sorted({name.partition(".")[0] for name in sys.modules} & {"sqlalchemy", "alembic", "mako"}))
"""


def test_a_worker_does_without_sqlalchemy(url: str) -> None:
    """As with SQLite: it would cost each 28 MB and half a second at start."""
    run = [sys.executable, "-c", WORKER, url]
    assert subprocess.run(run, check=True, capture_output=True, text=True).stdout == "[]\n"


class Cut:
    """A replica that can be cut off from the store."""

    def __init__(self, store: PostgresStore, way: Cable, folder: Path) -> None:
        self.store = store
        self.way = way
        self.folder = folder

    async def issued(self, **changes: object) -> Intent:
        """An intent with its outcome."""
        one = intent(**{"intended_at": SystemClock().now(), **changes})
        await self.store.ledger.intend(one)
        self.store.ledger.finish(issued(one))
        return one


@pytest.fixture
async def cut(
    postgresql: Cluster, database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Cut]:
    """One that is connected at first."""
    monkeypatch.setattr(linking, "OPENING_SECONDS", 0.3)
    (tmp_path / "password").write_text(PASSWORD)
    async with cable(postgresql.port) as way:
        url = f"{postgresql.tcp_url(database, port=way.port)}?password_file={tmp_path}/password"
        async with opened_shared(url, SystemClock(), spooling(tmp_path / "spool")) as store:
            for link in (store._writing, store._reading, store._listing):
                link._seconds = 0.3
            yield Cut(store, way, tmp_path / "spool")
            way.plug()


async def brought(store: PostgresStore) -> None:
    """Return once nothing waits any more."""
    while store.spooled.records or store.waiting:  # noqa: ASYNC110 - it is brought by itself
        await asyncio.sleep(0.01)


async def test_a_replica_that_is_cut_off_goes_on_issuing(cut: Cut, url: str) -> None:
    """It shows it, and brings its records when the cable is in again; other replicas have them then."""
    before = await cut.issued()
    cut.way.pull()
    during = [await cut.issued() for _ in range(5)]
    assert cut.store.spooled.records == 5
    assert await cut.store.ledger.find(during[0].serial) is not None
    cut.way.plug()
    await brought(cut.store)
    async with opened_shared(url, SystemClock(), Sharing(replica="two")) as other:
        found = [await other.ledger.find(one.serial) for one in (before, *during)]
    assert [one.result for one in found if one] == [Result.ISSUED] * 6
    assert list(cut.folder.iterdir()) == []


async def test_a_replica_that_is_cut_off_does_not_lead(cut: Cut) -> None:
    """It can issue, so it is ready; but it does not see what the others see."""
    cut.way.pull()
    await cut.store.probe()
    with pytest.raises(Unavailable):
        await cut.store.reach()


async def test_a_worker_that_may_spool_starts_without_the_store(postgresql: Cluster, tmp_path: Path) -> None:
    """A crash meanwhile must not take the replica's capacity; the parent does not, and says why."""
    with running_cluster() as own:
        name = own.create()
        url = own.url(name)
        async with open_store(url, SystemClock(), migrate=True):
            pass
        own.stop()
        assert "there is no socket" in await refusal(url, sharing=spooling(tmp_path))
        async with opened_shared(url, SystemClock(), spooling(tmp_path)) as store:
            one = intent()
            await store.ledger.intend(one)
            own.start()
            await brought(store)
            assert await store.ledger.find(one.serial) == Issuance(intent=one)


async def test_a_worker_that_may_not_spool_does_not(postgresql: Cluster, url: str, tmp_path: Path) -> None:
    """`0s` turns the spool off; then nothing is signed without the store."""
    off = spooling(tmp_path, max_age=timedelta())
    assert "no socket" in await refusal("postgresql:///x?host=/nonesuch", migrate=False, sharing=off)
    async with opened_shared(url, SystemClock(), off) as store:
        postgresql.execute(HIDE, database=url.partition("?")[0].rpartition("/")[2])
        with pytest.raises(Unavailable):
            await store.ledger.intend(intent())
        assert store.spooled == NOTHING


async def test_a_full_spool_is_not_ready(cut: Cut) -> None:
    """Then nothing can be signed any more."""
    cut.way.pull()
    await cut.issued(intended_at=SystemClock().now() - timedelta(hours=1))
    with pytest.raises(Unavailable, match=r"see ledger\.spool\.max_age"):
        await cut.store.probe()
    with pytest.raises(Unavailable, match=r"see ledger\.spool\.max_age"):
        await cut.issued()


KILLED = """
import asyncio, sys
from pathlib import Path
from meshca.clock import SystemClock
from tests.store.postgres.opening import opened_shared
from tests.store.postgres.test_engine import spooling
from tests.fakes.records import intent, issued

async def main():
    async with opened_shared(sys.argv[1], SystemClock(), spooling(Path(sys.argv[2]))) as store:
        for number in range(1, 1_000_000):
            one = intent(serial=f"{number:x}", intended_at=SystemClock().now())
            await store.ledger.intend(one)
            store.ledger.finish(issued(one))
            print(one.serial, flush=True)

asyncio.run(main())
"""


def recorded(process: subprocess.Popen[str], count: int) -> list[str]:
    """The next serials that a process says are recorded."""
    assert process.stdout is not None
    return [process.stdout.readline().strip() for _ in range(count)]


def killed_without_the_store(own: Cluster, url: str, folder: Path) -> list[str]:
    """What a process said was recorded: the store is lost under its load, then it is killed."""
    command = [sys.executable, "-c", KILLED, url, str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        said = recorded(process, 50)
        own.stop("immediate")
        said += recorded(process, 300)
        process.kill()
        assert process.stdout is not None
        return said + process.stdout.read().split()


def files(folder: Path) -> list[Path]:
    """What is in the spool."""
    return list(folder.glob("*.jsonl"))


async def test_nothing_that_was_recorded_is_lost(tmp_path: Path) -> None:
    """The store is lost under load, then the process is killed, then the store comes back."""
    with running_cluster() as own:
        url = own.url(own.create())
        async with open_store(url, SystemClock(), migrate=True):
            pass
        said = killed_without_the_store(own, url, tmp_path)
        assert files(tmp_path)
        own.start()
        async with opened_shared(url, SystemClock(), spooling(tmp_path)) as store:
            while files(tmp_path):  # noqa: ASYNC110 - it is brought by itself
                await asyncio.sleep(0.01)
            found = {one.intent.serial for one in await store.ledger.query(Query(limit=10_000))}
        assert set(said) <= found
