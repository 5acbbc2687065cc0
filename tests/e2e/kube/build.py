"""Builds the Kubernetes control plane of `testbed/`, and Helm, once, and keeps them outside the repository.

The file's name is the hash of its sources, so a change of any of them is another build and an old one is never
used by mistake. `MESHCA_CACHE` names the folder; by default `meshca` in the user's cache folder.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

SOURCES: Final = Path(__file__).parent / "testbed"
HELM: Final = "v4.3.1"
VERSION: Final = "v1.37.2"  # what the API server says it is; testbed/go.mod requires the same
_FLAGS: Final = f"-s -w -X k8s.io/component-base/version.gitVersion={VERSION}"


def cached() -> Path:
    """Where the control plane is, or will be once it was built."""
    digest = hashlib.sha256()
    for name in ("main.go", "go.mod", "go.sum"):
        digest.update((SOURCES / name).read_bytes())
    return _folder() / f"kubernetes-testbed-{digest.hexdigest()[:16]}"


def build() -> Path:
    """The control plane, built now if it was not before.

    Raises:
        SystemExit: it cannot be built; the compiler's words are on standard error.
    """
    program = cached()
    if program.exists():
        return program
    print(f"building etcd and Kubernetes {VERSION} for the tests, about 6 minutes, once", file=sys.stderr)  # noqa: T201
    with tempfile.TemporaryDirectory(dir=_made(_folder())) as fresh:
        _go(["build", "-trimpath", "-ldflags", _FLAGS, "-o", f"{fresh}/testbed", "."], SOURCES, CGO_ENABLED="0")
        (Path(fresh) / "testbed").rename(program)
    return program


def _folder() -> Path:
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("MESHCA_CACHE") or Path(home) / "meshca")


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _go(command: Sequence[str], where: Path, **environ: str) -> None:
    started = time.monotonic()
    try:
        subprocess.run(["go", *command], cwd=where, env={**os.environ, **environ}, check=True)  # noqa: S607
    except FileNotFoundError:
        raise SystemExit("this needs Go 1.26 or newer on the PATH") from None
    except subprocess.CalledProcessError:
        raise SystemExit("it could not be built; see above") from None
    print(f"built in {time.monotonic() - started:.0f} s", file=sys.stderr)  # noqa: T201


def helm() -> Path:
    """Helm of one version, built now if it was not before.

    Raises:
        SystemExit: it cannot be built.
    """
    program = _folder() / f"helm-{HELM}"
    if program.exists():
        return program
    print(f"building Helm {HELM} for the tests, about 4 minutes, once", file=sys.stderr)  # noqa: T201
    with tempfile.TemporaryDirectory(dir=_made(_folder())) as fresh:
        _go(["install", f"helm.sh/helm/v4/cmd/helm@{HELM}"], Path(fresh), GOBIN=fresh, GOFLAGS="-mod=mod")
        (Path(fresh) / "helm").rename(program)
    return program
