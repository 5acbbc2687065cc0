"""istiod's own certificate."""

from __future__ import annotations

from datetime import timedelta

import pytest

from meshca.doctor.finding import Verdict
from meshca.doctor.istiod_certificate import fault_of, istiod_certificate
from meshca.kube.api import Tree
from tests.fakes.doctor import TLS, FakeMesh, leaf, secret
from tests.fakes.pki import NOW, make_ca

SERVICE = "istiod.istio-system.svc"
ROOT = make_ca("root")
GOOD = leaf(ROOT, SERVICE)


async def test_good() -> None:
    """Where, for whom, until when."""
    said = await istiod_certificate(FakeMesh().site())
    assert (said.verdict, said.found) == (
        Verdict.OK,
        f"Secret istiod-tls in istio-system is for {SERVICE} until 2026-01-02T00:00:00Z, up to a published root",
    )


@pytest.mark.parametrize(
    ("item", "fault"),
    [
        (secret(GOOD), ""),
        ({}, "it has no tls.crt, tls.key"),
        ({"data": {"tls.crt": "!", "tls.key": "YQ=="}}, "it has no tls.crt"),
        ({"data": {"tls.crt": "YQ==", "tls.key": "YQ=="}}, "tls.crt holds no certificate"),
        (secret(leaf(ROOT, "other.svc")), f"it is not for {SERVICE}"),
        (secret(leaf(ROOT, SERVICE, end=NOW - timedelta(seconds=1))), "it ended at 2025-12-31T23:59:59Z"),
        (secret(leaf(make_ca("other"), SERVICE)), "it leads to no published root"),
    ],
)
def test_faults(item: Tree, fault: str) -> None:
    """Each in words."""
    assert fault_of(item, SERVICE, (ROOT.certificate,), NOW) == fault


@pytest.mark.parametrize("enabled", [True, False])
async def test_missing(enabled: bool) -> None:  # noqa: FBT001 - a column of the table
    """Where meshca makes it, why it does not; else the switch."""
    mesh = FakeMesh()
    del mesh.server.objects[TLS]
    mesh.configure(istiod_certificate={"enabled": enabled})
    said = await istiod_certificate(mesh.site())
    assert said.verdict is Verdict.WRONG
    mend = "meshca makes and renews it" if enabled else "kubernetes.istiod_certificate.enabled: true"
    assert said.mend[0].startswith(mend)


async def test_fault_is_said_with_its_place() -> None:
    """And how to hand over one that another made."""
    mesh = FakeMesh()
    mesh.server.objects[TLS] = {}
    said = await istiod_certificate(mesh.site())
    assert said.found == "Secret istiod-tls in istio-system: it has no tls.crt, tls.key"
    assert said.mend[1].endswith("kubectl -n istio-system annotate secret istiod-tls meshca.io/adopt=true")
