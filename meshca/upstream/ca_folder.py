"""The certificates of a self-signed CA on disk: each root in `ca` of the data directory, with its intermediate.

The first pair is `ca/root.pem` and `ca/intermediate.pem`, each further one is in a folder `ca/<first 16 hex of the
root's id>`. A pair appears whole and goes at once, each by one rename, so that a process that was killed leaves
nothing half made; whatever else is missing or damaged is damage. A root must never be made anew while anything of
an old one is left. Names of ours that begin with a dot count as gone.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography import x509

from meshca import durable
from meshca.authority.material import certificate_id, read_certificates, to_pem
from meshca.errors import ConfigError, Unavailable

_STAGED: Final = ".ca-new-"
_FURTHER: Final = ".new-"
_GONE: Final = ".gone-"
_ROOT: Final = "root.pem"
_RESTORE: Final = "restore it from a backup"
_INTERMEDIATE: Final = "intermediate.pem"
_NAME: Final = re.compile(r"[0-9a-f]{16}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """A root and the intermediate below it.

    Attributes:
        root: the certificate.
        intermediate: the certificate.
        place: the folder of both.
    """

    root: x509.Certificate
    intermediate: x509.Certificate
    place: Path

    @property
    def id(self) -> str:
        """What the root is called."""
        return certificate_id(self.root)


class CaFolder:
    """Reads, makes, replaces and removes pairs.

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

    def load(self) -> tuple[Pair, ...]:
        """All that are there, the root that began first first.

        Raises:
            ConfigError: a file is missing, damaged, or holds more than one certificate; each is named.
        """
        durable.make_private_folder(self.path)
        problems: list[str] = []
        found = [_pair(place, problems, named=place != self.path) for place in self._places()]
        if problems:
            raise ConfigError(str(self.path), problems)
        return tuple(sorted(filter(None, found), key=lambda pair: (pair.root.not_valid_before_utc, pair.id)))

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
        """Begin a pair: keys that are found together with this mark only have never signed for anyone.

        Raises:
            Unavailable: reason `ca_folder`.
        """
        parent, prefix = (self.path, _FURTHER) if self.exists() else (self._data_dir, _STAGED)
        with _writing(parent):
            staged = Path(tempfile.mkdtemp(dir=parent, prefix=prefix))  # makes it 0700
            durable.sync_folder(parent)
        return staged

    def publish(self, staged: Path, root: x509.Certificate, intermediate: x509.Certificate) -> None:
        """End what `stage` began: the pair appears whole.

        Raises:
            Unavailable: reason `ca_folder`; also when there is a pair already.
        """
        first = staged.parent == self._data_dir
        with _writing(self._data_dir):
            durable.replace(staged / _ROOT, to_pem(root).encode())
            durable.replace(staged / _INTERMEDIATE, to_pem(intermediate).encode())
            staged.rename(self.path if first else self.path / certificate_id(root)[:16])
            durable.sync_folder(staged.parent)

    def replace_intermediate(self, pair: Pair, intermediate: x509.Certificate) -> None:
        """Keep a new intermediate; on an error the old one is still there.

        Raises:
            Unavailable: reason `ca_folder`.
        """
        with _writing(pair.place):
            durable.replace(pair.place / _INTERMEDIATE, to_pem(intermediate).encode())

    def discard(self, pair: Pair) -> None:
        """Let a pair count as gone; once its keys are gone too, `sweep` removes the rest.

        Raises:
            Unavailable: reason `ca_folder`; it may be gone all the same.
        """
        with _writing(pair.place):
            if pair.place == self.path:
                (self.path / _ROOT).rename(self.path / f"{_GONE}{_ROOT}")
            else:
                pair.place.rename(self.path / f"{_GONE}{pair.place.name}")
            durable.sync_folder(self.path)

    def sweep(self) -> None:
        """Remove what counts as gone, and what a process that was killed has left half made.

        Raises:
            Unavailable: reason `ca_folder`.
        """
        with _writing(self._data_dir):
            if self._first_is_gone():
                (self.path / _INTERMEDIATE).unlink(missing_ok=True)  # before its mark
            left_over = [
                *self._data_dir.glob(f"{_STAGED}*"),
                *(path for ours in (_FURTHER, _GONE) for path in self.path.glob(f"{ours}*")),
                *(path for name in (_ROOT, _INTERMEDIATE) for path in self.path.rglob(f".{name}.*")),
            ]
            for path in left_over:
                if path.is_dir():
                    shutil.rmtree(path)
                else:
                    path.unlink(missing_ok=True)
            for folder in {path.parent for path in left_over if path.parent.exists()}:
                durable.sync_folder(folder)

    def _first_is_gone(self) -> bool:
        return (self.path / f"{_GONE}{_ROOT}").exists() and not (self.path / _ROOT).exists()

    def _places(self) -> list[Path]:
        """The folders of all pairs; that of the first too, if otherwise there would be none."""
        named = [path for path in self.path.iterdir() if _NAME.fullmatch(path.name)]
        if self._first_is_gone():
            return named
        has_first = any((self.path / name).exists() for name in (_ROOT, _INTERMEDIATE))
        return [self.path, *named] if has_first or not named else named


def _pair(place: Path, problems: list[str], *, named: bool) -> Pair | None:
    """What a folder holds; `named` when it is called after its root."""
    durable.make_private_folder(place)
    root, intermediate = (_one(place / name, problems) for name in (_ROOT, _INTERMEDIATE))
    if root is None or intermediate is None:
        return None
    if named and certificate_id(root)[:16] != place.name:
        problems.append(f"{place}: holds another root than its name says; {_RESTORE}")
        return None
    return Pair(root=root, intermediate=intermediate, place=place)


def _one(path: Path, problems: list[str]) -> x509.Certificate | None:
    try:
        data = durable.read(path, _RESTORE)
    except ConfigError as error:
        problems += [f"{path}: {problem}" for problem in error.problems]
        return None
    try:
        [certificate] = read_certificates(data, str(path))
    except ConfigError as error:
        problems += [f"{path}: {problem}; {_RESTORE}" for problem in error.problems]
    except ValueError:
        problems.append(f"{path}: must hold exactly one certificate; {_RESTORE}")
    else:
        return certificate
    return None


@contextlib.contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise Unavailable("ca_folder", f"cannot write below {path}: {error.strerror}") from None
