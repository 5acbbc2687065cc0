"""Which files hold authorization policies, and what is in them: one answer for the server and for `meshca policy`.

Reads, and leaves all meaning to `authz.parse`. A file that cannot be read is an error, never skipped: its
policies may be the ones that deny.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from meshca import durable
from meshca.errors import ConfigError

SUFFIXES = frozenset({".yaml", ".yml", ".json"})
_SOURCE = "authorization policies"


def policy_files(folder: Path) -> list[Path]:
    """The files of a folder that hold policies: .yaml, .yml and .json, hidden ones left out, by name.

    Symbolic links are followed (a mounted ConfigMap is made of them); folders inside are not entered.

    Raises:
        ConfigError: the folder cannot be listed, or has a folder inside that someone may believe is read.
    """
    try:
        entries = sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
    except OSError as error:
        problem = f"{folder}: {durable.unusable('listed', error, 'name an existing folder')}"
        raise ConfigError(_SOURCE, [problem]) from None
    inside = [
        f"{entry}: folders inside are not read; put its files beside the others"
        for entry in entries
        if durable.is_folder(entry)
    ]
    if inside:
        raise ConfigError(_SOURCE, inside)
    return [entry for entry in entries if entry.suffix in SUFFIXES]


def read_policy_files(paths: Iterable[Path]) -> dict[str, str]:
    """The content of files, and of the policy files of folders, by name.

    Raises:
        ConfigError: with every file that cannot be read.
    """
    found: dict[str, str] = {}
    problems: list[str] = []
    for path in (
        file for given in paths for file in (policy_files(given) if durable.is_folder(given) else [given])
    ):
        try:
            found[str(path)] = durable.read_text(path)
        except ConfigError as error:
            problems += [f"{error.source}: {problem}" for problem in error.problems]
    if problems:
        raise ConfigError(_SOURCE, problems)
    return found
