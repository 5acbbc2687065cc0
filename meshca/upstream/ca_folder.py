"""The certificates of a self-signed CA on disk: `ca/root.pem` and `ca/intermediate.pem` in the data directory.

The folder appears whole, by a rename, so that a start that was killed leaves nothing half made, and whatever
is missing or damaged later is damage. A root must never be made anew while anything of an old one is left.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from cryptography import x509

from meshca import durable
from meshca.authority.material import read_certificates, to_pem
from meshca.errors import ConfigError, Unavailable

_STAGED = ".ca-new-"
_ROOT = "root.pem"
_RESTORE = "restore it from a backup"
_INTERMEDIATE = "intermediate.pem"


class CaFolder:
    """Reads and replaces the two certificates.

    Args:
        data_dir: made when it is not there.

    Raises:
        ConfigError: it cannot be made.
    """

    def __init__(self, data_dir: Path) -> None:
        durable.make_folder(data_dir)
        self._data_dir = data_dir
        self.path = data_dir / "ca"

    def exists(self) -> bool:
        """Whether a CA was made here."""
        return self.path.exists()

    def interrupted(self) -> bool:
        """Whether a first start was killed before it had made the folder."""
        return any(self._data_dir.glob(f"{_STAGED}*"))

    def load(self) -> tuple[x509.Certificate, x509.Certificate]:
        """Root and intermediate.

        Raises:
            ConfigError: a file is missing, damaged, or holds more than one certificate; each is named.
        """
        durable.make_private_folder(self.path)
        found: list[x509.Certificate] = []
        problems: list[str] = []
        for name in (_ROOT, _INTERMEDIATE):
            try:
                found.append(_one(self.path / name))
            except ConfigError as error:
                problems += [f"{error.source}: {problem}" for problem in error.problems]
        if problems:
            raise ConfigError(str(self.path), problems)
        root, intermediate = found
        return root, intermediate

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes from changing CA or keys meanwhile; released also when we are killed.

        Raises:
            Unavailable: reason `ca_folder`.
        """
        with _writing(self._data_dir):
            descriptor = os.open(self._data_dir, os.O_RDONLY | os.O_DIRECTORY)
        try:
            with _writing(self._data_dir):
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def stage(self) -> Path:
        """Begin a first start: keys that are found together with this mark have never signed for anyone.

        Raises:
            Unavailable: reason `ca_folder`.
        """
        with _writing(self._data_dir):
            staged = Path(tempfile.mkdtemp(dir=self._data_dir, prefix=_STAGED))  # makes it 0700
            durable.sync_folder(self._data_dir)
        return staged

    def publish(self, staged: Path, root: x509.Certificate, intermediate: x509.Certificate) -> None:
        """End a first start: the folder appears whole.

        Raises:
            Unavailable: reason `ca_folder`; also when there is a folder already.
        """
        with _writing(self._data_dir):
            durable.replace(staged / _ROOT, to_pem(root).encode())
            durable.replace(staged / _INTERMEDIATE, to_pem(intermediate).encode())
            staged.rename(self.path)
            for left_over in self._data_dir.glob(f"{_STAGED}*"):
                shutil.rmtree(left_over)
            durable.sync_folder(self._data_dir)

    def replace_intermediate(self, intermediate: x509.Certificate) -> None:
        """Keep a new intermediate; on an error the old one is still there.

        Raises:
            Unavailable: reason `ca_folder`.
        """
        with _writing(self.path):
            durable.replace(self.path / _INTERMEDIATE, to_pem(intermediate).encode())


def _one(path: Path) -> x509.Certificate:
    data = durable.read(path, _RESTORE)
    try:
        certificates = read_certificates(data, str(path))
    except ConfigError as error:
        raise ConfigError(str(path), [f"{problem}; {_RESTORE}" for problem in error.problems]) from None
    if len(certificates) != 1:
        raise ConfigError(str(path), [f"must hold exactly one certificate; {_RESTORE}"])
    return certificates[0]


@contextlib.contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise Unavailable("ca_folder", f"cannot write below {path}: {error.strerror}") from None
