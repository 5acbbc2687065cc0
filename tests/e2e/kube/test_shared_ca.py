"""Whole servers over a CA in a Secret: one root of many, moves from and to Istio, faults, missing permissions."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import verification

from meshca._proto.istio.v1.auth.ca_pb2 import IstioCertificateResponse
from meshca.errors import NotFound
from tests.e2e.kube.cluster import TestCluster, kubeconfig, open_cluster, until
from tests.e2e.kube.outage import interruptible
from tests.e2e.kube.publishing import Roots
from tests.e2e.kube.replicas import Replica, replica
from tests.e2e.kube.secret_place import SecretPlace, secret_place
from tests.fakes.cacerts import cacerts, tls
from tests.fakes.istio_ca import TYPE, IstioCa
from tests.fakes.pki import DAY, Ca, make_ca
from tests.real.dev_server import Certificate, Key, wait_for

pytestmark = pytest.mark.real("kubernetes")
BEGIN = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=1)
WEB = "spiffe://cluster.local/ns/shop/sa/web"
ISTIOS, PLUGGED_IN = "istio-ca-secret", "cacerts"


def ca(name: str, issuer: Ca | None = None, end: datetime = BEGIN + 30 * DAY) -> Ca:
    """A CA of today."""
    return make_ca(name, issuer, begin=BEGIN, end=end)


ROOT = ca("root")
FIRST, SECOND = ca("first", ROOT), ca("second", ROOT)


def encoded(files: dict[str, str]) -> dict[str, bytes]:
    """The contents of a Secret."""
    return {name: text.encode() for name, text in files.items()}


@pytest.fixture
async def place(cluster: TestCluster) -> AsyncIterator[SecretPlace]:
    """A namespace of its own."""
    async with secret_place(cluster.api, await cluster.namespace()) as made:
        yield made


@pytest.fixture
def launch(tmp_path: Path, place: SecretPlace) -> Iterator[Callable[..., Replica]]:
    """Launches servers as administrators of the cluster, and ends them."""
    with contextlib.ExitStack() as stack:

        def another(upstream: str = "create: true", file: Path | None = None, roots: str = "") -> Replica:
            folder = tmp_path / f"replica-{time.monotonic_ns()}"
            return stack.enter_context(replica(folder, file or kubeconfig(), place.namespace, upstream, roots))

        yield another


async def serving(made: Replica) -> Replica:
    """Once it serves."""
    await asyncio.to_thread(made.server.wait_until_it_serves)
    return made


async def soon(condition: Callable[[], object], seconds: float = 20.0) -> None:
    """Return once a condition holds."""
    await asyncio.to_thread(wait_for, condition, seconds)


async def issued(made: Replica) -> Certificate:
    """A workload's certificate."""
    return await made.server.create(made.server.token())


async def received(made: Replica, shown: Certificate) -> str:
    """The identity of a renewal on the mTLS port, whose handshake verifies what another CA or replica issued.

    Each server here has a ledger of its own and so knows no serial of another's: the token proves the caller.
    """
    return (await made.server.create(made.server.token(), shown=shown)).spiffe_id


def verify(leaf: x509.Certificate, above: list[x509.Certificate], root: x509.Certificate) -> None:
    """As a client that trusts this root only."""
    ca_policy = verification.ExtensionPolicy.permit_all().require_present(
        x509.BasicConstraints, verification.Criticality.AGNOSTIC, None
    )
    verifier = (
        verification.PolicyBuilder()
        .store(verification.Store([root]))
        .extension_policies(ca_policy=ca_policy, ee_policy=verification.ExtensionPolicy.webpki_defaults_ee())
        .build_client_verifier()
    )
    verifier.verify(leaf, above)


def parts(certificate: Certificate) -> tuple[x509.Certificate, list[x509.Certificate], x509.Certificate]:
    """Leaf, those above it, and the root, as a workload got them."""
    leaf, *above, root = [x509.load_pem_x509_certificate(pem.encode()) for pem in certificate.answer.cert_chain]
    return leaf, above, root


