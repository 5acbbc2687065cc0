"""Signing material kept on disk: plugged-in CAs that were read once, and intermediates that Vault has signed.

So that they sign after the operator has taken them away, or while Vault is down. `<first 16 hex of the root's
id>.json` in a folder of the data directory holds the last sound material below that root, key included, in one
file, so that it is whole or not there; `named.pem` the roots that were named last. Contents must never reach an
error text.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from cryptography import x509

from meshca import durable
from meshca.authority.material import OpenKey, SigningMaterial, certificate_id, read_certificates, to_pem
from meshca.errors import ConfigError, Unavailable
from meshca.upstream.kept_text import RESTORE, from_text, name_of, to_text
from meshca.upstream.sound_root import root_of

_NAMED: Final = "named.pem"
_KEPT: Final = re.compile(r"[0-9a-f]{16}\.json")


class KeptFolder:
    """Reads, keeps and forgets.

    Args:
        data_dir: in which the folder is made with the first material.
        name: of the folder.
        open_key: as for `SigningMaterial.from_wire`.
    """

    def __init__(self, data_dir: Path, name: str = "plugged-in", open_key: OpenKey | None = None) -> None:
        self.path = data_dir / name
        self._open_key = open_key

    def load(self, problems: list[str]) -> Mapping[str, SigningMaterial]:
        """What is kept, by the root's id, the root that began first first.

        Args:
            problems: gets one line for each file that cannot be used.
        """
        found: dict[str, SigningMaterial] = {}
        for path in self._files():
            try:
                material = from_text(durable.read_private(path), path.name, str(path), self._open_key)
            except ConfigError as error:
                problems += [f"{error.source}: {problem}" for problem in error.problems]
                continue
            found[certificate_id(root_of(material))] = material
        return dict(sorted(found.items(), key=lambda item: (root_of(item[1]).not_valid_before_utc, item[0])))

    def named(self, problems: list[str]) -> Sequence[x509.Certificate]:
        """The roots that the operator named last; none before the first.

        Args:
            problems: gets one line if they cannot be read.
        """
        path = self.path / _NAMED
        if not path.exists():
            return ()
        try:
            return read_certificates(durable.read(path), str(path))
        except ConfigError as error:
            problems += [f"{path}: {problem}; {RESTORE}" for problem in error.problems]
            return ()

    def keep(self, material: SigningMaterial) -> None:
        """Keep sound material and the roots it names; durable when this returns.

        Raises:
            ConfigError: the folder cannot be made, or others may use it.
            Unavailable: reason `ca_folder`; what was kept before still is.
        """
        durable.make_private_folder(self.path)
        with _writing(self.path):
            _replace(self.path / name_of(material), to_text(material))
        self.name(material.roots)

    def name(self, roots: Sequence[x509.Certificate]) -> None:
        """Keep the roots that are named now; durable when this returns.

        Raises:
            ConfigError: the folder cannot be made, or others may use it.
            Unavailable: reason `ca_folder`; those that were named before still are.
        """
        durable.make_private_folder(self.path)
        with _writing(self.path):
            _replace(self.path / _NAMED, to_pem(*roots))

    def forget(self, keep: Collection[str]) -> tuple[str, ...]:
        """Remove what is kept below every other root.

        Returns:
            the first 16 hexadecimal digits of the ids of their roots.

        Raises:
            Unavailable: reason `ca_folder`.
        """
        names = {f"{id_[:16]}.json" for id_ in keep}
        others = [path for path in self._files() if path.name not in names]
        self._remove(others)
        return tuple(path.stem for path in others)

    def sweep(self) -> None:
        """Remove what a process that was killed has left half written.

        Raises:
            Unavailable: reason `ca_folder`.
        """
        self._remove([*self.path.glob(".*.json.*"), *self.path.glob(f".{_NAMED}.*")])

    def _files(self) -> Sequence[Path]:
        return sorted(path for path in self.path.glob("*.json") if _KEPT.fullmatch(path.name))

    def _remove(self, paths: Sequence[Path]) -> None:
        if not paths:
            return
        with _writing(self.path):
            for path in paths:
                path.unlink(missing_ok=True)
            durable.sync_folder(self.path)


def _replace(path: Path, text: str) -> None:
    """Write unless it is there already: a disk that is full must not stop what is kept from signing."""
    with contextlib.suppress(ConfigError):
        if durable.read(path) == text.encode():
            return
    durable.replace(path, text.encode())


@contextlib.contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise Unavailable("ca_folder", f"cannot write below {path}: {error.strerror}") from None
