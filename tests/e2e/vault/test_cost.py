"""What a leaf costs Vault."""

from __future__ import annotations

import json
from pathlib import Path

from tests.e2e.rotation.live_ca import live_ca
from tests.e2e.vault.below import MUCH, issuing
from tests.fakes.vault_server import serving_vault


async def test_nothing(place: Path) -> None:
    """However many leaves are issued, Vault is asked nothing; it is looked at once an hour here."""
    async with serving_vault() as vault:
        upstream = vault.config(place, poll="1h").model_dump(mode="json", exclude_none=True)
        environment = {"MESHCA__UPSTREAM": json.dumps(upstream), "MESHCA__LIMITS__PER_IDENTITY": MUCH}
        async with live_ca(place, environment) as ca:
            before = vault.paths()
            assert sum(path.endswith("/sign-intermediate") for path in before) == 1
            async with issuing(ca) as load:
                for _ in range(5):
                    await load.goes_on()
                assert load.callers.answered >= 50
            assert vault.paths() == before
