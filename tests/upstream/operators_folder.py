"""A folder where an operator puts a CA, and the upstream over it."""

from __future__ import annotations

from pathlib import Path

from meshca.authority.material import certificate_id
from meshca.config.upstream import FilesConfig
from meshca.upstream.files import Files, open_
from tests.fakes.cacerts import cacerts
from tests.fakes.clock import FakeClock
from tests.fakes.pki import NOW, TRUST_DOMAIN, Ca, make_ca

ROOT = make_ca("root")
OLD_ROOT = make_ca("old root")
UPPER = make_ca("upper", ROOT)
SIGNER = make_ca("signer", UPPER)
GOOD = cacerts(SIGNER, UPPER, roots=(ROOT, OLD_ROOT))
NEXT = cacerts(make_ca("next signer", ROOT), roots=(ROOT, OLD_ROOT))
OTHER = make_ca("other root", begin=NOW)
OTHERS = make_ca("other signer", OTHER)


async def started(folder: Path, clock: FakeClock | None = None) -> Files:
    """The upstream over a folder, as `open_` gives it; its data directory is `data` beside that."""
    config, data_dir = FilesConfig(kind="files", dir=folder), folder.parent / "data"
    async with open_(config, data_dir=data_dir, trust_domain=TRUST_DOMAIN, clock=clock or FakeClock()) as files:
        return files


def id_of(ca: Ca) -> str:
    """What a root is called."""
    return certificate_id(ca.certificate)