class TestFirstStart:
    """Nothing is there."""

    async def test_one_root_of_many(self, place: SecretPlace, launch: Callable[..., Replica]) -> None:
        """Five servers that start at once end with one root; what one issues verifies at another."""
        replicas = [launch() for _ in range(5)]
        for each in replicas:
            await serving(each)
        found = [await issued(each) for each in replicas]
        assert len({each.server.root for each in replicas}) == 1
        assert {each.answer.cert_chain[-1].encode() for each in found} == {
            (await place.get(ISTIOS))["ca-cert.pem"]
        }
        assert len({parts(each)[1][0].subject for each in found}) == 5
        made = [line for each in replicas for line in each.server.log() if line["event"] == "ca.signed"]
        assert sorted(line["kind"] for line in made) == ["intermediate"] * 5 + ["root"]
        for holder, other in zip(found, replicas[1:] + replicas[:1], strict=True):
            assert await received(other, holder) == holder.spiffe_id == WEB

    async def test_after_a_restart(self, place: SecretPlace, launch: Callable[..., Replica]) -> None:
        """A restarted server has the same root and another intermediate; older certificates verify."""
        first = await serving(launch())
        held = await issued(first)
        first.server.stop()
        second = await serving(launch())
        assert await received(second, held) == WEB
        fresh = await issued(second)
        assert fresh.answer.cert_chain[-1] == held.answer.cert_chain[-1]
        assert fresh.answer.cert_chain[1] != held.answer.cert_chain[1]

    async def test_not_asked_to(self, place: SecretPlace, launch: Callable[..., Replica]) -> None:
        """Without `create` the start waits, says for what, and goes on within a second of the Secret."""
        waiting = launch("create: false")
        await soon(lambda: "none holds a CA" in waiting.waits_for())
        assert waiting.page("/livez")[0] == 200
        assert waiting.page("/readyz")[0] == 503
        assert "none holds a CA" in await asyncio.to_thread(waiting.status_error)
        await place.put(PLUGGED_IN, encoded(tls(FIRST, roots=(ROOT,))), "kubernetes.io/tls")
        await serving(waiting)
        assert parts(await issued(waiting))[0].issuer == FIRST.certificate.subject

    async def test_key_stays_private(self, place: SecretPlace, launch: Callable[..., Replica]) -> None:
        """The key of the root is in no log line."""
        made = await serving(launch())
        await issued(made)
        key = (await place.get(ISTIOS))["ca-key.pem"].decode().splitlines()[1]
        assert key not in (made.server.folder / "log").read_text()


class TestLost:
    """The Secret is deleted while workloads trust what it held."""

    async def test_no_new_root(
        self, cluster: TestCluster, place: SecretPlace, launch: Callable[..., Replica]
    ) -> None:
        """Restarted servers wait and say why, the published root stays, and the Secret put back mends it."""
        roots = Roots()
        replicas = [launch(roots=roots.name) for _ in range(3)]
        for each in replicas:
            await serving(each)
        root = replicas[0].server.root
        assert {each.server.root for each in replicas} == {root}
        await until(lambda: roots.holds(cluster, [place.namespace], root.decode()))
        backup = await place.get(ISTIOS)
        await place.remove(ISTIOS)
        for each in replicas:
            each.server.stop()
        restarted = [launch(roots=roots.name) for _ in range(2)]
        for each in restarted:
            await soon(lambda each=each: "put the Secret back from a backup" in each.waits_for())  # type: ignore[misc] # a default
            assert f"delete ConfigMap {roots.name} in namespace {place.namespace}" in each.waits_for()
        await asyncio.sleep(5)
        assert not any(each.serves() for each in restarted)
        with pytest.raises(NotFound):
            await place.get(ISTIOS)
        assert await roots.holds(cluster, [place.namespace], root.decode())
        await place.put(ISTIOS, backup, TYPE)
        for each in restarted:
            await serving(each)
            assert each.server.root == root

    async def test_begun_anew(
        self, cluster: TestCluster, place: SecretPlace, launch: Callable[..., Replica]
    ) -> None:
        """Who deletes the ConfigMap as well begins with a new root."""
        roots = Roots()
        first = await serving(launch(roots=roots.name))
        await until(lambda: roots.holds(cluster, [place.namespace], first.server.root.decode()))
        first.server.stop()
        await place.remove(ISTIOS)
        second = launch(roots=roots.name)
        await soon(lambda: "put the Secret back" in second.waits_for())
        await cluster.api.delete(roots.path(place.namespace))
        await serving(second)
        await until(lambda: roots.holds(cluster, [place.namespace], second.server.root.decode()))
        assert second.server.root != first.server.root

    async def test_missing_right(
        self, cluster: TestCluster, place: SecretPlace, launch: Callable[..., Replica], tmp_path: Path
    ) -> None:
        """Without the right to look no root is made, and the start waits for the right."""
        roots = Roots()
        verbs = ["get", "create", "list", "watch"]
        rule = {"apiGroups": [""], "resources": ["secrets"], "verbs": verbs}
        account = await cluster.account(tmp_path, place.namespace, "ca", rules={place.namespace: [rule]})
        made = launch(file=account.kubeconfig, roots=roots.name)
        await soon(lambda: f"get configmaps in {place.namespace}: forbidden" in made.waits_for())
        granted = [rule, roots.rule()]
        await cluster.account(tmp_path, place.namespace, "ca", rules={place.namespace: granted})
        await serving(made)


