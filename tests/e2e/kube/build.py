"""Builds the Kubernetes control plane of `testbed/` once, and keeps it outside the repository.

The file's name is the hash of its sources, so a change of any of them is another build and an old one is never
used by mistake. `MESHCA_CACHE` names the folder; by default `meshca` in the user's cache folder.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

SOURCES: Final = Path(__file__).parent / "testbed"
VERSION: Final = "v1.37.2"  # what the API server says it is; testbed/go.mod requires the same
_FLAGS: Final = f"-s -w -X k8s.io/component-base/version.gitVersion={VERSION}"


def cached() -> Path:
    """Where the program is, or will be once it was built."""
    digest = hashlib.sha256()
    for name in ("main.go", "go.mod", "go.sum"):
        digest.update((SOURCES / name).read_bytes())
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(os.environ.get("MESHCA_CACHE") or Path(home) / "meshca")
    return folder / f"kubernetes-testbed-{digest.hexdigest()[:16]}"


def build() -> Path:
    """The program, built now if it was not before.

    Raises:
        SystemExit: it cannot be built; the compiler's words are on standard error.
    """
    program = cached()
    if program.exists():
        return program
    print(f"building etcd and Kubernetes {VERSION} for the tests, about 6 minutes, once", file=sys.stderr)  # noqa: T201
    program.parent.mkdir(parents=True, exist_ok=True)
    fresh = program.with_suffix(f".{os.getpid()}")
    command = ["go", "build", "-trimpath", "-ldflags", _FLAGS, "-o", str(fresh), "."]
    started = time.monotonic()
    try:
        subprocess.run(command, cwd=SOURCES, env={**os.environ, "CGO_ENABLED": "0"}, check=True)
    except FileNotFoundError:
        raise SystemExit("the testbed needs Go 1.26 or newer on the PATH") from None
    except subprocess.CalledProcessError:
        raise SystemExit("the testbed could not be built; see above") from None
    fresh.rename(program)
    print(f"built in {time.monotonic() - started:.0f} s", file=sys.stderr)  # noqa: T201
    return program
