"""An intermediate of ours below a real OpenBao."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography import x509

from meshca.app.openbao_process import OpenBao
from meshca.authority.material import certificate_id
from meshca.authority.slot import Slot
from meshca.clock import SystemClock
from meshca.upstream.vault.opening import open_
from tests.fakes.pki import TRUST_DOMAIN
from tests.real.openbao import new_mount, vault_config

pytestmark = pytest.mark.real("openbao")


async def test_signs(openbao: OpenBao, tmp_path: Path) -> None:
    """What is offered signs and verifies a trial leaf below the pinned root."""
    mount = await new_mount(openbao)
    config = vault_config(openbao, mount, tmp_path)
    clock = SystemClock()
    begun = clock.now()
    async with open_(config, data_dir=tmp_path, environ={}, trust_domain=TRUST_DOMAIN, clock=clock) as upstream:
        root = x509.load_pem_x509_certificate(mount.root.encode())
        assert [line.root for line in await upstream.lines() if line.signs] == [root]
        assert upstream.reached_at is not None
        assert begun <= upstream.reached_at <= clock.now()
        offer = await upstream.obtain(certificate_id(root))
    assert Slot.prove(offer.material, TRUST_DOMAIN, clock.now()).path[-1] == root
