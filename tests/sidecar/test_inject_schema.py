"""Injected objects are ones that Kubernetes knows, to the last field, in every version that we speak of."""

from __future__ import annotations

import kubernetes_validate
import pytest

from meshca.sidecar.inject_object import KINDS, inject
from meshca.sidecar.inject_settings import INBOUND, OUTBOUND, Settings, Sidecars
from tests.sidecar.manifests import SETTINGS, complete, settings

VERSIONS = [f"1.{minor}" for minor in range(30, 38)]
PORTS = {INBOUND: "8443:8080 8444:8081", OUTBOUND: "9001=pay:8443,spiffe://cluster.local/ns/a/sa/b"}
CHOICES = {
    "defaults": SETTINGS,
    "plain": settings(sidecars=Sidecars.PLAIN),
    "everything": settings(server_name="ca", run_as_user=1000, listen_address="::"),
}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("choice", CHOICES.values(), ids=CHOICES)
def test_schema(choice: Settings, version: str) -> None:
    """Every kind of workload; jobs have native sidecars only."""
    for group, kind in KINDS:
        if group == "batch" and choice.sidecars is Sidecars.PLAIN:
            continue
        done = inject(complete(group, kind, PORTS), choice)
        assert done.faults == ()
        assert kubernetes_validate.validate(done.value, version, strict=True)