class TestIstio:
    """From Istio to meshca and back."""

    async def test_there_and_back(self, place: SecretPlace, launch: Callable[..., Replica]) -> None:
        """Istio's root stays: old and new certificates verify for everyone, and its Secret is left as it was."""
        now = datetime.now(UTC).replace(microsecond=0)
        istio = IstioCa.create(now - timedelta(seconds=5))
        await place.put(ISTIOS, istio.contents, TYPE)
        key = Key()
        before = istio.sign(key.private.public_key(), WEB, now)
        moved = await serving(launch("create: false"))
        ours = await issued(moved)
        leaf, above, root = parts(ours)
        assert root == istio.certificate
        verify(leaf, above, istio.certificate)  # whoever Istio gave its root to
        verify(before, [], root)  # whoever we gave our root to
        pem = before.public_bytes(Encoding.PEM).decode()
        held = Certificate(key=key, answer=IstioCertificateResponse(cert_chain=[pem, ours.answer.cert_chain[-1]]))
        assert await received(moved, held) == WEB
        moved.server.stop()
        assert await place.get(ISTIOS) == istio.contents
        back = IstioCa.load(await place.get(ISTIOS))
        verify(back.sign(Key().private.public_key(), WEB, now), [], root)
        verify(leaf, above, back.certificate)

    async def test_to_istio(self, place: SecretPlace, launch: Callable[..., Replica]) -> None:
        """A root that meshca made is taken over by Istio: what either signs verifies for the other's clients."""
        made = await serving(launch())
        leaf, above, root = parts(await issued(made))
        made.server.stop()
        istio = IstioCa.load(await place.get(ISTIOS))
        verify(istio.sign(Key().private.public_key(), WEB, datetime.now(UTC)), [], root)
        verify(leaf, above, istio.certificate)


class TestChanges:
    """What happens while it serves."""

    async def test_followed(self, place: SecretPlace, launch: Callable[..., Replica]) -> None:
        """A new intermediate under the same root is taken; bad ones are refused and named."""
        await place.put(PLUGGED_IN, encoded(cacerts(FIRST, roots=(ROOT,))))
        made = await serving(launch())
        assert parts(await issued(made))[0].issuer == FIRST.certificate.subject
        await place.put(PLUGGED_IN, encoded(cacerts(SECOND, roots=(ROOT,))))
        begun = time.monotonic()
        async with asyncio.timeout(20):
            while parts(await issued(made))[0].issuer != SECOND.certificate.subject:
                continue
        print(f"a changed Secret signed after {time.monotonic() - begun:.2f} s")  # noqa: T201 - a figure
        for bad, why in BAD.items():
            await place.put(PLUGGED_IN, WHAT[bad])
            await soon(lambda why=why: any(why in said for said in made.refusals()))  # type: ignore[misc] # a default
            assert parts(await issued(made))[0].issuer == SECOND.certificate.subject
        assert any(f"Secret cacerts in namespace {place.namespace}: " in said for said in made.refusals())
        await place.remove(PLUGGED_IN)
        await soon(lambda: any("no Secret holds a CA any more" in said for said in made.refusals()))
        await place.put(PLUGGED_IN, encoded(cacerts(FIRST, roots=(ROOT,))))
        await soon(lambda: [line["event"] for line in made.server.log()].count("signer.published") == 3)
        assert parts(await issued(made))[0].issuer == FIRST.certificate.subject
        assert made.serves()

    async def test_another_root(self, place: SecretPlace, launch: Callable[..., Replica]) -> None:
        """One that is named beside the first is given out with it, and signs nothing."""
        await place.put(PLUGGED_IN, encoded(cacerts(FIRST, roots=(ROOT,))))
        made = await serving(launch())
        another = ca("another root")
        await place.put(PLUGGED_IN, encoded(cacerts(FIRST, roots=(ROOT, another))))

        async def given() -> bool:
            return (await issued(made)).answer.cert_chain[-1] == ROOT.pem + another.pem

        await until(given)
        assert parts(await issued(made))[0].issuer == FIRST.certificate.subject
        assert made.refusals() == []


