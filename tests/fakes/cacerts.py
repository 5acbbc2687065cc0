"""A folder of CA files in either layout of Istio's `cacerts`, as an operator or the kubelet would make it."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.fakes.pki import Ca

Files = Mapping[str, str]


def cacerts(signer: Ca, *above: Ca, roots: tuple[Ca, ...]) -> dict[str, str]:
    """The `cacerts` layout; the chain holds the signer and the first root too, as Istio's own tool writes it."""
    return {
        "ca-cert.pem": signer.pem,
        "ca-key.pem": signer.key_pem,
        "cert-chain.pem": "".join(ca.pem for ca in (signer, *above, roots[0])),
        "root-cert.pem": "".join(ca.pem for ca in roots),
    }


def tls(signer: Ca, *above: Ca, roots: tuple[Ca, ...]) -> dict[str, str]:
    """The layout of a Secret of type kubernetes.io/tls."""
    return {
        "tls.crt": "".join(ca.pem for ca in (signer, *above)),
        "tls.key": signer.key_pem,
        "ca.crt": "".join(ca.pem for ca in roots),
    }


def write(folder: Path, files: Files) -> None:
    """Put files into an ordinary folder, private as an operator should; files that are not named go."""
    folder.mkdir(mode=0o700, exist_ok=True)
    for old in folder.iterdir():
        old.unlink()
    for name, text in files.items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o600)


@dataclass(slots=True)
class Projected:
    """A volume as the kubelet projects it: files are symlinks through `..data`, which is swapped at once.

    Attributes:
        folder: the volume.
        count: how often it was swapped.
    """

    folder: Path
    count: int = 0

    def swap(self, files: Files, *, mode: int = 0o644) -> None:
        """Project these files; the old ones are removed after the swap, as the kubelet does."""
        self.folder.mkdir(mode=0o755, exist_ok=True)
        old = self.folder / f"..2026_{self.count}"
        self.count += 1
        new = self.folder / f"..2026_{self.count}"
        new.mkdir()
        for name, text in files.items():
            (new / name).write_text(text)
            (new / name).chmod(mode)
            if not (self.folder / name).is_symlink():
                (self.folder / name).symlink_to(f"..data/{name}")
        (self.folder / "..data_tmp").symlink_to(new.name)
        (self.folder / "..data_tmp").replace(self.folder / "..data")
        shutil.rmtree(old, ignore_errors=True)
