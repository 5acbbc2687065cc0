"""One consistent look at a folder of CA files, in either layout of Istio's `cacerts`.

Layout `cacerts`: ca-cert.pem, ca-key.pem, cert-chain.pem (may be empty), root-cert.pem. Layout `tls`, taken
when tls.crt is there: tls.crt (signing certificate and those above it), tls.key, ca.crt (roots). A key that
everyone can read is refused; in a volume that Kubernetes projects (`..data`) it is accepted, because there
the kubelet sets modes of 0644 or 0640 and only the pod can look. Group access is accepted for the same reason.
Contents must never reach an error text.
"""

from __future__ import annotations

import hashlib
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from meshca import durable
from meshca.errors import ConfigError
from meshca.upstream.ca_set import CACERTS, TLS, Layout

_DATA = "..data"  # the symlink that the kubelet swaps when a Secret changes
_TRIES = 5  # a folder that is swapped more often within a millisecond is left for the next look


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What was in the folder at one moment.

    Attributes:
        layout: which files were looked for.
        contents: what those that could be read held.
        problems: one line for each that could not, or must not, be used.
        projected: whether the files changed places at once, by a swapped `..data`.
        digest: equal for equal folders.
    """

    layout: Layout
    contents: Mapping[str, bytes] = field(repr=False)
    problems: tuple[str, ...]
    projected: bool
    digest: str


def look(folder: Path, tries: int = _TRIES) -> Look:
    """Read all files of one state of the folder, even while `..data` is being swapped."""
    target = _target(folder)
    seen = _read(folder / target, projected=bool(target))
    if tries > 1 and _target(folder) != target:
        return look(folder, tries - 1)
    return seen


def _target(folder: Path) -> str:
    """Where `..data` points now; empty in an ordinary folder."""
    try:
        return str((folder / _DATA).readlink())
    except OSError:
        return ""


def _read(folder: Path, *, projected: bool) -> Look:
    layout = TLS if _is_there(folder / TLS.certificate) else CACERTS
    contents: dict[str, bytes] = {}
    problems: list[str] = []
    for name in layout.names:
        try:
            contents[name] = durable.read(folder / name, f"put {name} there")
        except ConfigError as error:
            problems += [f"{name}: {problem}" for problem in error.problems]
    if layout.key in contents and not projected:
        problems += _mode_problems(folder / layout.key)
    digest = hashlib.sha256(repr((layout, sorted(contents.items()), problems)).encode()).hexdigest()
    return Look(layout=layout, contents=contents, problems=tuple(problems), projected=projected, digest=digest)


def _is_there(path: Path) -> bool:
    """Whether it is, as far as we may see; in a folder that may not be entered every file is a problem then."""
    try:
        return path.exists()
    except OSError:
        return False


def _mode_problems(key: Path) -> list[str]:
    try:
        mode = key.stat().st_mode
    except OSError:  # gone since it was read; the next look says so
        return []
    if not mode & stat.S_IRWXO:
        return []
    return [f"{key.name}: everyone can use this private key (mode {stat.S_IMODE(mode):04o}); run: chmod 600 {key}"]
