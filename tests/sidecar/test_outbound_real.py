"""Two real Envoys: the application's plain request becomes mTLS towards exactly the expected identity."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from meshca.authz.model import Action, PolicySet
from meshca.config.resource_names import DEFAULT, ROOTCA, SECRET_TYPE_URL
from meshca.identity.spiffe_id import SpiffeId
from meshca.sidecar.bootstrap import build
from meshca.sidecar.service import Outbound
from tests.authz.test_decide import operation, policy, source
from tests.real.envoy import from_files, push, running_envoy
from tests.real.mesh_service import ME, MeshService, mesh_service
from tests.real.pki import certificate_secret, roots_secret
from tests.real.raw_http import Answer, RawClient
from tests.sidecar.services import ME as WEB
from tests.sidecar.services import service as settings_of

pytestmark = pytest.mark.real("envoy")
NOBODY = SpiffeId.parse("spiffe://cluster.local/ns/shop/sa/nobody")


async def call(
    service: MeshService,
    folder: Path,
    *targets: tuple[str, SpiffeId],
    path: str = "/",
    headers: Mapping[str, str] | None = None,
) -> list[Answer]:
    """What the application behind web's Envoy gets from the service by these hosts and expected identities."""
    outbound = tuple(
        Outbound(listen_port=0, host=host, port=service.port, identities=(identity,)) for host, identity in targets
    )
    built = build(settings_of(inbound=(), outbound=outbound, full_handshakes=True))
    names = [item["name"] for item in built["static_resources"]["listeners"]]
    push(folder, SECRET_TYPE_URL, DEFAULT, certificate_secret(service.pki.leaf(str(WEB))))
    push(folder, SECRET_TYPE_URL, ROOTCA, roots_secret(service.pki.root()))
    answers = []
    async with running_envoy(from_files(built, folder), folder, name="caller") as envoy:
        await envoy.ready()
        ports = await envoy.ports()
        for name in names:
            async with RawClient(ports[name]) as application:
                answers.append(await application.request("GET", path, headers))
    return answers


async def test_reaches_the_expected_identity_only(tmp_path: Path) -> None:
    """The right service answers, by address and by name; one that proves another identity is not spoken to."""
    (tmp_path / "caller").mkdir()
    async with mesh_service(tmp_path) as service:
        await service.enforce(PolicySet())
        targets = (("127.0.0.1", ME), ("localhost", ME), ("127.0.0.1", NOBODY))
        right, by_name, wrong = await call(service, tmp_path / "caller", *targets)
    assert (right.status, by_name.status, wrong.status) == (200, 200, 503)
    assert f"URI={WEB}" in json.loads(right.body)["headers"]["x-forwarded-client-cert"]


async def test_policy_sees_the_callers_identity(tmp_path: Path) -> None:
    """Through both Envoys, the policy of the called service decides by the identity of the caller's Envoy."""
    rule = replace(
        source(principals=("cluster.local/ns/shop/sa/web",)), operations=operation(paths=("/ok",)).operations
    )
    (tmp_path / "caller").mkdir()
    async with mesh_service(tmp_path) as service:
        await service.enforce(PolicySet(policies=(policy("a", Action.ALLOW, rule),)))
        (allowed,) = await call(service, tmp_path / "caller", ("127.0.0.1", ME), path="/ok")
        (denied,) = await call(service, tmp_path / "caller", ("127.0.0.1", ME), path="/other")
    assert (allowed.status, denied.status) == (200, 403)


async def test_headers_that_an_application_passes_on_do_not_steer_envoy(tmp_path: Path) -> None:
    """An application that copies its caller's headers does not let the caller have requests repeated."""
    (tmp_path / "caller").mkdir()
    copied = {"x-forwarded-for": "10.0.0.1", "x-envoy-retry-on": "5xx", "x-envoy-max-retries": "3"}
    async with mesh_service(tmp_path) as service:
        await service.enforce(PolicySet())
        (answer,) = await call(service, tmp_path / "caller", ("127.0.0.1", ME), path="/broken", headers=copied)
    told = json.loads(answer.body)
    assert (answer.status, told["calls"]) == (500, 1)
    assert [name for name in told["headers"] if name.startswith("x-envoy-")] == []
