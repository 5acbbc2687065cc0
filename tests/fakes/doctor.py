"""A mesh that is well, in memory, for the doctor to look at; a test changes one thing.

mesh = FakeMesh()
mesh.server.objects[INJECTOR] = injector(audience="other")
assert await audience(mesh.site()) == wrong(...)
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from email.utils import format_datetime
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding

from meshca.authority.history import Record
from meshca.config.loader import validated
from meshca.doctor.address import Address
from meshca.doctor.looking import Looking
from meshca.doctor.mesh import Place
from meshca.doctor.site import Issued, Site, Wish
from meshca.errors import MeshcaError, NotFound
from meshca.kube.api import Tree
from meshca.rotation.report import RootReport
from meshca.wire.handshake import Handshake
from tests.fakes.clock import FakeClock
from tests.fakes.pki import NOW, Ca, ec_key, make_ca
from tests.fakes.root_reports import authority, root_report

CORE, APPS = "/api/v1/namespaces/{}", "/apis/apps/v1/namespaces/{}"
ISTIO = "istio-system"
INJECTOR = f"{CORE.format(ISTIO)}/configmaps/istio-sidecar-injector"
MESH = f"{CORE.format(ISTIO)}/configmaps/istio"
ISTIOD = f"{APPS.format(ISTIO)}/deployments/istiod"
ZTUNNEL = f"{APPS.format(ISTIO)}/daemonsets/ztunnel"
TLS = f"{CORE.format(ISTIO)}/secrets/istiod-tls"
ROOTS = CORE + "/configmaps/istio-ca-root-cert"
TOKEN = f"{CORE.format(ISTIO)}/serviceaccounts/meshca/token"
NAME = "meshca.istio-system.svc"
ADDRESS = f"{NAME}:15012"
CONFIG: Mapping[str, Any] = {
    "serving": {"names": [NAME, "localhost"]},
    "kubernetes": {
        "namespace": ISTIO,
        "trusted_node_accounts": [f"{ISTIO}/ztunnel"],
        "root_config_map": {"enabled": True, "namespaces": [ISTIO, "shop"]},
        "istiod_certificate": {"enabled": True},
    },
}


class FakeServer:
    """Implements `doctor.looking.Server` over a dict of paths.

    Attributes:
        objects: path -> the object, or what asking raises.
        down: what every call raises.
        refused: verbs and resources that a SelfSubjectAccessReview denies.
        extra: what a SelfSubjectReview says of our token.
        username: as whom we are seen.
        asked: paths, in order.
        created: bodies, by path.
    """

    def __init__(self) -> None:
        self.answered_at = ""
        self.objects: dict[str, Tree | MeshcaError] = {}
        self.down: MeshcaError | None = None
        self.refused: set[str] = set()
        self.username = f"system:serviceaccount:{ISTIO}:meshca"
        self.extra: Mapping[str, list[str]] = {
            "authentication.kubernetes.io/pod-name": ["meshca-0"],
            "authentication.kubernetes.io/pod-uid": ["u-1"],
        }
        self.date = NOW
        self.asked: list[str] = []
        self.created: dict[str, Tree] = {}

    async def get(self, path: str, query: Mapping[str, str] | None = None) -> Tree:
        """An object, or a list."""
        self.asked.append(path)
        self.answered_at = format_datetime(self.date, usegmt=True)
        if self.down is not None:
            raise self.down
        found = self.objects.get(path)
        if found is None:
            raise NotFound("kube_not_found", f"{path}: not found")
        if isinstance(found, MeshcaError):
            raise found
        return found

    async def create(self, path: str, body: Tree) -> Tree:
        """What reviews and token requests answer."""
        self.asked.append(path)
        self.created[path] = body
        if self.down is not None:
            raise self.down
        if isinstance(fault := self.objects.get(path), MeshcaError):
            raise fault
        if path.endswith("selfsubjectreviews"):
            return {"status": {"userInfo": {"username": self.username, "extra": self.extra}}}
        if path.endswith("selfsubjectaccessreviews"):
            asked = body["spec"].get("resourceAttributes") or body["spec"]["nonResourceAttributes"]
            what = f"{asked['verb']} {asked.get('resource') or asked['path']}"
            return {"status": {"allowed": what not in self.refused}}
        return {"status": {"token": "a.b.c"}}


class FakeIssuing:
    """Implements `doctor.site.Ca`; `fault` is raised instead of an answer."""

    def __init__(self, roots: str) -> None:
        self.roots = roots
        self.fault: MeshcaError | None = None
        self.wishes: list[Wish] = []

    async def issue(self, wish: Wish) -> Issued:
        """A certificate of the account."""
        self.wishes.append(wish)
        if self.fault is not None:
            raise self.fault
        identity = f"spiffe://cluster.local/ns/{wish.account.namespace}/sa/{wish.account.name}"
        return Issued(identity=identity, not_after=NOW + timedelta(minutes=10), roots=self.roots)


class FakeRoots:
    """Implements `doctor.site.Roots`: one root that signs for a year, unless a test says otherwise.

    Attributes:
        told: how the roots stand.
        kept: every root that there is and was.
        fault: raised instead of an answer.
    """

    def __init__(self) -> None:
        self.told = root_report(authorities=(authority(),), plan=None, gate=None, next_step="", warnings=())
        self.kept: list[Record] = [one.record for one in self.told.authorities]
        self.fault: MeshcaError | None = None

    async def report(self) -> RootReport:
        """How they stand."""
        if self.fault is not None:
            raise self.fault
        return self.told

    async def records(self) -> list[Record]:
        """All."""
        if self.fault is not None:
            raise self.fault
        return self.kept


@dataclass(kw_only=True)
class FakeMesh:
    """Everything as it should be.

    Attributes:
        config: tree of the server's configuration; its section `kubernetes` is changed by `configure`.
        server: the API server.
        ca: the root, with its key.
        issuing: the CA as it answers.
        shown: what its port shows; an error to raise instead.
        clock: ours.
        roots: of the running server.
    """

    config: dict[str, Any] = field(default_factory=lambda: json.loads(json.dumps(CONFIG)))
    server: FakeServer = field(default_factory=FakeServer)
    ca: Ca = field(default_factory=lambda: make_ca("root"))
    clock: FakeClock = field(default_factory=FakeClock)
    roots: FakeRoots = field(default_factory=FakeRoots)
    place: Place = field(default_factory=Place)
    shown: Handshake | OSError | None = None

    def __post_init__(self) -> None:
        """Install."""
        self.issuing = FakeIssuing(self.ca.pem)
        self.shown = self.showing(NAME)
        self.server.objects |= {
            "/version": {"gitVersion": "v1.37.2"},
            INJECTOR: injector(),
            MESH: config_map({"mesh": "trustDomain: cluster.local\n"}),
            ISTIOD: workload("istiod", {"ENABLE_CA_SERVER": "false"}),
            ZTUNNEL: workload("ztunnel", {"CA_ADDRESS": ADDRESS}),
            TLS: secret(leaf(self.ca, "istiod.istio-system.svc")),
            ROOTS.format(ISTIO): config_map({"root-cert.pem": self.ca.pem}, ISTIO),
            ROOTS.format("shop"): config_map({"root-cert.pem": self.ca.pem}, "shop"),
        }

    def configure(self, **kubernetes: Any) -> None:
        """Other settings of the section `kubernetes`."""
        self.config["kubernetes"] |= kubernetes

    def showing(self, *names: str, ca: Ca | None = None, protocol: str = "h2", **times: datetime) -> Handshake:
        """A port with a certificate for these names."""
        signer = ca or self.ca
        return Handshake(chain=(der(leaf(signer, *names, **times)), der(signer.certificate)), protocol=protocol)

    def site(self, **more: Any) -> Site:
        """What checks look at."""
        config = validated(self.config, "test")
        assert config.kubernetes is not None

        async def handshake(_: Address, __: str) -> Handshake:
            if isinstance(self.shown, OSError):
                raise self.shown
            assert self.shown is not None
            return self.shown

        return Site(
            config=config,
            kubernetes=config.kubernetes,
            namespace=ISTIO,
            place=self.place,
            looking=Looking(self.server),
            handshake=handshake,
            ca=self.issuing,
            clock=self.clock,
            roots=self.roots,
            **more,
        )


def config_map(data: Mapping[str, str], namespace: str = ISTIO, manager: str = "meshca") -> Tree:
    """A ConfigMap as the API server shows it."""
    fields: Mapping[str, Any] = {"f:data": {f"f:{key}": {} for key in data}}
    metadata = {"name": "any", "namespace": namespace, "managedFields": [{"manager": manager, "fieldsV1": fields}]}
    return {"metadata": metadata, "data": dict(data)}


def injector(address: str = ADDRESS, audience: str = "istio-ca", cluster: str = "") -> Tree:
    """The injector's values."""
    values = {
        "global": {
            "caAddress": address,
            "sds": {"token": {"aud": audience}},
            "multiCluster": {"clusterName": cluster},
        }
    }
    return config_map({"values": json.dumps(values)})