BAD = {
    "half": "root-cert.pem: is missing; all of",
    "expired": "expired at",
    "mismatched": "the private key is not its own",
    "huge": "it holds 600000 bytes, at most 524288 are read",
}
WHAT = {
    "half": encoded(
        {name: text for name, text in cacerts(FIRST, roots=(ROOT,)).items() if name != "root-cert.pem"}
    ),
    "expired": encoded(cacerts(ca("old", ROOT, BEGIN + timedelta(minutes=1)), roots=(ROOT,))),
    "mismatched": encoded({**cacerts(FIRST, roots=(ROOT,)), "ca-key.pem": SECOND.key_pem}),
    "huge": {"cert-chain.pem": b"x" * 600_000},
}


class TestPermissions:
    """RBAC, one verb missing at a time."""

    @pytest.mark.parametrize(
        ("verbs", "empty", "missing"),
        [
            pytest.param({"create"}, False, "get secrets", id="get"),
            pytest.param({"get"}, False, "create secrets", id="create"),
            pytest.param({"get"}, True, "update secrets", id="update"),
        ],
    )
    async def test_missing(
        self,
        cluster: TestCluster,
        place: SecretPlace,
        launch: Callable[..., Replica],
        tmp_path: Path,
        verbs: set[str],
        empty: bool,  # noqa: FBT001 - a row's part
        missing: str,
    ) -> None:
        """The start waits and names verb, resource and Secret; once the verb is granted it goes on."""

        def rules(granted: set[str]) -> list[dict[str, list[str]]]:
            return [{"apiGroups": [""], "resources": ["secrets"], "verbs": sorted({"list", "watch", *granted})}]

        if empty:
            await place.put(ISTIOS, {}, TYPE)
        account = await cluster.account(tmp_path, place.namespace, "ca", rules={place.namespace: rules(verbs)})
        made = launch(file=account.kubeconfig)
        await soon(lambda: f"{missing} in {place.namespace}: forbidden; grant this verb" in made.waits_for())
        assert "; the Secret is " in made.waits_for()
        assert made.server.process.poll() is None
        await cluster.account(
            tmp_path, place.namespace, "ca", rules={place.namespace: rules(verbs | {missing.partition(" ")[0]})}
        )
        await serving(made)

    @pytest.mark.parametrize("verb", ["list", "watch"])
    async def test_cannot_follow(
        self, cluster: TestCluster, place: SecretPlace, launch: Callable[..., Replica], tmp_path: Path, verb: str
    ) -> None:
        """Without the verbs of a watch it serves, and says in the log which it lacks."""
        verbs = sorted({"get", "create", "list", "watch"} - {verb})
        rule = {"apiGroups": [""], "resources": ["secrets"], "verbs": verbs}
        account = await cluster.account(tmp_path, place.namespace, "ca", rules={place.namespace: [rule]})
        made = await serving(launch(file=account.kubeconfig))
        wanted = f"{verb} secrets in {place.namespace}: forbidden"
        await soon(lambda: any(wanted in str(line.get("detail")) for line in made.server.log()))
        await issued(made)


async def test_without_an_api_server(tmp_path: Path) -> None:
    """A server that starts without an API server waits for it; one that serves does without, and follows again."""
    with interruptible(tmp_path / "plane") as outage, contextlib.ExitStack() as stack:
        file = outage.plane.kubeconfig
        async with (
            open_cluster(file) as cluster,
            secret_place(cluster.api, await cluster.namespace()) as place,
        ):
            outage.begin()
            made = stack.enter_context(replica(tmp_path / "ca", file, place.namespace))
            await soon(lambda: "the API server cannot be reached" in made.waits_for())
            assert made.page("/livez")[0] == 200
            await asyncio.to_thread(outage.end)
            await serving(made)
            before = await place.get(ISTIOS)
            outage.begin()
            await issued(made)
            await asyncio.to_thread(outage.end)
            await place.put(ISTIOS, {**before, "ca-key.pem": b"damaged"})
            begun = time.monotonic()
            await soon(lambda: any("ca-key.pem: expected one" in said for said in made.refusals()), 60)
            print(f"followed {time.monotonic() - begun:.1f} s after the API server was back")  # noqa: T201 - a figure
            await place.put(ISTIOS, before)
            await issued(made)