def workload(account: str, environment: Mapping[str, str | None], audience: str = "istio-ca") -> Tree:
    """A Deployment or DaemonSet; a variable of None comes from elsewhere."""
    variables = [
        {"name": name, "valueFrom": {}} if value is None else {"name": name, "value": value}
        for name, value in environment.items()
    ]
    token = {"serviceAccountToken": {"audience": audience, "path": "istio-token"}}
    pod = {
        "serviceAccountName": account,
        "containers": [{"name": "discovery", "env": variables}],
        "volumes": [{"name": "other", "emptyDir": {}}, {"name": "token", "projected": {"sources": [token]}}],
    }
    return {"spec": {"template": {"spec": pod}}}


def leaf(
    ca: Ca, *names: str, begin: datetime = NOW - timedelta(hours=1), end: datetime = NOW + timedelta(days=1)
) -> x509.Certificate:
    """A serving certificate."""
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([]))
        .issuer_name(ca.certificate.subject)
        .public_key(ec_key().public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(end)
    )
    if names:
        dns = x509.SubjectAlternativeName([x509.DNSName(name) for name in names])
        builder = builder.add_extension(dns, critical=True)
    return builder.sign(ca.key, hashes.SHA256())


def secret(certificate: x509.Certificate, **more: str) -> Tree:
    """A Secret of type kubernetes.io/tls."""
    pem = certificate.public_bytes(Encoding.PEM).decode()
    data = {"tls.crt": pem, "tls.key": "any", **more}
    return {
        "data": {key.replace("_", "."): base64.b64encode(text.encode()).decode() for key, text in data.items()}
    }


def der(certificate: x509.Certificate) -> bytes:
    """The bytes."""
    return certificate.public_bytes(Encoding.DER)
